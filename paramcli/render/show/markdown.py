"""`show` as GitHub Markdown, to paste into an issue: tables, and values in a block of code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.gfm import block, cell, code, row
from paramcli.render.page import Page
from paramcli.render.show.facts import file_sections, tensor_sections, values_title
from paramcli.render.show.grid import grid
from paramcli.render.show.table import NUMBERS, TITLES, texts
from paramcli.render.text import chunks
from paramcli.verbs.show import FileReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.sections import Section
    from paramcli.verbs.show import Shown, ShowReport

__all__ = ["markdown"]

_ROOM = 80  # columns of a block of code that GitHub shows without a scroll bar


def markdown(report: ShowReport | FileReport) -> Iterator[str]:
    """Yield the target, then a table of tensors, or of the facts of one tensor or of the file."""
    yield f"**{code(report.target)}** ({report.format})\n"
    if isinstance(report, FileReport):
        yield from _facts(file_sections(report))
        return
    if report.module is not None:
        yield f"\nModule {code(report.module)}\n"
    if len(report.tensors) == 1:
        [shown] = report.tensors
        yield from _facts(tensor_sections(shown, None, Page()), shown.name)
    else:
        yield from _table(report.tensors)
    for shown in report.tensors:
        if shown.values is not None:
            yield f"\n{code(values_title(shown))}\n\n"
            yield block("".join(grid(shown.values, Page(), _ROOM)))
    if report.note:
        yield f"\n{code(report.note)}\n"


def _table(tensors: Sequence[Shown]) -> Iterator[str]:
    rows = [texts(shown) for shown in tensors]
    titles = [title for title in TITLES if any(cells.get(title) for cells in rows)]
    yield "\n" + row(["Name", *titles])
    yield row([":--", *("--:" if title in NUMBERS else ":--" for title in titles)])
    yield from chunks(
        row([cell(shown.name), *(_text(cells.get(title, "")) for title in titles)])
        for shown, cells in zip(tensors, rows, strict=True)
    )


def _facts(sections: Sequence[Section], name: str | None = None) -> Iterator[str]:
    """Yield a table for each section, under its title if it has one."""
    for section in sections:
        yield "\n" + row([section.title, cell(name) if name is not None else ""])
        yield row([":--", ":--"])
        yield from chunks(row([_text(title), _text(text)]) for title, text, _ in section.facts)
        if section.more:
            yield row([f"… and {section.more:,} more", ""])
        name = None


def _text(text: str) -> str:
    return cell(text) if text else ""
