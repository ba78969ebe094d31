"""`init` as a GitHub Markdown table, to paste into an issue or a job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.gfm import cell, code, row, shape_cell
from paramcli.render.init.table import (
    NUMBERS,
    columns_of,
    flagged,
    remarks,
    texts,
    totals,
    verified,
)
from paramcli.render.text import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paramcli.verbs.initialize import Initialized, InitReport, VerifyReport

__all__ = ["markdown", "markdown_verified"]

_CODE = ("Scheme", "Rule")
_MOST = 50


def markdown(report: InitReport) -> Iterator[str]:
    """Yield the target, its table, and what it comes to; columns that say nothing are left out."""
    rows = [texts(one) for one in report.tensors]
    titles = [title for title in columns_of(report) if any(cells.get(title) for cells in rows)]
    yield f"**{code(report.target)}** ({report.format})\n\n"
    yield row(["Name", *titles])
    yield row([":--", *("--:" if title in NUMBERS else ":--" for title in titles)])
    yield from chunks(
        row([cell(one.info.name), *_cells(one, cells, titles)])
        for one, cells in zip(report.tensors, rows, strict=True)
    )
    yield f"\n**{totals(report)}**\n"
    for line in (*remarks(report), flagged(report)):
        if line:
            yield f"\n{code(line)}\n"


def _cells(one: Initialized, cells: Mapping[str, str], titles: Sequence[str]) -> Iterator[str]:
    for title in titles:
        text = cells.get(title, "")
        if title == "Shape":
            yield shape_cell(one.info)
        elif title in _CODE and text:
            yield cell(text)
        else:
            yield text


def markdown_verified(report: VerifyReport) -> Iterator[str]:
    """Yield what a check found."""
    yield f"**{code(report.target)}**\n\n"
    for what, names in verified(report):
        shown = ", ".join(map(code, names[:_MOST])) if what != "unchanged" else ""
        more = ", …" if shown and len(names) > _MOST else ""
        yield f"- {what}: {len(names):,}{': ' if shown else ''}{shown}{more}\n"
