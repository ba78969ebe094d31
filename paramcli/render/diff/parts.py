"""What differs, kind by kind, each difference a line; those that are alike fold into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from paramcli.render.diff.words import DANGER, rule_words, told
from paramcli.render.sections import Fact, Section
from paramcli.render.text import plural, safe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from paramcli.verbs.diff.report import (
        Ambiguous,
        DiffReport,
        Fused,
        Renamed,
        Shape,
        ShapeChange,
        Violation,
    )

__all__ = ["names", "parts", "place", "shape_change", "shape_words"]

T = TypeVar("T")
_MOST_NAMES = 4


def parts(report: DiffReport, most: int | None) -> list[Section]:
    """List the kinds of which there is more to say than the summary does, `most` lines each.

    None is for all kinds and lines, and none of them folded.
    """
    ties = [("only in A", group) for group in report.ties.only_a]
    ties += [("only in B", group) for group in report.ties.only_b]
    found = [
        _section("Only in A", report.only_a, lambda name: _fact(report, name), most),
        _section("Only in B", report.only_b, lambda name: _fact(report, name), most),
        _section(
            "Shape", report.shape, lambda one: _fact(report, one.name, shape_change(one)), most
        ),
        _folded(
            "Dtype", report.dtype, lambda one: _arrow(one.a, one.b),
            lambda one: _fact(report, one.name, _arrow(one.a, one.b)), most,
        ),
        _folded(
            "Facts", report.facts, lambda one: f"{one.fact}: {_arrow(one.a, one.b)}",
            lambda one: _fact(report, one.name, f"{one.fact}: {_arrow(one.a, one.b)}"), most,
        ),
        _folded("Renamed", report.renamed, _rules, lambda one: _renamed(report, one), most),
        _section("Fused", report.fused, _fused, most),
        _section(
            "Transposed", report.transposed,
            lambda one: _fact(report, one.a, "in place" if one.a == one.b else f"→ {one.b}"), most,
        ),
        _section("Ambiguous", report.ambiguous, lambda one: _unclear(one, most), most),
        _section("Ties", ties, lambda tie: Fact.of_file(names(tie[1], " = ", most), tie[0]), most),
        _section("Rules", report.rules, lambda one: _broken(report, one), most),
    ]  # fmt: skip
    silent = told(report) if most is not None else ()
    return [section for section in found if section.facts and section.title not in silent]


def _section(
    title: str, items: Sequence[T], fact: Callable[[T], Fact], most: int | None
) -> Section:
    shown = [fact(item) for item in items[:most]]
    return Section(title, shown, len(items) - len(shown))


def _folded(
    title: str,
    items: Sequence[T],
    alike: Callable[[T], str | None],
    fact: Callable[[T], Fact],
    most: int | None,
) -> Section:
    """Put those that are alike on one line, which says how many they are."""
    if most is None:
        return _section(title, items, fact, most)
    groups: dict[Hashable, list[T]] = {}
    for number, item in enumerate(items):
        groups.setdefault(alike(item) or number, []).append(item)
    lines = [
        fact(group[0]) if len(group) == 1 else Fact.of_file(plural(len(group), "name"), str(key))
        for key, group in groups.items()
    ]
    left_out = sum(map(len, [*groups.values()][most:]))
    return Section(title, lines[:most], left_out)


def _fact(report: DiffReport, name: str, text: str = "") -> Fact:
    """Say something of a name, and which line of a lock speaks of it."""
    where = place(report.lock, report.lines.get(name))
    return Fact.of_file(name, "  ".join(filter(None, [text, where])))


def _broken(report: DiffReport, one: Violation) -> Fact:
    where = place(report.lock, one.line)
    if not where:
        return Fact.of_file(one.rule, one.message, DANGER)
    return Fact.of_file(where, f"{one.rule}: {one.message}", DANGER)


def place(lock: str | None, line: int | None) -> str:
    """Name a line of a lock as compilers do: `params.lock:7`; else nothing."""
    return f"{lock}:{line}" if lock is not None and line is not None else ""


def _arrow(a: str, b: str) -> str:
    return f"{a} → {b}"


def shape_change(one: ShapeChange) -> str:
    """Write both shapes, and what is known of why they differ."""
    why = "transposed" if one.transposed else one.why
    return _arrow(shape_words(one.a), shape_words(one.b)) + (f"  ({why})" if why else "")


def shape_words(shape: Shape) -> str:
    """Write a shape, `*` for a size that is left open: `[*, 64]`."""
    return f"[{', '.join('*' if size is None else str(size) for size in shape)}]"


def _rules(one: Renamed) -> str | None:
    return f"{rule_words(one.rules)}, by {one.by}" if one.rules else None


def _renamed(report: DiffReport, one: Renamed) -> Fact:
    evidence = rule_words(one.rules) if one.rules else "same bytes"
    return _fact(report, one.a, f"→ {one.b}  ({evidence})")


def _fused(one: Fused) -> Fact:
    others = "A" if one.side == "b" else "B"
    stack = names(one.parts, " + ", None)
    how = "transposed and stacked" if one.transposed else "stacked"
    return Fact.of_file(one.whole, f"= {stack} of {others}, {how} along axis {one.axis}")


def _unclear(one: Ambiguous, most: int | None) -> Fact:
    first, *others = one.a
    more = f"or {names(others, ' or ', most)}  " if others else ""
    return Fact.of_file(first, f"{more}↔ {names(one.b, ' or ', most)} of B: {one.why}")


def names(group: Sequence[str], sign: str, most: int | None) -> str:
    """Join the names of a group, four of them unless all are wanted."""
    shown = group if most is None else group[:_MOST_NAMES]
    text = sign.join(map(safe, shown))
    return text if len(shown) == len(group) else f"{text}{sign}… ({len(group):,} names)"
