"""The values that changed as a table, those that changed most first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.render.diff.parts import shape_words
from paramcli.render.diff.words import DANGER, odd
from paramcli.render.numbers import short
from paramcli.render.text import chunks, safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Page
    from paramcli.verbs.diff.report import ValueChange

__all__ = ["NUMBERS", "TITLES", "table", "texts"]

TITLES = ("Shape", "Rel L2", "Max abs", "Cosine", "Changed", "Not finite")
NUMBERS = ("Rel L2", "Max abs", "Cosine", "Changed")
_EXPENDABLE = ("Shape", "Cosine", "Max abs", "Not finite", "Changed")
_READABLE = 24  # cells in which a shortened name still says something


def texts(change: ValueChange) -> dict[str, str]:
    """Lay the cells of a change by their titles; empty ones say that nothing is known."""
    cells = {"Shape": "" if change.shape is None else shape_words(change.shape)}
    metrics = change.metrics
    if metrics is not None:
        cells |= {
            "Rel L2": short(metrics.rel_l2, 3),
            "Max abs": short(metrics.max_abs, 3),
            "Cosine": _cosine(metrics.cosine),
            "Changed": f"{short(100 * metrics.changed_fraction, 3)} %",
            "Not finite": odd(change),
        }
    return cells


def _cosine(value: float | None) -> str:
    """Write a cosine; one that would round to 1 as how far it is from it: `1-2e-7`."""
    text = short(value, 4)
    return f"1-{short(1 - value, 2)}" if text == "1" and value and value < 1 else text


def table(changes: Sequence[ValueChange], page: Page) -> Iterator[str]:
    """Yield the titles and a row for each change; columns that say nothing are left out."""
    rows = [texts(change) for change in changes]
    columns = {
        title: max(len(title), *widths)
        for title in TITLES
        if any(widths := [page.cells(cells.get(title, "")) for cells in rows])
    }
    for title in ("Shape", "Not finite"):
        if title in columns:
            columns[title] = min(columns[title], page.width // 3)
    title = "Changed most" if any(change.metrics for change in changes) else "Changed"
    names = max(len(title), *(page.cells(safe(change.name)) for change in changes))
    layout = page.arrange(names, columns, _EXPENDABLE, _READABLE)
    head = page.columns({title: title for title in TITLES}, layout, right=NUMBERS)
    yield page.style("bold", page.row(title, layout, head)[:-1]) + "\n" + page.rule(layout)
    yield from chunks(
        page.row(
            safe(change.name),
            layout,
            page.columns(cells, layout, right=NUMBERS, styles=_styles(change)),
        )
        for change, cells in zip(changes, rows, strict=True)
    )


def _styles(change: ValueChange) -> dict[str, str]:
    """Colour what is not finite."""
    metrics = change.metrics
    if metrics is None:
        return {}
    numbers = {
        "Rel L2": metrics.rel_l2, "Max abs": metrics.max_abs, "Cosine": metrics.cosine,
    }  # fmt: skip
    bad = [title for title, number in numbers.items() if not math.isfinite(number or 0.0)]
    return dict.fromkeys([*bad, "Not finite"], DANGER)
