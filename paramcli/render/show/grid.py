"""Values as grids of short numbers: rows and columns aligned, middles left out and counted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.numbers import finite, joined, short
from paramcli.render.page import GAP
from paramcli.render.show.facts import DANGER
from paramcli.render.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paramcli.render.page import Page

    Row = Sequence[object]
    Block = tuple[str, Sequence[Row]]  # a heading such as `[0, :, :]`, and its rows

__all__ = ["grid"]

_ROWS = 16  # of a matrix, before its middle is left out
_BLOCKS = 6  # matrices of a higher rank
_SMALLEST, _LARGEST = -4, 5  # powers of ten between which a decimal point stays in its place


class _Ends(NamedTuple):
    """What is shown of a dimension: its first, and its last, `head` and `tail` of `total`."""

    head: int
    tail: int
    total: int

    @classmethod
    def of(cls, total: int, most: int) -> _Ends:
        """Show all where no more than `most` are there, else as many from both ends."""
        return cls(total, 0, total) if total <= most else cls(most - most // 2, most // 2, total)

    @property
    def shown(self) -> int:
        """How many are."""
        return self.head + self.tail

    @property
    def whole(self) -> bool:
        """Whether all are."""
        return self.shown == self.total

    def pick(self, row: Sequence[object]) -> list[object]:
        """Take what is shown of a row."""
        return [*row[: self.head], *row[self.total - self.tail :]]

    def indices(self) -> list[int]:
        """List those that are shown."""
        return [*range(self.head), *range(self.total - self.tail, self.total)]

    def count(self, noun: str) -> str:
        """Say how many of all are shown: `16 of 120 rows`."""
        return f"{self.shown:,} of {self.total:,} {noun}"


def grid(values: object, page: Page, room: int) -> Iterator[str]:
    """Yield nested lists in lines no wider than `room`, what is left out counted at the end.

    One dimension is wrapped, two are a matrix, more are matrices under headings like `[0, :, :]`.
    Raises nothing: elements that are no numbers are shown as their text.
    """
    shape = _shape(values)
    if not isinstance(values, list):
        yield from _lines([[values]], _Look.of([values]), page, room)
    elif 0 in shape:
        yield f"{'no elements'[:room]}\n"
    elif len(shape) == 1:
        yield from _vector(values, page, room)
    else:
        yield from _matrices(values, shape, page, room)
"""
