"""`list` as tab-separated values, the default in a pipe: whole names, one line each, no totals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.text import alike, chunks, safe, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["described", "tsv"]


def tsv(report: ListReport, *, heading: str | None = None) -> Iterator[str]:
    """Yield the table in chunks of whole lines; tabs and newlines in names come escaped.

    A `heading`, where there are several tables, is a line of its own after a `#`.
    """
    if heading is not None:
        yield f"# {safe(heading)}\n"
    yield "name\tshape\tdtype\tcount\tbytes\tkind\tgroup\n"
    group_of = report.group_of
    yield from chunks(
        f"{name if (name := info[0]).isprintable() else safe(name)}\t{facts}\t"
        f"{info[6]}\t{group_of.get(name, '') if group_of else ''}\n"
        for info, facts in zip(report.tensors, alike(described, report.tensors), strict=True)
    )


def described(info: TensorInfo) -> str:
    """Write the fields of shape, dtype, count and bytes, the last two empty if not known."""
    shape = shape_of(info).replace(" ", "")
    counts = "\t" if info.open else f"{info.numel}\t{info.nbytes}"
    return f"{shape}\t{info.dtype.name}\t{counts}"
