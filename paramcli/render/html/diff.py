"""`diff` as a page: the verdict, what is counted, what changed most, and all the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.render.diff.parts import parts
from paramcli.render.diff.table import NUMBERS, TITLES, texts
from paramcli.render.diff.words import cause, most_changed, rows, verdict
from paramcli.render.html.page import Cell, bar, facts, page, table, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.diff.report import DiffReport, ValueChange

__all__ = ["html"]

_MOST = 1000
_DECADES = 6
"""Powers of ten, below the most that changed, that a bar can show."""


def html(report: DiffReport) -> Iterator[str]:
    """Yield the page."""
    kind = "good" if report.same else "bad"
    sub = f'<span class="verdict {kind}">{text(verdict(report))}</span>'
    if likely := cause(report):
        sub += f"<br>{text(likely)}"
    yield from page(f"{report.a} → {report.b}", sub, _body(report))


def _body(report: DiffReport) -> Iterator[str]:
    yield from table(
        "Summary",
        [Cell("What"), Cell("Count", "n"), Cell("")],
        (
            [Cell(text(label)), Cell(f"{count:,}", "n"), Cell(text(remark))]
            for label, count, remark, _ in rows(report)
        ),
    )
    changes = most_changed(report)
    if changes:
        cells = [texts(change) for change in changes[:_MOST]]
        titles = [title for title in TITLES if any(one.get(title) for one in cells)]
        largest = max((_size(change) for change in changes), default=0.0)
        yield from table(
            "Changed most",
            [
                Cell("Name"), Cell("Change"),
                *(Cell(title, "n" if title in NUMBERS else "") for title in titles),
            ],
            (
                [
                    Cell(text(change.name), "c"),
                    Cell(bar(_share(_size(change), largest), f"rel L2 {one.get('Rel L2', '?')}")),
                    *(
                        Cell(text(one.get(title, "")), "n" if title in NUMBERS else "")
                        for title in titles
                    ),
                ]
                for change, one in zip(changes, cells, strict=False)
            ),
            max(0, len(changes) - _MOST),
        )  # fmt: skip
    for section in parts(report, _MOST):
        yield from facts(section)


def _size(change: ValueChange) -> float:
    value = change.metrics.rel_l2 if change.metrics is not None else 0.0
    return value if math.isfinite(value) else 0.0


def _share(size: float, largest: float) -> float:
    """How long a bar is: by its logarithm, since changes differ by powers of ten."""
    if not size or not largest:
        return 0.0
    return 1 + math.log10(size / largest) / _DECADES
