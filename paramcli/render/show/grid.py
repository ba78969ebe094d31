"""Values as grids of short numbers: rows and columns aligned, middles left out and counted."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from paramcli.render.numbers import finite, joined, short
from paramcli.render.page import GAP
from paramcli.render.show.facts import DANGER
from paramcli.render.text import plural, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paramcli.render.page import Page

    Row = list[Any]

__all__ = ["grid"]

_ROWS = 16  # of a matrix, before its middle is left out
_BLOCKS = 6  # matrices of a higher rank
_FIVES = 5  # elements of a wrapped row come in
_DIGITS = 4
_SMALLEST, _LARGEST = -4, 5  # powers of ten between which all points stand under each other


class _Ends(NamedTuple):
    """What is shown of a dimension of `total`: its first `head` and its last `tail`."""

    head: int
    tail: int
    total: int

    @classmethod
    def of(cls, total: int, most: int) -> _Ends:
        """Show all where no more than `most` are there, else so many from both ends."""
        return cls(total, 0, total) if total <= most else cls(most - most // 2, most // 2, total)

    def indices(self) -> list[int]:
        """List those that are shown."""
        return [*range(self.head), *range(self.total - self.tail, self.total)]

    def pick(self, row: Row) -> Row:
        """Take those that are shown."""
        return [*row[: self.head], *row[self.total - self.tail :]]

    def join(self, items: Sequence[str], mark: str) -> list[str]:
        """Put a mark between what is shown of both ends, where something is missing."""
        shown = self.head + self.tail
        return [*items] if shown == self.total else [*items[: self.head], mark, *items[self.head :]]

    def told(self, noun: str) -> list[str]:
        """Say how many of all are shown, where not all are: `16 of 120 rows`."""
        shown = self.head + self.tail
        return [] if shown == self.total else [f"{shown:,} of {plural(self.total, noun)}"]


class _Cells:
    """How the elements of one grid are written: with so many decimals, so many cells wide."""

    def __init__(self, sample: Iterable[Any], page: Page, room: int) -> None:
        """Suit a sample of the elements, in lines of `room` cells."""
        elements = [*sample]
        self.page = page
        self.room = room
        self.decimals = _decimals(chain.from_iterable(map(_parts, elements)))
        self.width = min(room, max(page.cells(self.text(element)) for element in elements))

    def fitting(self, total: int) -> _Ends:
        """Choose columns that fit into a line, with room for the mark if not all do."""
        gap = len(GAP)
        if total <= (self.room + gap) // (self.width + gap):
            return _Ends(total, 0, total)
        most = max(1, (self.room - 1) // (self.width + gap))
        self.width = min(self.width, self.room - 1 - gap)
        return _Ends.of(total, most)

    def row(self, row: Row, columns: _Ends) -> str:
        """Lay what is shown of a row, as a line."""
        mark = self.page.style("dim", "…")
        return GAP.join(columns.join([*map(self.cell, columns.pick(row))], mark)) + "\n"

    def cell(self, element: Any) -> str:  # noqa: ANN401 - a checkpoint may hold anything
        """Lay an element aligned to the right; what is not finite is in the colour of danger."""
        text = self.page.shorten(self.text(element), self.width)
        padding = " " * (self.width - self.page.cells(text))
        bad = any(not finite(part) for part in _parts(element))
        return padding + (self.page.style(DANGER, text) if bad else text)

    def text(self, element: Any) -> str:  # noqa: ANN401 - as above
        """Write an element."""
        match _parts(element):
            case [real, imaginary]:
                return joined(self.fixed(real), self.fixed(imaginary))
            case [number]:
                return self.fixed(number)
        return safe(str(element))

    def fixed(self, number: float) -> str:
        """Write a number with the decimals of all; one that they would turn to zero as `2e-7`."""
        if self.decimals is None or not math.isfinite(number):
            return short(number)
        text = f"{number:.{self.decimals}f}"
        return text if float(text) or not number else short(number, 2)


def grid(values: object, page: Page, room: int) -> Iterator[str]:
    """Yield nested lists in lines no wider than `room`, what is left out counted at the end.

    One dimension is wrapped, two are a matrix, more are matrices under headings as `[0, :, :]`.
    """
    shape = _shape(values)
    if 0 in shape:
        yield "(no elements)\n"
    elif not isinstance(values, list):
        yield _Cells([values], page, room).row([values], _Ends(1, 0, 1))
    elif len(shape) == 1:
        yield from _vector(values, page, room)
    else:
        yield from _matrices(values, shape, page, room)


def _vector(values: Row, page: Page, room: int) -> Iterator[str]:
    """Wrap a row of elements into lines of equally many, by fives where there is room."""
    cells = _Cells(_Ends.of(len(values), _ROWS * room).pick(values), page, room)
    fit = (room + len(GAP)) // (cells.width + len(GAP))
    each = len(values) if len(values) <= fit else fit - fit % _FIVES or fit
    lines = _Ends.of(-(-len(values) // each), _ROWS)
    starts = [each * number for number in lines.indices()]
    rows = [values[start : start + each] for start in starts]
    drawn = [cells.row(row, _Ends(len(row), 0, len(row))) for row in rows]
    yield from lines.join(drawn, page.style("dim", "…") + "\n")
    shown = _Ends(sum(map(len, rows)), 0, len(values))
    yield from _caption(shown.told("element"), page, room)


def _matrices(values: Row, shape: Sequence[int], page: Page, room: int) -> Iterator[str]:
    """Draw the last two dimensions as matrices, under the indices of those before them."""
    *leading, height, width = shape
    blocks = _Ends.of(math.prod(leading), _BLOCKS)
    rows, sample = _Ends.of(height, _ROWS), _Ends.of(width, room)
    found = [(_index(number, leading), values) for number in blocks.indices()]
    matrices = [(index, rows.pick(_at(values, index))) for index, values in found]
    cells = _Cells(
        (element for _, matrix in matrices for row in matrix for element in sample.pick(row)),
        page, room,
    )  # fmt: skip
    columns = cells.fitting(width)
    mark = page.style("dim", "…") + "\n"
    drawn = [
        _title(index, page, room)
        + "".join(rows.join([cells.row(row, columns) for row in matrix], mark))
        for index, matrix in matrices
    ]
    yield from blocks.join(drawn, mark)
    told = [*rows.told("row"), *columns.told("column"), *blocks.told("block")]
    yield from _caption(told, page, room)


def _title(index: Sequence[int], page: Page, room: int) -> str:
    """Write `[0, 3, :, :]` over a matrix that is not the only one."""
    if not index:
        return ""
    lines = page.wrap(f"[{', '.join([*map(str, index), ':', ':'])}]", room)
    return "".join(page.style("cyan", line) + "\n" for line in lines)


def _caption(told: Sequence[str], page: Page, room: int) -> Iterator[str]:
    if told:
        yield from (page.style("dim", line) + "\n" for line in page.wrap(" · ".join(told), room))


def _index(number: int, shape: Sequence[int]) -> list[int]:
    """Find the index, in row-major order, of the block of this number."""
    index = []
    for size in reversed(shape):
        number, last = divmod(number, size)
        index.append(last)
    return index[::-1]


def _at(values: Row, index: Sequence[int]) -> Row:
    for position in index:
        values = values[position]
    return values


def _shape(values: object) -> list[int]:
    """Measure nested lists by their first elements; a tuple is one complex number."""
    shape = []
    while isinstance(values, list):
        shape.append(len(values))
        values = values[0] if values else None
    return shape


def _parts(element: Any) -> list[float]:  # noqa: ANN401 - as above
    """Split an element into the floats that it is written with: none, one, or a complex two."""
    if isinstance(element, float):
        return [element]
    if isinstance(element, complex):
        return [element.real, element.imag]
    return [*element] if isinstance(element, tuple) else []


def _decimals(numbers: Iterable[float]) -> int | None:
    """Choose decimals that show four digits of the largest number; None: let each float."""
    known = [number for number in numbers if math.isfinite(number)]
    largest = max(map(abs, known), default=0.0)
    power = math.floor(math.log10(largest)) if largest else 0
    if not _SMALLEST <= power <= _LARGEST:
        return None
    if all(number == int(number) for number in known):
        return 0
    return max(_DIGITS - 1 - power, _DIGITS if power < 2 else 1)  # noqa: PLR2004 - below 100
