"""The only Rich room: `list` drawn on a terminal, laid by hand where Rich would take 0.3 ms a row.

Rich still measures (wide characters) and colours; its markup is never read, so a name is only
ever text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.color import ColorSystem
from rich.style import Style

from paramcli.render.footer import footer
from paramcli.render.page import Page
from paramcli.render.text import alike, chunks, counts_of, safe, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paramcli.render.page import Layout
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

    Facts = Sequence[tuple[str, str, str, str]]

__all__ = ["Screen", "draw"]

_NARROWEST = 20
_FACTS = ("Shape", "Dtype", "Count", "Bytes")
_EXPENDABLE = ("Kind", "Bytes", "Shared", "Dtype", "Count")
_READABLE = 24  # cells in which a shortened name still says something
_NUMBERS = frozenset({"Count", "Bytes"})
_INDEX = re.compile(r"(?<=\.)[0-9]+(?=\.)")


class Screen(Page):
    """A terminal `width` cells wide. Names too long for it are cut in the middle, or folded."""

    def __init__(self, width: int, *, color: bool = False, cut: bool = True) -> None:
        """Take the terminal's own size; one narrower than 20 cells is drawn on as if it were."""
        self.width = max(width, _NARROWEST)
        self.color = color
        self.cut = cut

    def cells(self, text: str) -> int:
        """Count the cells that text fills: two for CJK and most emoji, none for an accent."""
        return len(text) if text.isascii() else cell_len(text)

    def style(self, style: str, text: str) -> str:
        """Put text in a style of Rich's."""
        if not self.color:
            return text
        return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)

    def lines(self, name: str, room: int) -> list[str]:
        """Lay a name in a column: cut to one line, or folded into as many as it takes."""
        return [self.shorten(name, room)] if self.cut else self._fold(name, room, ".")

    def wrap(self, text: str, room: int | None = None) -> list[str]:
        """Break a sentence between words into lines as wide as the screen, or `room`."""
        return [line.rstrip() for line in self._fold(text, room or self.width, " ")]

    def _fold(self, text: str, room: int, after: str) -> list[str]:
        """Break text into lines, behind the character `after` where that can be."""
        if self.cells(text) <= room:
            return [text]
        lines = [""]
        for part in re.split(f"(?<={re.escape(after)})", text):
            if self.cells(lines[-1]) + self.cells(part) <= room:
                lines[-1] += part
            else:
                lines += chop_cells(part, room)
        return [line for line in lines if line]

    def shorten(self, text: str, room: int) -> str:
        """Cut the middle out of text too wide for its room, all but the numbers of layers.

        `encoder.layers.11.norm.weight` becomes `encoder…11…m.weight`: without its number every
        layer would look like every other.
        """
        if self.cells(text) <= room:
            return text
        mark = self._mark(text, room)
        left = (room - len(mark)) // 2
        right = room - len(mark) - left
        head, tail = text[:left], text[len(text) - right :]
        while self.cells(head) > left:
            head = head[:-1]
        while self.cells(tail) > right:
            tail = tail[1:]
        return f"{head}{mark}{tail}"

    @staticmethod
    def _mark(text: str, room: int) -> str:
        """Choose what stands for the middle: `…`, or `…11…` where a layer's number is in it."""
        mark, numbers = "…", [*_INDEX.finditer(text)]
        for _ in range(2 if numbers else 0):  # a longer mark may push another number out of sight
            left = (room - len(mark)) // 2
            right = len(text) - (room - len(mark) - left)
            hidden = [n[0] for n in numbers if n.end() > left and n.start() < right]
            mark = "…".join(["", *hidden, ""]) or "…"
        return mark if len(mark) <= room // 2 else "…"


def draw(
    report: ListReport,
    *,
    width: int,
    color: bool = False,
    heading: str | None = None,
    cut: bool = True,
) -> Iterator[str]:
    """Yield the table in chunks of whole lines, none wider than `width` cells; totals last.

    Names too long for their column lose their middles, or are folded where `cut` is false.
    """
    screen = Screen(width, color=color, cut=cut)
    facts = list(alike(_facts, report.tensors))
    layout = _arrange(report, screen, facts)
    if heading is not None:
        yield from (screen.style("bold", line) + "\n" for line in screen.wrap(safe(heading)))
    titles = _cells({title: title for title in layout.columns}, screen, layout)
    yield screen.style("bold", screen.row("Name", layout, titles)[:-1]) + "\n"
    yield screen.rule(layout)
    yield from chunks(_rows(report, screen, layout, facts))
    if report.tensors:
        yield screen.rule(layout)
    yield from footer(report, screen)


def _arrange(report: ListReport, screen: Screen, facts: Facts) -> Layout:
    """Measure every cell once, and leave out the columns that would say nothing."""
    rows = {_FACTS, *facts}
    widest = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    columns = dict(zip(_FACTS, widest, strict=True))
    columns["Shape"] = min(columns["Shape"], screen.width // 2)
    kinds = {info.kind for info in report.tensors}
    if kinds - {"tensor"}:
        columns["Kind"] = max(map(len, ("Kind", *kinds)))
    if report.groups:
        columns["Shared"] = max(len("Shared"), *(len(group.id) for group in report.groups))
    names = max((screen.cells(safe(info.name)) for info in report.tensors), default=0)
    return screen.arrange(max(len("Name"), names), columns, _EXPENDABLE, _READABLE)


def _rows(report: ListReport, screen: Screen, layout: Layout, facts: Facts) -> Iterator[str]:
    @cache
    def middle(facts: tuple[str, ...]) -> str:
        return _cells(dict(zip(_FACTS, facts, strict=True)), screen, layout)

    @cache
    def ending(kind: str, group: str) -> str:
        cells = _cells({"Kind": kind, "Shared": group}, screen, layout).rstrip()
        return cells.replace(group, screen.style("cyan", group)) if group else cells

    names, group_of = layout.names, report.group_of.get
    for info, texts in zip(report.tensors, facts, strict=True):
        name = info.name
        rest = middle(texts) + ending(info.kind, group_of(name, ""))
        if len(name) <= names and name.isascii() and name.isprintable():
            yield f"{name.ljust(names)}{rest}\n"
        else:
            yield screen.row(safe(name), layout, rest)


def _cells(texts: Mapping[str, str], screen: Screen, layout: Layout) -> str:
    return screen.columns(texts, layout, right=_NUMBERS)


def _facts(info: TensorInfo) -> tuple[str, str, str, str]:
    return shape_of(info), info.dtype.name, *counts_of(info)
