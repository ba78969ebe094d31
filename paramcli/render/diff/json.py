"""`diff` as JSON under the schema `paramcli.diff/1`: one difference to a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.strict import array, dumped, fields
from paramcli.verbs.diff.report import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paramcli.verbs.diff.report import DiffReport, Renamed, ValueChange

__all__ = ["as_json"]


def as_json(report: DiffReport) -> Iterator[str]:
    """Yield one JSON document in chunks, pure ASCII; a size that a lock leaves open is null.

    Beside the promised fields there are the rest of the report's, under its own names.
    """
    head = {
        "schema": "paramcli.diff/1",
        "a": report.a,
        "b": report.b,
        "same": report.same,
        "equal": report.equal,
        "not_compared": report.not_compared,
        "compared_by": report.compared_by,
        "ignored": report.ignored,
        "cause": report.cause._asdict() if report.cause else None,
    }
    yield f"{{\n{fields(head)},\n"
    lists: dict[str, Iterable[object]] = {
        "only_a": report.only_a,
        "only_b": report.only_b,
        "shape": (one._asdict() for one in report.shape),
        "dtype": (one._asdict() for one in report.dtype),
        "facts": (one._asdict() for one in report.facts),
        "renamed": map(_renamed, report.renamed),
        "fused": (one._asdict() for one in report.fused),
        "transposed": (one._asdict() for one in report.transposed),
        "ambiguous": (one._asdict() for one in report.ambiguous),
        "values": map(_value, report.values),
        "rules": (one._asdict() for one in report.rules),
        "modules": (one._asdict() for one in report.modules),
    }
    for key, items in lists.items():
        yield from array(key, map(dumped, items))
    tail = {"ties": report.ties._asdict(), "lock": report.lock, "lines": dict(report.lines)}
    yield f"{fields(tail)}\n}}\n"


def _renamed(one: Renamed) -> dict[str, object]:
    return {**one._asdict(), "rules": [{"old": old, "new": new} for old, new in one.rules]}


def _value(change: ValueChange) -> dict[str, object]:
    """Name the fields as the contract does, the promised ones first; metrics null if unknown."""
    metrics = change.metrics._asdict() if change.metrics else dict.fromkeys(Metrics._fields)
    return {
        "name": change.name,
        **metrics,
        "nan": change.nan,
        "infinite": change.infinite,
        "finite": change.finite._asdict() if change.finite else None,
        "shape": change.shape,
    }
