"""`list` as JSON under the schema `paramcli.list/1`, laid by hand: one tensor to a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from paramcli.render.text import chunks, remembered, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from paramcli.checkpoint import TensorInfo
    from paramcli.verbs.survey import DTypeTotal, ListReport, Totals

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
        "totals": _counted(report.totals),
        "by_dtype": [_counted(total) for total in report.by_dtype],
        "metadata": dict(report.metadata),
        "trees": [tree._asdict() for tree in report.trees],
        "pickle": report.pickle._asdict() if report.pickle else None,
        "problems": report.problems,
    }
    yield f"{_fields(tail)}\n}}\n"


def _counted(totals: Totals | DTypeTotal) -> dict[str, object]:
    """Name the fields as the contract does, which says `count` where torch says `numel`."""
    return {key.replace("numel", "count"): value for key, value in totals._asdict().items()}


def _fields(values: Mapping[str, object]) -> str:
    return ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in values.items())


def _array(key: str, items: Iterable[str]) -> Iterator[str]:
    """Yield an array of items already written, each on a line of its own."""
    opening = f'  "{key}": ['
    before = "\n    "
    for chunk in chunks(f"{item},\n    " for item in items):
        yield opening + before + chunk[:-6]
        opening, before = "", ",\n    "
    yield f"{opening}],\n" if opening else "\n  ],\n"


def _tensors(report: ListReport) -> Iterator[str]:
    quote = json.JSONEncoder().encode
    facts = remembered(_facts)
    ids = {name: quote(group) for name, group in report.group_of.items()}
    for info in report.tensors:
        what, size, stride = facts(info)
        yield (
            f'{{"name": {quote(info.name)}, {what}, "kind": "{info.kind}", {size}, '
            f'"group": {ids.get(info.name, "null")}, "offset": {info.offset}, {stride}}}'
        )


def _facts(info: TensorInfo) -> tuple[str, str, str]:
    """Write shape and dtype, count and bytes, stride and an unusual layout."""
    layout = f', "layout": {json.dumps(info.layout)}' if info.layout != "strided" else ""
    return (
        f'"shape": {shape_text(info.shape)}, "dtype": "{info.dtype.name}"',
        f'"count": {info.numel}, "bytes": {info.nbytes}',
        f'"stride": {shape_text(info.stride)}{layout}',
    )
