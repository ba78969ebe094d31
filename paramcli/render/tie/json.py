"""`tie` as JSON under the schema `paramcli.tie/1`: one group to a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.strict import array, counted, dumped, fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paramcli.verbs.tie.report import Probed, Tie, TieReport

__all__ = ["as_json"]


def as_json(report: TieReport) -> Iterator[str]:
    """Yield one JSON document in chunks, pure ASCII.

    `equal` and `probe` are empty where they were not asked for, and `asked` says which were.
    """
    asked = {"equal": report.equal is not None, "probe": report.probe is not None}
    head = {
        "schema": "paramcli.tie/1",
        "target": report.target,
        "format": report.format,
        "key": report.key,
        "asked": [what for what, was in asked.items() if was],
    }
    yield f"{{\n{fields(head)},\n"
    lists: dict[str, Iterable[object]] = {
        "groups": map(_group, report.groups),
        "equal": (one._asdict() for one in report.equal or ()),
        "probe": map(_probed, report.probe or ()),
        "changes": (one._asdict() for one in report.changes),
    }
    for key, items in lists.items():
        yield from array(key, map(dumped, items))
    tail = {
        "left_out": report.left_out._asdict() if report.left_out else None,
        "config": report.config._asdict() if report.config else None,
        "totals": counted(report.totals),
        "saved": report.saved,
        "output": report.output,
    }
    yield f"{fields(tail)}\n}}\n"


def _group(group: Tie) -> dict[str, object]:
    return {
        **group._asdict(),
        "bytes": group.bytes or None,
        "shape": [size if size >= 0 else None for size in group.shape],
        "evidence": [one._asdict() for one in group.evidence],
    }


def _probed(one: Probed) -> dict[str, object]:
    return {
        **one._asdict(),
        "holds": one.holds,
        "survival": [each._asdict() for each in one.survival],
    }
