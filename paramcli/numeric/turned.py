"""Whether one matrix is the transpose of another, by their bytes, tile by tile.

Elements are compared as integers as wide, so two NaN of the same bits are equal, and two zeros of
different sign are not.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from paramcli.files import open_file
from paramcli.numeric.workers import spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from paramcli.content.places import Stretch

__all__ = ["turned"]

_LINE = 8192
"""Bytes of a line of a tile: shorter ones would cost more to ask for than to read."""
_GAP = 64
"""Bytes between lines that are gone down in columns: powers of two would meet in the cache."""
_SMALL_WORK = 1 << 25


def turned(  # noqa: PLR0913 - both sides, what they are, and how to work
    a: Stretch,
    b: Stretch,
    shape: tuple[int, int],
    width: int,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> bool:
    """Whether `a`, of this shape in row-major order, is the transpose of `b`, of the reverse one.

    It is given up at the first tile that differs. `progress` is told how many bytes of `a` are
    done with. Raises SourceError where a file ends early.
    """
    edge = _LINE // width
    tiles = [(top, left) for top in range(0, shape[0], edge) for left in range(0, shape[1], edge)]
    workers = 1 if a.nbytes < _SMALL_WORK else workers
    for same in spread(partial(_same, a, b, shape, width), tiles, workers):
        if not same:
            return False
        if progress is not None:
            progress(a.nbytes // len(tiles))
    return True


def _same(
    a: Stretch, b: Stretch, shape: tuple[int, int], width: int, corner: tuple[int, int]
) -> bool:
    """Compare a tile of `a` with what should be its transpose in `b`."""
    rows, columns = shape
    top, left = corner
    height, breadth = min(_LINE // width, rows - top), min(_LINE // width, columns - left)
    here = _tile(a, top * columns + left, columns, (height, breadth), width)
    there = _tile(b, left * rows + top, rows, (breadth, height), width)
    return np.array_equal(here, there.swapaxes(0, 1))


def _tile(
    place: Stretch, first: int, step: int, size: tuple[int, int], width: int
) -> NDArray[np.unsignedinteger]:
    """Read a tile whose lines begin `step` elements apart, from the element `first` on."""
    lines, length = size[0], size[1] * width
    room = np.empty((lines, length + _GAP), np.uint8)
    with open_file(place.file) as file:
        for number in range(lines):
            target = memoryview(room[number].data)[:length]
            file.fill(target, place.offset + (first + number * step) * width)
    each = min(width, 8)
    return room[:, :length].view(f"u{each}").reshape(*size, width // each)
