"""`show` as JSON under the schema `paramcli.show/1`: one tensor to a line, its values included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.strict import array, counted, described, dumped, fields, tensor_fields
from paramcli.verbs.show import FileReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.show import Shown, ShowReport, Stats

__all__ = ["as_json"]


def as_json(report: ShowReport | FileReport) -> Iterator[str]:
    """Yield one JSON document in chunks, pure ASCII.

    Of the file itself `tensors` is empty and `file` an object; of tensors `file` is null. Complex
    numbers are [re, im], wherever they stand.
    """
    head = {
        "schema": "paramcli.show/1",
        "target": report.target,
        "format": report.format,
        "key": report.key,
    }
    yield f"{{\n{fields(head)},\n"
    if isinstance(report, FileReport):
        yield fields({"module": None, "tensors": [], "note": None, "file": _file(report)})
    else:
        yield f"{fields({'module': report.module})},\n"
        yield from array("tensors", map(_tensor, report.tensors))
        yield fields({"note": report.note, "file": None})
    yield "\n}\n"


def _tensor(shown: Shown) -> str:
    info = shown.info
    added = {
        "path": info.name,
        "facts": dict(shown.facts),
        "first_bad": shown.first_bad,
        "stats": _stats(shown.stats) if shown.stats else None,
        "values": shown.values,
    }
    what = tensor_fields(shown.name, info, described(info), dumped(shown.group))
    return f"{{{what}, {dumped(added)[1:]}"


def _stats(stats: Stats) -> dict[str, object]:
    """Name the fields as the contract does, the promised ones first."""
    ordered = any(number is not None for number in stats.percentiles.values())
    return {
        "mean": stats.mean,
        "std": stats.std,
        "min": stats.min,
        "max": stats.max,
        "l2": stats.l2,
        "zeros": stats.zeros,
        "nan": stats.nan,
        "inf": stats.positive_inf + stats.negative_inf,
        "percentiles": dict(stats.percentiles),
        "negative_zeros": stats.negative_zeros,
        "positive_inf": stats.positive_inf,
        "negative_inf": stats.negative_inf,
        "percentile_method": "exact" if ordered else None,
        "percentile_error": 0.0 if ordered else None,
        "histogram": stats.histogram,
        "finite": stats.finite._asdict() if stats.finite else None,
    }


def _file(report: FileReport) -> dict[str, object]:
    return {
        "size": report.size,
        "producer": report.producer,
        "byteorder": report.byteorder,
        "totals": counted(report.totals),
        "groups": report.groups,
        "trees": [tree._asdict() for tree in report.trees],
        "values": [{"path": path, "text": text} for path, text in report.values],
        "metadata": dict(report.metadata),
        "pickle": report.pickle._asdict() if report.pickle else None,
        "problems": report.problems,
    }
