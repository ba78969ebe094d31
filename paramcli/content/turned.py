"""Whether one matrix is the transpose of another, by their bytes, tile by tile: no NumPy.

Rows of a tile are compared with columns of the other as integers of an element's width, so that
two NaN of the same bits are equal and two zeros of different sign are not.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from paramcli.sources.files import File

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.content.places import Stretch

__all__ = ["WIDTHS", "turned"]

WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Bytes of an element, and the integer as wide."""
_TILE = 1024


def turned(
    a: Stretch,
    b: Stretch,
    shape: tuple[int, int],
    width: int,
    progress: Callable[[int], None] | None = None,
) -> bool:
    """Whether `a`, of this shape in row-major order, is the transpose of `b`, of the reverse one.

    It is given up at the first tile that differs. `progress` is told how many bytes of `a` are
    done with. Raises SourceError where a file ends early.
    """
    rows, columns = shape
    with File(a.file) as one, File(b.file) as other:
        for top in range(0, rows, _TILE):
            for left in range(0, columns, _TILE):
                height, breadth = min(_TILE, rows - top), min(_TILE, columns - left)
                at = a.offset + (top * columns + left) * width
                here = _tile(one, at, columns * width, height, breadth * width, width)
                at = b.offset + (left * rows + top) * width
                there = _tile(other, at, rows * width, breadth, height * width, width)
                for row in range(height):
                    if here[row * breadth : (row + 1) * breadth] != there[row::height]:
                        return False
                if progress is not None:
                    progress(height * breadth * width)
    return True


def _tile(  # noqa: PLR0913, PLR0917 - where, how far apart, how many, how long
    file: File, first: int, step: int, height: int, line: int, width: int
) -> array[int]:
    """Read a tile, `height` lines of bytes from byte `first` on, each `step` after the last."""
    tile = array(WIDTHS[width], bytes(height * line))
    target = memoryview(tile).cast("B")
    for row in range(height):
        file.fill(target[row * line : (row + 1) * line], first + row * step)
    return tile
