"""Which matrices are the transposes of others, by their bytes, tile by tile.

Elements are compared as integers as wide, so two NaN of the same bits are equal, and two zeros of
different sign are not.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paramcli.files import open_file
from paramcli.workers import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from paramcli.content.places import Stretch

__all__ = ["Pair", "turned"]

_LINE = 8192
"""Bytes of a line of a tile: shorter ones would cost more to ask for than to read."""
_GAP = 64
"""Bytes between lines that are gone down in columns: powers of two would meet in the cache."""
_SMALL_WORK = 1 << 25


class Pair(NamedTuple):
    """Two matrices: `a`, of this shape in row-major order, and `b`, of the reverse one."""

    a: Stretch
    b: Stretch
    shape: tuple[int, int]
    width: int


def turned(
    pairs: Sequence[Pair],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[bool]:
    """Say of each pair whether one is the transpose of the other.

    A pair is given up by each worker that has seen it differ. `progress` is told how many bytes of
    `a` are done with. Raises SourceError where a file ends early.
    """
    tiles = [
        (number, top, left)
        for number, (_, _, (rows, columns), width) in enumerate(pairs)
        for top in range(0, rows, _LINE // width)
        for left in range(0, columns, _LINE // width)
    ]
    verdicts = [True] * len(pairs)
    apart: set[int] = set()  # as far as this process, or a worker forked from it, has seen

    def compare(tile: tuple[int, int, int]) -> bool:
        number, *corner = tile
        if number not in apart and not _same(pairs[number], *corner):
            apart.add(number)
        return number not in apart

    small = sum(pair.a.nbytes for pair in pairs) < _SMALL_WORK
    results = spread(compare, tiles, 1 if small else workers)
    for (number, *corner), same in zip(tiles, results, strict=False):
        verdicts[number] &= same
        if progress is not None:
            progress(pairs[number].width * prod(_size(pairs[number], *corner)))
        if not any(verdicts):
            break
    return verdicts


def _same(pair: Pair, top: int, left: int) -> bool:
    """Compare a tile of `a` with what should be its transpose in `b`."""
    a, b, (rows, columns), width = pair
    size = _size(pair, top, left)
    here = _tile(a, top * columns + left, columns, size, width)
    there = _tile(b, left * rows + top, rows, size[::-1], width)
    return np.array_equal(here, there.swapaxes(0, 1))


def _size(pair: Pair, top: int, left: int) -> tuple[int, int]:
    """Lines and elements of a tile that begins there."""
    (rows, columns), edge = pair.shape, _LINE // pair.width
    return min(edge, rows - top), min(edge, columns - left)


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
