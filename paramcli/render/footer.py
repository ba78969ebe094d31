"""What stands below a drawing: totals, element types, and which names share bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.page import GAP
from paramcli.render.text import binary, plural, safe, summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Page
    from paramcli.sharing import Group
    from paramcli.verbs.survey import DTypeTotal, ListReport

__all__ = ["footer", "group_line"]

_MOST = 10  # groups listed before "and N more"
_MOST_NAMES = 4


def footer(report: ListReport, page: Page) -> Iterator[str]:
    """Yield the lines below the table or tree of a report; they wrap, and are never cut."""
    totals = report.totals
    yield from (page.style("bold", line) + "\n" for line in page.wrap(summary(totals)))
    sentences = []
    if report.groups:
        unique = f"{totals.unique_numel:,} · {binary(totals.unique_bytes)}"
        sentences.append(f"unique: {unique} (shared bytes counted once)")
    if len(report.by_dtype) > 1:
        sentences += _dtypes(report.by_dtype)
    sentences += map(group_line, report.groups[:_MOST])
    if len(report.groups) > _MOST:
        sentences.append(f"… and {plural(len(report.groups) - _MOST, 'more group')}")
    yield from (line + "\n" for sentence in sentences for line in page.wrap(sentence))


def _dtypes(totals: Sequence[DTypeTotal]) -> Iterator[str]:
    """Lay the totals of each dtype under each other."""
    rows = [
        (total.dtype, plural(total.tensors, "tensor"), f"{total.numel:,}", binary(total.bytes))
        for total in totals
    ]
    rooms = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for dtype, *numbers in rows:
        cells = [text.rjust(room) for text, room in zip(numbers, rooms[1:], strict=True)]
        yield GAP.join([dtype.ljust(rooms[0]), *cells])


def group_line(group: Group) -> str:
    """Lay one sharing group: `g1  same  2.weight = 4.weight  256 B`."""
    sign = " = " if group.relation == "same" else " & "
    names = sign.join(map(safe, group.names[:_MOST_NAMES]))
    if len(group.names) > _MOST_NAMES:
        names += f"{sign}… ({len(group.names):,} names)"
    return GAP.join([group.id, group.relation, names, binary(group.bytes) if group.bytes else "?"])
