"""A difference in words, a line for each kind of it: what an assertion says that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.verbs.diff.report import DiffReport

__all__ = ["in_words"]

_MOST = 5


def in_words(report: DiffReport) -> str:
    """Say what differs, the likely cause first and a few names of each kind."""
    lines = [f"{report.a} and {report.b} differ"]
    if report.cause is not None:
        lines.append(f"  likely: {report.cause.text}")
    lines += [
        f"  {title} ({len(items):,}): {_some(items)}" for title, items in _kinds(report) if items
    ]
    return "\n".join(lines)


def _some(items: Sequence[str]) -> str:
    more = f", … {len(items) - _MOST:,} more" if len(items) > _MOST else ""
    return ", ".join(items[:_MOST]) + more


def _kinds(report: DiffReport) -> Iterator[tuple[str, Sequence[str]]]:
    yield "only in a", report.only_a
    if "extra names" not in report.ignored:
        yield "only in b", report.only_b
    yield "shape", [f"{one.name} {_shape(one.a)} → {_shape(one.b)}" for one in report.shape]
    if "dtype" not in report.ignored:
        yield "dtype", [f"{one.name} {one.a} → {one.b}" for one in report.dtype]
    yield "facts", [f"{one.name} {one.fact}: {one.a} → {one.b}" for one in report.facts]
    yield "renamed", [f"{one.a} → {one.b}" for one in report.renamed]
    yield "fused", [f"{one.whole} = {' + '.join(one.parts)}" for one in report.fused]
    yield "transposed", [f"{one.a} → {one.b}" for one in report.transposed]
    yield (
        "values",
        [
            f"{one.name} (max abs {one.metrics.max_abs:.3g}, rel l2 {one.metrics.rel_l2:.3g})"
            if one.metrics
            else one.name
            for one in report.values
        ],
    )
    if "ties" not in report.ignored:
        yield "tied only in a", [" = ".join(names) for names in report.ties.only_a]
        yield "tied only in b", [" = ".join(names) for names in report.ties.only_b]
    yield "rules broken", [one.message for one in report.rules]


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('*' if size is None else str(size) for size in shape)}]"
