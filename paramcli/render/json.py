"""`list` as JSON under the schema `paramcli.list/1`, laid by hand: one tensor to a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from paramcli.render.strict import array, counted, described, fields, tensor_fields
from paramcli.render.text import alike

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.sharing import Group
    from paramcli.verbs.survey import ListReport

__all__ = ["as_json"]


def as_json(report: ListReport) -> Iterator[str]:
    """Yield one JSON document in chunks, pure ASCII.

    Beside the promised fields there are `stride` and `offset` (in elements) of each tensor, its
    `layout` where that is not "strided", and `by_dtype`, `trees`, `pickle`, `problems`, and `check`
    where one was asked for.
    """
    head = {
        "schema": "paramcli.list/1",
        "target": report.target,
        "format": report.format,
        "key": report.key,
    }
    yield f"{{\n{fields(head)},\n"
    yield from array("tensors", _tensors(report))
    yield from array("groups", map(_group, report.groups))
    tail = {
        "totals": counted(report.totals),
        "by_dtype": [counted(total) for total in report.by_dtype],
        "metadata": dict(report.metadata),
        "trees": [tree._asdict() for tree in report.trees],
        "pickle": report.pickle._asdict() if report.pickle else None,
        "problems": report.problems,
    }
    if report.check is not None:
        tail["check"] = {
            "safe": report.check.safe,
            "findings": [finding._asdict() for finding in report.check.findings],
        }
    yield f"{fields(tail)}\n}}\n"


def _group(group: Group) -> str:
    return json.dumps(group._asdict() | {"bytes": group.bytes or None})


def _tensors(report: ListReport) -> Iterator[str]:
    ids = {name: json.dumps(group) for name, group in report.group_of.items()}
    for info, facts in zip(report.tensors, alike(described, report.tensors), strict=True):
        group = ids.get(info.name, "null")
        yield f"{{{tensor_fields(info.name, info, facts, group)}}}"
