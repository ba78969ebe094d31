"""`list` as a GitHub Markdown table, to paste into an issue or a job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.gfm import cell, code, row, shape_cell
from paramcli.render.text import alike, binary, chunks, counts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["markdown"]


def markdown(report: ListReport) -> Iterator[str]:
    """Yield the target, then its table with totals last; columns that say nothing are left out."""
    kinds = any(info.kind != "tensor" for info in report.tensors)
    extra = ["Kind"] * kinds + ["Shared"] * bool(report.groups)
    facts = alike(_facts, report.tensors)

    def cells(info: TensorInfo, facts: str) -> list[str]:
        last = [info.kind] * kinds + [report.group_of.get(info.name, "")] * bool(report.groups)
        return [cell(info.name), facts, *last]

    yield f"**{code(report.target)}** ({report.format})\n\n"
    yield row(["Name", "Shape", "Dtype", "Count", "Bytes", *extra])
    yield row([":--", ":--", ":--", "--:", "--:", *[":--"] * len(extra)])
    yield from chunks(map(row, map(cells, report.tensors, facts)))
    totals, blank = report.totals, [""] * len(extra)
    yield _total(f"Total of {totals.tensors:,}", totals.numel, totals.bytes, blank)
    if report.groups:
        yield _total("Unique", totals.unique_numel, totals.unique_bytes, blank)


def _total(title: str, count: int, nbytes: int, blank: Sequence[str]) -> str:
    return row([f"**{title}**", "", "", f"**{count:,}**", f"**{binary(nbytes)}**", *blank])


def _facts(info: TensorInfo) -> str:
    """Lay the cells of shape, dtype, count and bytes."""
    return " | ".join([shape_cell(info), info.dtype.name, *counts_of(info)])
