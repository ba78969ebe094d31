"""Many tensors as a table of their statistics, each a row with its histogram as a sparkline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.numbers import finite, short, sparkline
from paramcli.render.show.facts import DANGER, flags
from paramcli.render.text import chunks, safe, shape_of, sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Layout, Page
    from paramcli.verbs.show import Shown

__all__ = ["NUMBERS", "TITLES", "table", "texts"]

NUMBERS = ("Mean", "Std", "Min", "Max", "L2")
TITLES = ("Shape", "Dtype", *NUMBERS, "Histogram", "Shared", "Flags")
_EXPENDABLE = ("L2", "Dtype", "Shared", "Shape", "Histogram", "Max", "Min", "Std", "Mean")
_RANGE = {"Min", "Max"}
_READABLE = 20  # cells in which a shortened name still says something
_BARS = 10


def texts(shown: Shown) -> dict[str, str]:
    """Lay the cells of a tensor by their titles; empty ones say that a number is not known."""
    cells = {
        "Shape": shape_of(shown.info),
        "Dtype": shown.info.dtype.name,
        "Shared": safe(shown.group or ""),
    }
    if shown.stats:
        cells |= {title: short(getattr(shown.stats, title.lower())) for title in NUMBERS}
        cells["Histogram"] = sparkline(shown.stats.histogram, _BARS)
        cells["Flags"] = flags(shown.stats, shown.first_bad)
    return cells


def table(tensors: Sequence[Shown], page: Page) -> Iterator[str]:
    """Yield a title, a row for each tensor, and the totals by name."""
    rows = [texts(shown) for shown in tensors]
    layout = _arrange(tensors, rows, page)
    titles = page.columns({title: title for title in TITLES}, layout, right=NUMBERS)
    yield page.style("bold", page.row("Name", layout, titles)[:-1]) + "\n" + page.rule(layout)
    yield from chunks(
        page.row(
            safe(shown.name),
            layout,
            page.columns(cells, layout, right=NUMBERS, styles=_styles(shown)),
        )
        for shown, cells in zip(tensors, rows, strict=True)
    )
    yield page.rule(layout)
    count = sum(shown.info.numel for shown in tensors)
    totals = sizes(len(tensors), count, sum(shown.info.nbytes for shown in tensors))
    yield from (page.style("bold", line) + "\n" for line in page.wrap(totals))


def _arrange(tensors: Sequence[Shown], rows: Sequence[dict[str, str]], page: Page) -> Layout:
    """Measure every cell, and leave out the columns that would say nothing."""
    columns = {
        title: max(len(title), *widths)
        for title in TITLES
        if any(widths := [page.cells(cells.get(title, "")) for cells in rows])
    }
    for title, most in (("Shape", page.width // 2), ("Flags", page.width // 3)):
        if title in columns:
            columns[title] = min(columns[title], most)
    names = max((page.cells(safe(shown.name)) for shown in tensors), default=0)
    names = max(len("Name"), names)
    layout = page.arrange(names, columns, _EXPENDABLE, _READABLE)
    if columns.keys() & _RANGE and not layout.columns.keys() >= _RANGE:  # one end says little
        columns = {title: width for title, width in columns.items() if title not in _RANGE}
        layout = page.arrange(names, columns, _EXPENDABLE, _READABLE)
    return layout


def _styles(shown: Shown) -> dict[str, str]:
    """Colour what is shared, and what is wrong."""
    numbers = {title: getattr(shown.stats, title.lower(), None) for title in NUMBERS}
    bad = [title for title, number in numbers.items() if not finite(number)]
    return {"Shared": "cyan", **dict.fromkeys([*bad, "Flags"], DANGER)}
