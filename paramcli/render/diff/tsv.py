"""`diff` as tab-separated values: one difference a line, with whole names and full precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.diff.parts import place, shape_words
from paramcli.render.diff.words import rule_words
from paramcli.render.numbers import exact
from paramcli.render.text import chunks, safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.diff.report import DiffReport, Metrics

__all__ = ["tsv"]

_METRICS = ("max_abs", "max_rel", "l2", "rel_l2", "cosine", "changed", "changed_fraction")
_COLUMNS = ("category", "name_a", "name_b", "a", "b", *_METRICS, "line")


class _Line(NamedTuple):
    """One difference; `place` is the line of a lock."""

    category: str
    a: str = ""
    b: str = ""
    in_a: str = ""
    in_b: str = ""
    metrics: Metrics | None = None
    place: str = ""


def tsv(report: DiffReport) -> Iterator[str]:
    """Yield titles, then a line for each difference, empty where nothing is to be said.

    `name_b` is there where B calls a tensor otherwise or alone has it. Names that belong together
    are joined: the parts of what is fused by ` + `, ties by ` = `. `line` is that of a lock. Tabs
    and newlines come escaped.
    """
    yield "\t".join(_COLUMNS) + "\n"
    lines = (*_names(report), *_facts(report), *_contents(report), *_rest(report))
    yield from chunks(_written(report, line) for line in lines)


def _written(report: DiffReport, line: _Line) -> str:
    where = line.place or place(report.lock, report.lines.get(line.a or line.b))
    numbers = [""] * len(_METRICS)
    if line.metrics is not None:
        numbers = [exact(getattr(line.metrics, metric)) for metric in _METRICS]
    return "\t".join([*map(safe, line[:5]), *numbers, safe(where)]) + "\n"


def _names(report: DiffReport) -> Iterator[_Line]:
    yield from (_Line("only_a", name) for name in report.only_a)
    yield from (_Line("only_b", b=name) for name in report.only_b)


def _facts(report: DiffReport) -> Iterator[_Line]:
    called = {one.a: one.b for one in report.renamed}
    for shape in report.shape:
        other = called.get(shape.name, "")
        yield _Line("shape", shape.name, other, shape_words(shape.a), shape_words(shape.b))
    for dtype in report.dtype:
        yield _Line("dtype", dtype.name, called.get(dtype.name, ""), dtype.a, dtype.b)
    for name, fact, a, b in report.facts:
        yield _Line("fact", name, called.get(name, ""), f"{fact}={a}", f"{fact}={b}")


def _contents(report: DiffReport) -> Iterator[_Line]:
    """Yield what is called otherwise, then whose values changed."""
    for one in report.renamed:
        yield _Line("renamed", one.a, one.b, f"by {one.by}", rule_words(one.rules))
    for stack in report.fused:
        sides = " + ".join(stack.parts), stack.whole
        ours, theirs = sides if stack.side == "b" else reversed(sides)
        yield _Line(
            "fused", ours, theirs, f"axis {stack.axis}", "transposed" if stack.transposed else ""
        )
    for turned in report.transposed:
        yield _Line("transposed", turned.a, turned.b)
    for unclear in report.ambiguous:
        yield _Line("ambiguous", ", ".join(unclear.a), ", ".join(unclear.b), unclear.why)
    called = {one.a: one.b for one in report.renamed}
    for change in report.values:
        yield _Line(
            "value", change.name, called.get(change.name, ""), metrics=change.metrics
        )  # fmt: skip


def _rest(report: DiffReport) -> Iterator[_Line]:
    yield from (_Line("tie_a", " = ".join(group)) for group in report.ties.only_a)
    yield from (_Line("tie_b", b=" = ".join(group)) for group in report.ties.only_b)
    for rule in report.rules:
        where = place(report.lock, rule.line)
        yield _Line("rule", in_a=rule.rule, in_b=rule.message, place=where)
