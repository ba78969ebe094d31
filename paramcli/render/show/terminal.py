"""`show` drawn on a terminal, as `list` is: a table, a card for one tensor, or one for the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.page import GAP, Layout
from paramcli.render.sections import headline, lay, room_of, widest
from paramcli.render.show.facts import file_sections, tensor_sections, values_title
from paramcli.render.show.grid import grid
from paramcli.render.show.table import table
from paramcli.render.terminal import Screen
from paramcli.render.text import safe
from paramcli.verbs.show import FileReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Page
    from paramcli.render.sections import Section
    from paramcli.verbs.show import Shown, ShowReport

__all__ = ["draw"]


def draw(
    report: ShowReport | FileReport,
    *,
    width: int,
    color: bool = False,
    heading: str | None = None,
    cut: bool = True,
) -> Iterator[str]:
    """Yield whole lines, none wider than `width` cells.

    Names too long for their column lose their middles, or are folded where `cut` is false.
    """
    screen = Screen(width, color=color, cut=cut)
    if heading is not None:
        yield from headline(heading, screen)
    if isinstance(report, FileReport):
        yield from _card(report.target, file_sections(report), screen)
        return
    if len(report.tensors) == 1:
        [shown] = report.tensors
        sections = tensor_sections(shown, report.module, screen)
        yield from _card(shown.info.name, sections, screen)
    else:
        if report.module is not None:
            yield from headline(report.module or "(root)", screen)
        yield from table(report.tensors, screen)
    for shown in report.tensors:
        if shown.values is not None:
            yield from _values(shown, screen)
    if report.note:
        yield from (f"{line}\n" for line in screen.wrap(safe(report.note)))


def _card(title: str, sections: Sequence[Section], page: Page) -> Iterator[str]:
    """Yield a title, and sections with an empty line between them."""
    yield from headline(title, page)
    own = room_of([section for section in sections if not section.title], page)
    wide = max(widest(section, page, own) for section in sections if not section.title)
    yield page.rule(Layout(wide, {}))
    for number, section in enumerate(sections):
        if number:
            yield "\n"
        yield from lay(section, page, room_of([section], page) if section.title else own)


def _values(shown: Shown, page: Page) -> Iterator[str]:
    yield "\n"
    yield from headline(values_title(shown), page)
    yield from (f"{GAP}{line}" for line in _lines(shown.values, page))


def _lines(values: object, page: Page) -> Iterator[str]:
    for chunk in grid(values, page, page.width - len(GAP)):
        yield from chunk.splitlines(keepends=True)
