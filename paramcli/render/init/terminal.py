"""`init` drawn on a terminal: a row for each tensor, what it comes to, and what is out of line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.footer import group_line
from paramcli.render.init.table import (
    DANGER,
    NUMBERS,
    columns_of,
    flagged,
    remarks,
    texts,
    totals,
    verified,
)
from paramcli.render.sections import headline
from paramcli.render.terminal import Screen
from paramcli.render.text import chunks, plural, safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Layout, Page
    from paramcli.verbs.initialize import Initialized, InitReport, VerifyReport

__all__ = ["draw", "draw_verified"]

_EXPENDABLE = (
    "Why", "Dtype", "Fan out", "Shared", "Fan in", "Shape", "Rule", "Mean", "Memory", "z", "Std",
    "Scheme",
)  # fmt: skip
_READABLE = 20  # cells in which a shortened name still says something
_MOST_GROUPS = 10
_MOST_NAMES = 20


def draw(report: InitReport, *, width: int, color: bool = False, cut: bool = True) -> Iterator[str]:
    """Yield whole lines, none wider than `width` cells.

    Names too long for their column lose their middles, or are folded where `cut` is false.
    """
    screen = Screen(width, color=color, cut=cut)
    rows = [texts(one) for one in report.tensors]
    titles = columns_of(report)
    layout = _arrange(report, rows, titles, screen)
    head = screen.columns({title: title for title in titles}, layout, right=NUMBERS)
    yield screen.style("bold", screen.row("Name", layout, head)[:-1]) + "\n" + screen.rule(layout)
    yield from chunks(
        screen.row(safe(one.info.name), layout, _cells(one, cells, titles, layout, screen))
        for one, cells in zip(report.tensors, rows, strict=True)
    )
    yield screen.rule(layout)
    yield from headline(totals(report), screen)
    lines = [*remarks(report), *map(group_line, report.groups[:_MOST_GROUPS])]
    if len(report.groups) > _MOST_GROUPS:
        lines.append(f"… and {plural(len(report.groups) - _MOST_GROUPS, 'more group')}")
    yield from (f"{line}\n" for text in lines for line in screen.wrap(text))
    yield from (screen.style(DANGER, line) + "\n" for line in screen.wrap(flagged(report)) if line)


def _cells(
    one: Initialized, cells: dict[str, str], titles: Sequence[str], layout: Layout, page: Page
) -> str:
    styles = {"Shared": "cyan", **({"z": DANGER} if one.flagged else {})}
    shown = {title: cells.get(title, "") for title in titles}
    return page.columns(shown, layout, right=NUMBERS, styles=styles)


def _arrange(
    report: InitReport, rows: Sequence[dict[str, str]], titles: Sequence[str], page: Page
) -> Layout:
    """Measure every cell, and leave out the columns that would say nothing."""
    columns = {
        title: max(len(title), *widths)
        for title in titles
        if any(widths := [page.cells(cells.get(title, "")) for cells in rows])
    }
    for title in ("Shape", "Rule", "Scheme", "Why"):
        if title in columns:
            columns[title] = min(columns[title], max(len(title), page.width // 3))
    names = max((page.cells(safe(one.info.name)) for one in report.tensors), default=0)
    return page.arrange(max(len("Name"), names), columns, _EXPENDABLE, _READABLE)


def draw_verified(
    report: VerifyReport, *, width: int, color: bool = False, cut: bool = True
) -> Iterator[str]:
    """Yield what a check found, and the verdict last."""
    screen = Screen(width, color=color, cut=cut)
    made = f"recipe {safe(report.recipe or '(none)')} · seed {report.seed} · {report.stream}"
    yield from headline(report.target, screen)
    yield from (f"{line}\n" for line in screen.wrap(made))
    for what, names in verified(report):
        yield f"{what:<11}  {len(names):,}\n"
        if what != "unchanged":
            yield from (f"  {line}\n" for name in names[:_MOST_NAMES]
                        for line in screen.lines(safe(name), screen.width - 2))  # fmt: skip
            if len(names) > _MOST_NAMES:
                yield f"  … and {len(names) - _MOST_NAMES:,} more\n"
    verdict = "as it was initialized" if report.same else "changed since it was initialized"
    yield screen.style("bold" if report.same else f"bold {DANGER}", verdict) + "\n"
