"""`init` as JSON under the schema `paramcli.init/1`: one tensor to a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.strict import array, described, dumped, fields, tensor_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.initialize import Initialized, InitReport, VerifyReport

__all__ = ["as_json", "json_verified"]


def as_json(report: InitReport) -> Iterator[str]:
    """Yield one JSON document in chunks, pure ASCII.

    The numbers of `actual` are null in a plan, where nothing is drawn. `verify` is null here; of a
    check, see `json_verified`.
    """
    yield f"{{\n{fields(_head(report))},\n"
    yield from array("tensors", map(_tensor, report.tensors))
    tail = {
        "groups": [group._asdict() for group in report.groups],
        "output": report.output,
        "recipe": report.recipe,
        "seed": report.seed,
        "dtype": report.dtype,
        "stream": report.stream,
        "count": report.numel,
        "bytes": report.bytes,
        "memory": report.memory,
        "kept": report.kept,
        "flagged": report.flagged,
        "notes": report.notes,
        "verify": None,
    }
    yield f"{fields(tail)}\n}}\n"


def _head(report: InitReport | VerifyReport) -> dict[str, object]:
    return {
        "schema": "paramcli.init/1",
        "target": report.target,
        "format": report.format,
        "key": getattr(report, "key", None),
    }


def _tensor(one: Initialized) -> str:
    added = {
        "scheme": one.scheme,
        "expected": one.expected._asdict(),
        "actual": one.actual._asdict() if one.actual else {"mean": None, "std": None},
        "z": one.z._asdict() if one.z else None,
        "flagged": one.flagged,
        "tied_to": one.first,
        "rule": one.rule or None,
        "role": one.role,
        "why": one.why,
        "fan_in": one.fan_in,
        "fan_out": one.fan_out,
        "memory": one.memory,
    }
    what = tensor_fields(one.info.name, one.info, described(one.info), dumped(one.group))
    return f"{{{what}, {dumped(added)[1:]}"


def json_verified(report: VerifyReport) -> Iterator[str]:
    """Yield what a check found: `verify` is an object, `tensors` empty."""
    tail: dict[str, object] = {
        "tensors": [],
        "output": None,
        "recipe": report.recipe,
        "seed": report.seed,
        "stream": report.stream,
        "verify": {
            "same": report.same,
            "unchanged": report.unchanged,
            "changed": report.changed,
            "unchecked": report.unchecked,
            "missing": report.missing,
            "unexpected": report.unexpected,
            "version": report.version or None,
        },
    }
    yield f"{{\n{fields(_head(report) | tail)}\n}}\n"
