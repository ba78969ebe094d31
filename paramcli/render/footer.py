"""What stands below a drawing: totals, element types, sharing, and last of all what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.page import GAP
from paramcli.render.text import binary, plural, safe, summary, unique_summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.checkpoint import Group
    from paramcli.render.page import Page
    from paramcli.verbs.survey import DTypeTotal, ListReport

__all__ = ["footer"]

_MOST = 10  # groups or problems before "and N more"
_MOST_NAMES = 4


def footer(report: ListReport, page: Page) -> Iterator[str]:
    """Yield the lines below the table or tree of a report."""
    yield page.style("bold", page.shorten(summary(report.totals), page.width)) + "\n"
    if report.groups:
        unique = f"unique: {unique_summary(report.totals)} (shared bytes counted once)"
        yield page.shorten(unique, page.width) + "\n"
    if len(report.by_dtype) > 1:
        yield from (page.shorten(line, page.width) + "\n" for line in _dtypes(report.by_dtype))
    yield from (_group(group, page) + "\n" for group in report.groups[:_MOST])
    yield from _rest(len(report.groups), "group")
    for problem in report.problems[:_MOST]:
        yield page.style("bold red", page.shorten(safe(problem), page.width)) + "\n"
    yield from _rest(len(report.problems), "problem")


def _rest(count: int, noun: str) -> Iterator[str]:
    if count > _MOST:
        yield f"… and {plural(count - _MOST, f'more {noun}')}\n"


def _dtypes(totals: Sequence[DTypeTotal]) -> Iterator[str]:
    """Lay the totals of each dtype under each other."""
    rows = [
        (total.dtype, plural(total.tensors, "tensor"), f"{total.count:,}", binary(total.bytes))
        for total in totals
    ]
    rooms = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for dtype, *numbers in rows:
        cells = [text.rjust(room) for text, room in zip(numbers, rooms[1:], strict=True)]
        yield GAP.join([dtype.ljust(rooms[0]), *cells])


def _group(group: Group, page: Page) -> str:
    """Lay one sharing group: `g1  same  2.weight = 4.weight  256 B`."""
    sign = " = " if group.relation == "same" else " & "
    names = sign.join(map(safe, group.names[:_MOST_NAMES]))
    if len(group.names) > _MOST_NAMES:
        names += f" … {len(group.names):,} names"
    before, after = f"{GAP}{group.relation}{GAP}", f"{GAP}{binary(group.bytes)}"
    room = page.width - len(group.id) - len(before) - len(after)
    return page.style("cyan", group.id) + before + page.shorten(names, room) + after
