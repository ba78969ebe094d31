"""`tie` as GitHub Markdown: a table for each thing that there is to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.gfm import cell, code, row
from paramcli.render.text import chunks
from paramcli.render.tie.words import sections, summary, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.tie.report import TieReport

__all__ = ["markdown"]

_MOST = 100


def markdown(report: TieReport, *, details: bool = False) -> Iterator[str]:
    """Yield the target and the summary, then a table for each section, the ending last."""
    yield f"**{code(report.target)}** ({report.format})\n\n{summary(report)}\n"
    for section in sections(report, None if details else _MOST):
        yield "\n" + row([section.title, ""]) + row([":--", ":--"])
        yield from chunks(
            row([cell(title) if title else "", cell(text)]) for title, text, _ in section.facts
        )
        if section.more:
            yield row([f"… and {section.more:,} more", ""])
    if ending := verdict(report):
        yield f"\n**{code(ending)}**\n"
