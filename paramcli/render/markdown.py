"""`list` as a GitHub Markdown table, to paste into an issue or a job summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.render.text import binary, chunks, remembered, safe, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.checkpoint import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["markdown"]

_BACKTICKS = re.compile("`+")


def markdown(report: ListReport) -> Iterator[str]:
    """Yield the target, then its table with totals last; columns that say nothing are left out."""
    kinds = any(info.kind != "tensor" for info in report.tensors)
    extra = ["Kind"] * kinds + ["Shared"] * bool(report.groups)
    facts = remembered(_facts)

    def cells(info: TensorInfo) -> list[str]:
        last = [info.kind] * kinds + [report.group_of.get(info.name, "")] * bool(report.groups)
        name = _code(info.name).replace("|", "\\|")  # GFM splits cells before it reads code spans
        return [name, facts(info), *last]

    yield f"**{_code(report.target)}** ({report.format})\n\n"
    yield _row(["Name", "Shape", "Dtype", "Count", "Bytes", *extra])
    yield _row([":--", ":--", ":--", "--:", "--:", *[":--"] * len(extra)])
    yield from chunks(_row(cells(info)) for info in report.tensors)
    totals, blank = report.totals, [""] * len(extra)
    yield _total(f"Total of {totals.tensors:,}", totals.numel, totals.bytes, blank)
    if report.groups:
        yield _total("Unique", totals.unique_numel, totals.unique_bytes, blank)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _total(title: str, count: int, nbytes: int, blank: Sequence[str]) -> str:
    return _row([f"**{title}**", "", "", f"**{count:,}**", f"**{binary(nbytes)}**", *blank])


def _facts(info: TensorInfo) -> str:
    """Lay the cells of shape, dtype, count and bytes."""
    shape = shape_text(info.shape).replace("[", "\\[")  # `[x](…)` and `[^1]` would be links
    return f"{shape} | {info.dtype.name} | {info.numel:,} | {binary(info.nbytes)}"


def _code(text: str) -> str:
    """Put text into a code span that outlasts its own backticks.

    https://github.github.com/gfm/#code-spans
    """
    text = safe(text)
    fence = "`" * (1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    if not text or text[0] in "` " or text[-1] in "` ":
        text = f" {text} "  # GFM takes one space off each side
    return f"{fence}{text}{fence}"
