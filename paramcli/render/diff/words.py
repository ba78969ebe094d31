"""What `diff` says in a word: how many of each kind, the likely cause, and the verdict."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.numbers import short
from paramcli.render.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from paramcli.verbs.diff.report import DiffReport, ValueChange

__all__ = [
    "CHANGE", "DANGER", "KINDS", "Kind", "Row", "cause", "most_changed", "odd", "rows",
    "rule_words", "told", "verdict",
]  # fmt: skip

CHANGE, DANGER = "yellow", "red"


class Kind(NamedTuple):
    """A kind of difference: its name in tables, one and many of it in a sentence, and all of it.

    `ignored` is what the report calls it where it does not count.
    """

    label: str
    one: str
    many: str
    of: Callable[[DiffReport], Sequence[object]]
    ignored: str = ""

    def counted(self, report: DiffReport) -> str:
        """Write how many: `6 values`, `1 only in A`."""
        count = len(self.of(report))
        return f"{count:,} {self.one if count == 1 else self.many}"


KINDS = (
    Kind("rules", "rule broken", "rules broken", lambda report: report.rules),
    Kind("changed", "value", "values", lambda report: report.values),
    Kind("only in A", "only in A", "only in A", lambda report: report.only_a),
    Kind("only in B", "only in B", "only in B", lambda report: report.only_b, "extra names"),
    Kind("shape", "shape", "shapes", lambda report: report.shape),
    Kind("dtype", "dtype", "dtypes", lambda report: report.dtype, "dtype"),
    Kind("facts", "fact", "facts", lambda report: report.facts),
    Kind("renamed", "renamed", "renamed", lambda report: report.renamed),
    Kind("fused", "fused", "fused", lambda report: report.fused),
    Kind("transposed", "transposed", "transposed", lambda report: report.transposed),
    Kind("ties lost", "tie lost", "ties lost", lambda report: report.ties.only_a, "ties"),
    Kind("ties gained", "tie gained", "ties gained", lambda report: report.ties.only_b, "ties"),
)


class Row(NamedTuple):
    """One line of the summary: what, how many, a remark, and one of Rich's styles."""

    label: str
    number: int
    remark: str = ""
    style: str = ""


def rows(report: DiffReport) -> list[Row]:
    """Count what is equal, what differs by kind, and what was not looked at."""
    found = []
    if report.compared_by != "nothing":
        label = "equal" if report.compared_by == "bytes" else f"equal ({report.compared_by})"
        found.append(Row(label, report.equal))
    for kind in KINDS:
        if count := len(kind.of(report)):
            remark = safe(_REMARKS.get(kind.label, _silent)(report))
            style = DANGER if kind.label == "rules" else CHANGE
            if kind.ignored in report.ignored:
                remark, style = f"{remark} (ignored)".lstrip(), ""
            found.append(Row(kind.label, count, remark, style))
    if report.ambiguous:
        found.append(Row("ambiguous", len(report.ambiguous)))
    if report.not_compared:
        remark = "values were not read" if report.compared_by == "nothing" else ""
        found.append(Row("not compared", report.not_compared, remark))
    return found


def _silent(_: DiffReport) -> str:
    return ""


def _worst(report: DiffReport) -> str:
    first = most_changed(report)[0]
    if first.metrics is None:
        return ""
    if math.isnan(first.metrics.rel_l2):
        return f"NaN in {first.name}"
    return f"worst {short(first.metrics.rel_l2, 2)} relative: {first.name}"


def _casts(report: DiffReport) -> str:
    casts = Counter(f"{one.a} → {one.b}" for one in report.dtype)
    [(cast, _), *others] = casts.most_common()
    return cast + (" and others" if others else "")


def _evidence(report: DiffReport) -> str:
    by = Counter(one.by for one in report.renamed)
    rules = {one.rules for one in report.renamed}
    if len(rules) == 1 and () not in rules:
        return f"{rule_words(rules.pop())}, by {next(iter(by))}"
    if len(by) == 1:
        return f"by {next(iter(by))}"
    return "by " + ", ".join(f"{how} {count:,}" for how, count in by.most_common())


def told(report: DiffReport) -> set[str]:
    """List the kinds, as they stand over their lines, of which a remark above says it all."""
    alone = {
        "Only in A": len(report.only_a) == 1 and report.only_a[0] not in report.lines,
        "Only in B": len(report.only_b) == 1 and report.only_b[0] not in report.lines,
        "Dtype": len(report.dtype) > 1 and len({one[1:] for one in report.dtype}) == 1,
        "Renamed": len(report.renamed) > 1
        and len({one.rules for one in report.renamed}) == 1
        and bool(report.renamed[0].rules),
    }
    return {title for title, known in alone.items() if known}


def rule_words(rules: Iterable[tuple[str, str]]) -> str:
    """Say what is replaced by what: `h → layers`, `module. stripped`, `model. added`."""
    return ", ".join(
        f"{old} → {new}" if old and new else f"{old} stripped" if old else f"{new} added"
        for old, new in rules
    )


def _single(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ""


_REMARKS: dict[str, Callable[[DiffReport], str]] = {
    "changed": _worst,
    "only in A": lambda report: _single(report.only_a),
    "only in B": lambda report: _single(report.only_b),
    "dtype": _casts,
    "renamed": _evidence,
}


def cause(report: DiffReport) -> str:
    """Say what probably made the difference, and the option that sets it aside; else nothing."""
    if report.cause is None:
        return ""
    option = f"  ({report.cause.option})" if report.cause.option else ""
    return safe(f"likely: {report.cause.text}{option}")


def verdict(report: DiffReport) -> str:
    """Say whether the two are the same, what counts against it, and what was ignored."""
    if report.same:
        text = "same"
        if report.compared_by == "crc32":
            text += " (crc32)"
        if report.not_compared:
            text += f", {report.not_compared:,} not compared"
    else:
        text = f"differs: {', '.join(_counted(report, counting=True))}"
    ignored = ", ".join(_counted(report, counting=False))
    return f"{text}; ignored: {ignored}" if ignored else text


def _counted(report: DiffReport, *, counting: bool) -> Iterator[str]:
    for kind in KINDS:
        if kind.of(report) and (kind.ignored not in report.ignored) is counting:
            yield kind.counted(report)


def most_changed(report: DiffReport) -> list[ValueChange]:
    """Sort by relative L2, NaN before all numbers, and changes of no known amount last."""
    return sorted(report.values, key=_severity)


def _severity(change: ValueChange) -> tuple[int, float]:
    if change.metrics is None:
        return 2, 0.0
    relative = change.metrics.rel_l2
    if math.isnan(relative):
        return 0, -(change.finite.rel_l2 if change.finite else 0.0)
    return 1, -relative


def odd(change: ValueChange) -> str:
    """Say what is not finite on one side, and what is known of the rest: `3 NaN, rest 0.01`."""
    parts: Iterable[str] = (
        f"{count:,} {word}"
        for count, word in ((change.nan, "NaN"), (change.infinite, "inf"))
        if count
    )
    text = ", ".join(parts)
    return f"{text}, rest {short(change.finite.rel_l2, 2)}" if text and change.finite else text
