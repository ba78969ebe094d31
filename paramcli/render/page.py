"""Where lines are laid: an endless page here, as a pipe is; `terminal.Screen` measures and colours.

Both drawings, the table and the tree, are one column of names that gives way and others that
stay as wide as they are or go.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["GAP", "Layout", "Page"]

GAP = "  "
_READABLE = 20  # cells that a shortened name still says something in


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
        """Cells that the text fills."""
        return len(text)

    def shorten(self, text: str, room: int) -> str:  # noqa: ARG002 - an endless page has room
        """Cut the middle out of text that is wider than the room."""
        return text

    def style(self, style: str, text: str) -> str:  # noqa: ARG002 - and no colour
        """Put text in a style of Rich's."""
        return text

    def rule(self, width: int) -> str:
        """Draw a line across a table this wide."""
        return self.style("dim", "─" * width) + "\n"

    def fit(self, text: str, room: int) -> str:
        """Shorten or pad text to fill the room."""
        text = self.shorten(text, room)
        return text + " " * (room - self.cells(text))

    def arrange(self, names: int, columns: Mapping[str, int], expendable: Sequence[str]) -> Layout:
        """Find room for names and columns of these natural widths.

        Names give way first, down to what can be read; then columns go, in the order of
        `expendable`; then names give way again.
        """
        columns = dict(columns)
        for title in expendable:
            if self.width - Layout(0, columns).width >= min(names, _READABLE):
                break
            columns.pop(title, None)
        return Layout(max(1, min(names, self.width - Layout(0, columns).width)), columns)
