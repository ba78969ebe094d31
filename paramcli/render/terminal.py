"""The only Rich room: `list` drawn on a terminal, laid by hand where Rich would take 0.3 ms a row.

Rich still measures (wide characters) and colours; its markup is never read, so a name is only
ever text.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.style import Style

from paramcli.render.footer import footer
from paramcli.render.page import GAP, Page
from paramcli.render.text import binary, chunks, remembered, safe, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.checkpoint import TensorInfo
    from paramcli.render.page import Layout
    from paramcli.verbs.survey import ListReport

__all__ = ["Screen", "draw"]

_NARROWEST = 20
_EXPENDABLE = ("Kind", "Bytes", "Shared", "Dtype", "Count")
_LEFT = frozenset({"Shape", "Dtype", "Kind", "Shared"})


class Screen(Page):
    """A terminal `width` cells wide, with or without colour."""

    def __init__(self, width: int, *, color: bool = False) -> None:
        """Take the terminal's own size; what is narrower than 20 cells is drawn as if it were."""
        self.width = max(width, _NARROWEST)
        self.color = color

    def cells(self, text: str) -> int:
        """Cells that the text fills: two for CJK and most emoji, none for combining marks."""
        return len(text) if text.isascii() else cell_len(text)

    def shorten(self, text: str, room: int) -> str:
        """Cut the middle out of text that is wider than the room: `encoder…weight`."""
        if self.cells(text) <= room:
            return text
        head, tail = text[: (room - 1) // 2], text[len(text) - room // 2 :]
        while head and self.cells(head) > (room - 1) // 2:
            head = head[:-1]
        while tail and self.cells(tail) > room // 2:
            tail = tail[1:]
        return f"{head}…{tail}"

    def style(self, style: str, text: str) -> str:
        """Put text in a style of Rich's."""
        if not self.color:
            return text
        return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def draw(
    report: ListReport, *, width: int, color: bool = False, heading: str | None = None
) -> Iterator[str]:
    """Yield the table in chunks of whole lines, none wider than `width` cells; totals last."""
    screen = Screen(width, color=color)
    layout = _arrange(report, screen)
    if heading is not None:
        yield screen.style("bold", screen.shorten(safe(heading), screen.width)) + "\n"
    titles = [_aligned(title, title, room) for title, room in layout.columns.items()]
    header = GAP.join([screen.fit("Name", layout.names), *titles]).rstrip()
    yield screen.style("bold", header) + "\n" + screen.rule(layout.width)
    yield from chunks(_rows(report, screen, layout))
    if report.tensors:
        yield screen.rule(layout.width)
    yield from footer(report, screen)


def _arrange(report: ListReport, screen: Screen) -> Layout:
    """Measure every cell once, and leave out the columns that would say nothing."""
    facts = remembered(_facts)
    longest = [max(map(len, cells)) for cells in zip(*set(map(facts, report.tensors)), strict=True)]
    columns = dict(zip(("Shape", "Dtype", "Count", "Bytes"), longest, strict=False))
    columns["Shape"] = min(columns.get("Shape", 0), screen.width // 3)
    kinds = {info.kind for info in report.tensors}
    if kinds - {"tensor"}:
        columns["Kind"] = max(map(len, kinds))
    if report.groups:
        columns["Shared"] = max(len(group.id) for group in report.groups)
    columns = {title: max(len(title), room) for title, room in columns.items()}
    names = max((screen.cells(safe(info.name)) for info in report.tensors), default=0)
    return screen.arrange(max(len("Name"), names), columns, _EXPENDABLE)


def _rows(report: ListReport, screen: Screen, layout: Layout) -> Iterator[str]:
    @remembered
    def facts(info: TensorInfo) -> str:
        cells = zip(("Shape", "Dtype", "Count", "Bytes"), _facts(info), strict=True)
        return "".join(
            GAP + _aligned(title, screen.shorten(text, room), room)
            for title, text in cells
            if (room := layout.columns.get(title))
        )

    @cache
    def ending(kind: str, group: str) -> str:
        """Lay the last two columns, with no blanks behind what they say."""
        cells = [f"{kind:{layout.columns['Kind']}}"] if "Kind" in layout.columns else []
        if group and "Shared" in layout.columns:
            cells.append(screen.style("cyan", group))
        return "".join(GAP + cell for cell in cells).rstrip() + "\n"

    names, group_of = layout.names, report.group_of.get
    for info in report.tensors:
        name = info.name
        if name.isascii() and name.isprintable() and len(name) <= names:
            name = name.ljust(names)
        else:
            name = screen.fit(safe(name), names)
        yield f"{name}{facts(info)}{ending(info.kind, group_of(info.name, ''))}"


def _facts(info: TensorInfo) -> tuple[str, str, str, str]:
    return shape_text(info.shape), info.dtype.name, f"{info.count:,}", binary(info.nbytes)


def _aligned(title: str, text: str, room: int) -> str:
    return text.ljust(room) if title in _LEFT else text.rjust(room)
