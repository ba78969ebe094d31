"""Where lines are laid: an endless page here, as a pipe is; `terminal.Screen` measures and colours.

The table and the tree are both one column of names that gives way, and others that stay as wide
as they are or go.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

__all__ = ["GAP", "Layout", "Page"]

GAP = "  "
_PLAIN: Mapping[str, str] = {}


class Layout(NamedTuple):
    """Widths in cells: of the names, and of the columns that stayed beside them."""

    names: int
    columns: Mapping[str, int]

    @property
    def width(self) -> int:
        """Cells of a whole line."""
        return self.names + sum(len(GAP) + width for width in self.columns.values())


class Page:
    """A page without end and without colour, on which every character is one cell wide."""

    width: int = sys.maxsize

    def cells(self, text: str) -> int:
        """Count the cells that text fills."""
        return len(text)

    def style(self, style: str, text: str) -> str:  # noqa: ARG002 - no colour here
        """Put text in a style of Rich's."""
        return text

    def lines(self, name: str, room: int) -> list[str]:  # noqa: ARG002 - nor any lack of room
        """Lay a name in a column, on one line or more."""
        return [name]

    def shorten(self, text: str, room: int) -> str:  # noqa: ARG002 - as above
        """Make text fit into so many cells."""
        return text

    def wrap(self, text: str, room: int | None = None) -> list[str]:  # noqa: ARG002 - as above
        """Break a sentence into lines as wide as the page, or `room`."""
        return [text]

    def rule(self, layout: Layout) -> str:
        """Draw a line across a table."""
        return self.style("dim", "─" * layout.width) + "\n"

    def row(self, name: str, layout: Layout, rest: str) -> str:
        """Lay a name, and what stands right of it."""
        first, *more = self.lines(name, layout.names)
        padding = " " * (layout.names - self.cells(first))
        return "\n".join([f"{first}{padding}{rest}".rstrip(), *more, ""])

    def columns(
        self,
        texts: Mapping[str, str],
        layout: Layout,
        *,
        right: Container[str],
        styles: Mapping[str, str] = _PLAIN,
    ) -> str:
        """Lay the texts, by title, of those columns that there is room for.

        Those in `right` are aligned there; `styles` are of Rich's, by title.
        """
        cells = []
        for title, text in texts.items():
            room = layout.columns.get(title)
            if room is not None:
                fitted = self.shorten(text, room)
                padding = " " * (room - self.cells(fitted))
                cell = self.style(styles[title], fitted) if title in styles else fitted
                cells.append(GAP + (padding + cell if title in right else cell + padding))
        return "".join(cells)

    def arrange(
        self, names: int, columns: Mapping[str, int], expendable: Sequence[str], readable: int
    ) -> Layout:
        """Find room for names and columns of these natural widths.

        Names give way first, down to `readable` cells; then columns go, in the order of
        `expendable`; then names give way again.
        """
        columns = dict(columns)
        for title in expendable:
            if self.width - Layout(0, columns).width >= min(names, readable):
                break
            columns.pop(title, None)
        return Layout(max(1, min(names, self.width - Layout(0, columns).width)), columns)
