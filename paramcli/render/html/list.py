"""`list` as a page: totals, element types, modules and tensors by size, groups, metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.html.page import Cell, bar, facts, page, table, text
from paramcli.render.sections import Fact, Section
from paramcli.render.text import binary, shape_of, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.survey import ListReport

__all__ = ["html"]

_MOST = 5000
"""Rows of tensors that a browser lays out in a blink."""
_MODULES = 30


def html(report: ListReport) -> Iterator[str]:
    """Yield the page."""
    totals = report.totals
    unique = binary(totals.unique_bytes)
    sub = f"{text(report.format)} · {text(summary(totals))} · {unique} of them unique"
    yield from page(report.target, sub, _body(report))


def _body(report: ListReport) -> Iterator[str]:
    if report.problems:
        yield from facts(Section("Problems", [Fact.of_file("", line) for line in report.problems]))
    whole = max(report.totals.bytes, 1)
    yield from table(
        "Element types",
        [
            Cell("Dtype"), Cell("Tensors", "n"), Cell("Count", "n"), Cell("Bytes", "n"),
            Cell("Share"),
        ],
        (
            [
                Cell(text(one.dtype), "c"), Cell(f"{one.tensors:,}", "n"),
                Cell(f"{one.numel:,}", "n"), Cell(binary(one.bytes), "n"),
                Cell(bar(one.bytes / whole, f"{100 * one.bytes / whole:.1f} %")),
            ]
            for one in report.by_dtype
        ),
    )  # fmt: skip
    yield from _modules(report, whole)
    yield from table(
        "Tensors",
        [
            Cell("Name"), Cell("Shape"), Cell("Dtype"), Cell("Count", "n"), Cell("Bytes", "n"),
            Cell("Kind"), Cell("Group"),
        ],
        (
            [
                Cell(text(info.name), "c"), Cell(text(shape_of(info))), Cell(info.dtype.name),
                Cell(f"{info.numel:,}", "n"), Cell(binary(info.nbytes), "n"), Cell(info.kind),
                Cell(report.group_of.get(info.name, "")),
            ]
            for info in report.tensors[:_MOST]
        ),
        max(0, len(report.tensors) - _MOST),
    )  # fmt: skip
    if report.groups:
        yield from table(
            "Shared bytes",
            [Cell("Group"), Cell("Names"), Cell("Relation"), Cell("Bytes", "n")],
            (
                [
                    Cell(one.id), Cell(" = ".join(map(text, one.names[:20])), "c"),
                    Cell(one.relation), Cell(binary(one.bytes), "n"),
                ]
                for one in report.groups
            ),
        )  # fmt: skip
    told = [Fact.of_file(key, value) for key, value in report.metadata.items()]
    if told:
        yield from facts(Section("Metadata", told))
    if report.pickle is not None:
        yield from facts(Section("Pickle", [Fact.of_file("Seen", report.pickle.summary())]))


def _modules(report: ListReport, whole: int) -> Iterator[str]:
    """The largest of the modules one or two levels down, by the bytes below them."""
    sums: dict[str, list[int]] = {}
    for info in report.tensors:
        path = info.name.rpartition(".")[0]
        found = sums.setdefault(".".join(path.split(".")[:3]) or "(top)", [0, 0])
        found[0] += 1
        found[1] += info.nbytes
    rows = sorted(sums.items(), key=lambda one: -one[1][1])
    yield from table(
        "Modules by size",
        [Cell("Module"), Cell("Tensors", "n"), Cell("Bytes", "n"), Cell("Share")],
        (
            [
                Cell(text(path), "c"), Cell(f"{tensors:,}", "n"), Cell(binary(nbytes), "n"),
                Cell(bar(nbytes / whole, f"{100 * nbytes / whole:.1f} %")),
            ]
            for path, (tensors, nbytes) in rows[:_MODULES]
        ),
        max(0, len(rows) - _MODULES),
    )  # fmt: skip
