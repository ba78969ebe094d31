"""`diff` as GitHub workflow commands: the verdict as a notice, each kind of difference as an error.

Where a lock was held against a model, errors stand at its lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.diff.parts import shape_change
from paramcli.render.diff.words import KINDS, cause, most_changed, verdict
from paramcli.render.github import MOST, command
from paramcli.render.numbers import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.verbs.diff.report import DiffReport

__all__ = ["github"]

_NAMES = 5  # of a kind, before "and N more"


class _Group(NamedTuple):
    """Differences of one kind: what is said of each, and the first line of a lock about them."""

    level: str
    kind: str
    said: Sequence[str]
    line: int | None


def github(report: DiffReport) -> Iterator[str]:
    """Yield a notice with the verdict, then at most ten errors and warnings.

    What was ignored, and names that could be each other, are warnings.
    """
    title = f"{report.a} → {report.b}"
    likely = cause(report)
    yield command("notice", title, verdict(report) + (f"; {likely}" if likely else ""))
    groups = [*_groups(report)]
    rules = [_Group("error", one.rule, [one.message], one.line) for one in report.rules]
    if len(rules) + len(groups) <= MOST:
        groups = rules + groups
    elif rules:
        first = next((one.line for one in report.rules if one.line is not None), None)
        broken = [f"{one.rule}: {one.message}" for one in report.rules]
        groups.insert(0, _Group("error", "rules", broken, first))
    groups.sort(key=lambda group: group.level)  # errors first
    for level, kind, said, line in groups[:MOST]:
        message = ", ".join(said[:_NAMES])
        if len(said) > _NAMES:
            message += f" and {len(said) - _NAMES:,} more"
        at = {"file": report.lock, "line": str(line)} if report.lock and line is not None else {}
        yield command(level, f"{title}: {kind}", message, **at)


def _groups(report: DiffReport) -> Iterator[_Group]:
    """Yield the kinds, all but rules, of which there is something."""
    said: dict[str, Sequence[str]] = {
        "changed": [
            f"{one.name} ({short(one.metrics.rel_l2, 2)})" if one.metrics else one.name
            for one in most_changed(report)
        ],
        "only in A": report.only_a,
        "only in B": report.only_b,
        "shape": [f"{one.name} {shape_change(one)}" for one in report.shape],
        "dtype": [f"{one.name} {one.a} → {one.b}" for one in report.dtype],
        "facts": [f"{one.name} {one.fact} {one.a} → {one.b}" for one in report.facts],
        "renamed": [f"{one.a} → {one.b}" for one in report.renamed],
        "fused": [f"{one.whole} = {' + '.join(one.parts)}" for one in report.fused],
        "transposed": [f"{one.a} → {one.b}" for one in report.transposed],
        "ties lost": [" = ".join(group) for group in report.ties.only_a],
        "ties gained": [" = ".join(group) for group in report.ties.only_b],
    }
    for kind in KINDS:
        if said.get(kind.label):
            level = "warning" if kind.ignored in report.ignored else "error"
            yield _Group(level, kind.label, said[kind.label], _line(report, kind.of(report)))
    if report.ambiguous:
        unclear = [f"{', '.join(one.a)} ↔ {', '.join(one.b)}" for one in report.ambiguous]
        yield _Group("warning", "ambiguous", unclear, None)


def _line(report: DiffReport, found: Sequence[object]) -> int | None:
    """Find the first line of a lock that speaks of any of these."""
    for one in found:
        name = one if isinstance(one, str) else getattr(one, "name", None)
        if isinstance(name, str) and name in report.lines:
            return report.lines[name]
    return None
