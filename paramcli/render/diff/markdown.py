"""`diff` as GitHub Markdown, for the summary of a step or an issue: the verdict first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.diff.parts import parts
from paramcli.render.diff.picture import picture
from paramcli.render.diff.table import NUMBERS, TITLES, texts
from paramcli.render.diff.words import cause, most_changed, rows, verdict
from paramcli.render.gfm import block, cell, code, row
from paramcli.render.page import Page
from paramcli.render.text import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.sections import Section
    from paramcli.verbs.diff.report import DiffReport, ValueChange

__all__ = ["markdown"]

_ROOM = 80  # columns of a block of code that GitHub shows without a scroll bar
_MOST_CHANGES = 10
_MOST = 100  # lines of a kind, which are folded away; a step summary takes 1 MiB


def markdown(report: DiffReport, *, details: bool = False) -> Iterator[str]:
    """Yield verdict, likely cause, summary, what changed most, and the rest folded away."""
    yield f"{code(report.a)} → {code(report.b)}\n\n**{code(verdict(report))}**\n"
    if likely := cause(report):
        yield f"\n{code(likely)}\n"
    yield "\n" + row(["", "Count", ""]) + row([":--", "--:", ":--"])
    for label, count, remark, _ in rows(report):
        yield row([label, f"{count:,}", _text(remark)])
    changes = most_changed(report)
    if changes:
        yield from _table(changes if details else changes[:_MOST_CHANGES])
        if not details and len(changes) > _MOST_CHANGES:
            yield f"\n… and {len(changes) - _MOST_CHANGES:,} more\n"
    drawing = "".join(picture(report, Page(), _ROOM))
    if drawing:
        yield "\n" + block(drawing.lstrip("\n"))
    for section in parts(report, None if details else _MOST):
        yield from _folded(section)


def _table(changes: Sequence[ValueChange]) -> Iterator[str]:
    cells = [texts(change) for change in changes]
    titles = [title for title in TITLES if any(one.get(title) for one in cells)]
    yield "\n" + row(["Changed most", *titles])
    yield row([":--", *("--:" if title in NUMBERS else ":--" for title in titles)])
    yield from chunks(
        row([cell(change.name), *(_text(one.get(title, "")) for title in titles)])
        for change, one in zip(changes, cells, strict=True)
    )


def _folded(section: Section) -> Iterator[str]:
    """Yield a kind of difference as a table that opens on a click."""
    yield f"\n<details><summary>{section.title}</summary>\n\n"
    yield row(["Name", ""]) + row([":--", ":--"])
    yield from chunks(row([_text(title), _text(text)]) for title, text, _ in section.facts)
    if section.more:
        yield row([f"… and {section.more:,} more", ""])
    yield "\n</details>\n"


def _text(text: str) -> str:
    return cell(text) if text else ""
