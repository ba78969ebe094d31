"""`list` as JSON under the schema `paramcli.list/1`, laid by hand: one tensor to a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from paramcli.render.text import chunks, remembered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from paramcli.checkpoint import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["as_json"]


def as_json(report: ListReport) -> Iterator[str]:
    """Yield one JSON document in chunks, pure ASCII.

    Beside the promised fields there are `stride` and `offset` (in elements) of each tensor, its
    `layout` where that is not "strided", and `by_dtype`, `trees`, `pickle` and `problems`.
    """
    head = {
        "schema": "paramcli.list/1",
        "target": report.target,
        "format": report.format,
        "key": report.key,
    }
    yield f"{{\n{_fields(head)},\n"
    yield from _array("tensors", _tensors(report))
    yield from _array("groups", (json.dumps(group._asdict()) for group in report.groups))
    tail = {
        "totals": report.totals._asdict(),
        "by_dtype": [total._asdict() for total in report.by_dtype],
        "metadata": dict(report.metadata),
        "trees": [tree._asdict() for tree in report.trees],
        "pickle": report.pickle._asdict() if report.pickle else None,
        "problems": report.problems,
    }
    yield f"{_fields(tail)}\n}}\n"


def _fields(values: Mapping[str, object]) -> str:
    return ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in values.items())


def _array(key: str, items: Iterable[str]) -> Iterator[str]:
    """Yield an array of items already written, each on a line of its own."""
    yield f'  "{key}": [\n    '
    comma = ""
    for chunk in chunks(f"{item},\n    " for item in items):
        yield comma + chunk[:-6]
        comma = ",\n    "
    yield "\n  ],\n"


def _tensors(report: ListReport) -> Iterator[str]:
    quote = json.JSONEncoder().encode
    facts = remembered(_facts)
    ids = {name: quote(group) for name, group in report.group_of.items()}
    for info in report.tensors:
        group = ids.get(info.name, "null")
        yield (
            f'{{"name": {quote(info.name)}, {facts(info)}, "kind": "{info.kind}", '
            f'"offset": {info.offset}, "group": {group}}}'
        )


def _facts(info: TensorInfo) -> str:
    values: dict[str, object] = {
        "shape": info.shape,
        "dtype": info.dtype.name,
        "count": info.count,
        "bytes": info.nbytes,
        "stride": info.stride,
    }
    if info.layout != "strided":
        values["layout"] = info.layout
    return json.dumps(values)[1:-1]
