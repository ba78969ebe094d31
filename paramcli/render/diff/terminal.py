"""`diff` drawn on a terminal: summary, what differs, what changed most, picture, verdict."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from paramcli.render.diff.parts import parts
from paramcli.render.diff.picture import picture
from paramcli.render.diff.table import table
from paramcli.render.diff.words import CHANGE, cause, most_changed, rows, verdict
from paramcli.render.page import GAP
from paramcli.render.sections import headline
from paramcli.render.terminal import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Page
    from paramcli.render.sections import Fact
    from paramcli.verbs.diff.report import DiffReport

__all__ = ["draw"]

_MOST = 10


def draw(
    report: DiffReport, *, width: int, color: bool = False, cut: bool = True, details: bool = False
) -> Iterator[str]:
    """Yield whole lines, none wider than `width` cells; ten of a kind unless `details` are wanted.

    Names too long for their column lose their middles, or are folded where `cut` is false.
    """
    screen = Screen(width, color=color, cut=cut)
    most = None if details else _MOST
    yield from headline(f"{report.a} → {report.b}", screen)
    yield from (f"{line}\n" for line in screen.wrap(cause(report)) if line)
    yield from _summary(report, screen)
    for section in parts(report, most):
        yield "\n"
        yield from headline(section.title, screen)
        yield from _lines(section.facts, screen)
        yield from _more(section.more, screen)
    changes = most_changed(report)
    if changes:
        yield "\n"
        yield from table(changes[:most], screen)
        yield from _more(len(changes) - len(changes[:most]), screen)
    yield from picture(report, screen, screen.width)
    yield "\n"
    style = "bold" if report.same else f"bold {CHANGE}"
    yield from (screen.style(style, line) + "\n" for line in screen.wrap(verdict(report)))


def _summary(report: DiffReport, page: Page) -> Iterator[str]:
    """Lay how many of each kind, with a remark where there is room for one."""
    lines = rows(report)
    left = max((len(row.label) for row in lines), default=0)
    right = max((len(f"{row.number:,}") for row in lines), default=0)
    room = page.width - left - right - 2 * len(GAP)
    for label, count, remark, style in lines:
        number = f"{count:,}".rjust(right)
        start = f"{label.ljust(left)}{GAP}{page.style(style, number) if style else number}"
        first, *others = page.wrap(remark, room)
        yield f"{start}{GAP}{first}".rstrip() + "\n"
        yield from (" " * (page.width - room) + f"{line}\n" for line in others)


def _lines(facts: Sequence[Fact], page: Page) -> Iterator[str]:
    """Lay facts in two columns, names as wide as what is said of them lets them be."""
    names = max(page.cells(fact.title) for fact in facts)
    said = max(page.cells(fact.text) for fact in facts)
    if not said:
        yield from (f"{line}\n" for fact in facts for line in page.lines(fact.title, page.width))
        return
    room = min(names, max(page.width * 2 // 5, page.width - said - len(GAP)))
    for title, text, style in facts:
        left = page.lines(title, room)
        right = page.wrap(text, page.width - room - len(GAP))
        for name, line in zip_longest(left, right, fillvalue=""):
            padding = " " * (room - page.cells(name))
            painted = page.style(style, line) if style and line else line
            yield f"{name}{padding}{GAP}{painted}".rstrip() + "\n"


def _more(count: int, page: Page) -> Iterator[str]:
    if count:
        yield from (
            f"{line}\n" for line in page.wrap(f"… and {count:,} more (--details shows all)")
        )
