"""What `init` says of each tensor and of all of them, the same on a screen and in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.numbers import short
from paramcli.render.text import binary, plural, safe, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.verbs.initialize import Initialized, InitReport, VerifyReport

__all__ = [
    "DANGER", "NUMBERS", "columns_of", "deviation", "flagged", "remarks", "texts", "totals",
    "verified",
]  # fmt: skip

DANGER = "red"
NUMBERS = ("Mean", "Std", "z", "Fan in", "Fan out")
_MADE = ("Shape", "Dtype", "Scheme", "Mean", "Std", "z", "Shared")
_PLANNED = (
    "Shape", "Dtype", "Rule", "Scheme", "Fan in", "Fan out", "Std", "Memory", "Shared", "Why",
)  # fmt: skip
_MOST = 10


def columns_of(report: InitReport) -> tuple[str, ...]:
    """Titles of the columns beside the name."""
    return _MADE if report.drawn else _PLANNED


def texts(one: Initialized) -> dict[str, str]:
    """Lay the cells of a tensor by their titles; empty ones say that nothing is known."""
    cells = {"Shape": shape_of(one.info), "Dtype": one.info.dtype.name}
    cells["Shared"] = one.group or ""
    if one.first is not None:
        return cells | {"Scheme": f"= {safe(one.first)}"}
    cells |= {
        "Rule": safe(one.rule.partition("=")[0] if one.rule[:1] != "/" else one.rule),
        "Scheme": safe(_named(one.scheme)),
        "Fan in": "" if one.fan_in is None else f"{one.fan_in:,}",
        "Fan out": "" if one.fan_out is None else f"{one.fan_out:,}",
        "Memory": binary(one.memory) if one.memory else "",
        "Why": safe(one.why),
    }
    actual = one.actual
    cells["Mean"] = _both(one.expected.mean, actual.mean if actual else None)
    cells["Std"] = _both(one.expected.std, actual.std if actual else None)
    cells["z"] = deviation(one)
    return cells


def _named(scheme: str) -> str:
    """Leave out the number behind a colon, which is in a column of its own."""
    name, _, _ = scheme.partition(": ")
    return name if name.count("(") == name.count(")") else scheme


def _both(expected: float | None, actual: float | None) -> str:
    """Write what is expected and what was found: `0.02 → 0.01998`, one of them if they agree."""
    if actual is None:
        return short(expected)
    wanted, found = short(expected), short(actual)
    return found if wanted in ("", found) else f"{wanted} → {found}"


def deviation(one: Initialized) -> str:
    """Write the larger of the two deviations, in standard errors."""
    known = [score for score in one.z or () if score is not None]
    if not known or not (one.expected.std or one.flagged):
        return ""
    return f"{max(known, key=abs):+.1f}"


def totals(report: InitReport) -> str:
    """Write how much there is, shared bytes once."""
    count = len(report.tensors)
    numel = plural(report.numel, "parameter")
    return f"{plural(count, 'tensor')} · {numel} · {binary(report.bytes)}"


def remarks(report: InitReport) -> Iterator[str]:
    """Yield what stands below the table: seed and recipe, memory, what was kept and written."""
    recipe = f"recipe {safe(report.recipe)} · " if report.recipe else ""
    dtype = f" · cast to {report.dtype}" if report.dtype else ""
    yield f"{recipe}seed {report.seed} · stream {report.stream}{dtype}"
    if report.kept:
        was = "it was" if report.kept == 1 else "they were"
        yield f"{plural(report.kept, 'tensor')} kept as {was}"
    if report.memory:
        yield f"memory: up to {binary(report.memory)} a worker, for what is made as a whole"
    if report.output is not None:
        yield f"written to {safe(report.output)}"
    elif report.drawn:
        yield "nothing was written: -o OUT does"


def flagged(report: InitReport) -> str:
    """Name what lies beyond sampling error."""
    names = report.flagged
    if not names:
        return ""
    more = ", …" if len(names) > _MOST else ""
    listed = ", ".join(map(safe, names[:_MOST]))
    return f"beyond sampling error ({len(names):,}): {listed}{more}"


def verified(report: VerifyReport) -> list[tuple[str, Sequence[str]]]:
    """List what a check found, by how it was found, and the names of each."""
    found = [
        ("unchanged", report.unchanged),
        ("changed", report.changed),
        ("missing", report.missing),
        ("unexpected", report.unexpected),
        ("not checked", report.unchecked),
    ]
    return [(what, names) for what, names in found if names or what == "unchanged"]
