"""What `tie` says, in sections of facts that a terminal and Markdown both lay."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from paramcli.render.numbers import short
from paramcli.render.sections import Fact, Section
from paramcli.render.text import binary, plural, safe, shape_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from paramcli.verbs.tie.report import Change, Equal, Probed, Survival, Tie, TieReport

__all__ = ["SIGNS", "joined", "proof", "sections", "summary", "verdict"]

T = TypeVar("T")

CHANGE, DANGER = "yellow", "red"
SIGNS = {"same": " = ", "transposed": " = transposed "}
_MOST_NAMES = 8
_MOST_EVIDENCE = 4


def summary(report: TieReport) -> str:
    """Say in a line how many share, what that saves, and how many parameters there are."""
    totals = report.totals
    counts = plural(totals.numel, "parameter")
    if not report.groups:
        return f"no names share bytes · {counts}"
    groups = plural(len(report.groups), "group")
    unique = f"{totals.unique_numel:,} of them unique"
    return f"{groups} · {binary(report.saved)} saved · {counts}, {unique}"


def verdict(report: TieReport) -> str:
    """Say how it ended: what was written, or whether the probe holds; else nothing."""
    if report.output is not None:
        return f"written: {report.output}"
    if report.changes:
        return "nothing is written without -o"
    if report.probe is not None:
        good = sum(one.holds for one in report.probe)
        return f"the probe holds for {good:,} of {plural(len(report.probe), 'group')}"
    return ""


def sections(report: TieReport, most: int | None) -> list[Section]:
    """List all that there is to say, `most` groups of each kind; None is for all."""
    found = [
        _changes(report.changes),
        _some("", report.groups, _group, most),
        _config(report),
        _some("Equal, but not tied", report.equal or (), _equal, most),
        _left_out(report),
        _some("Probe", report.probe or (), _probed, most),
        *_afterwards(report.probe or ()),
    ]
    return [section for section in found if section.facts]


def _some(
    title: str, items: Sequence[T], facts: Callable[[T], Iterable[Fact]], most: int | None
) -> Section:
    shown = [fact for item in items[:most] for fact in facts(item)]
    return Section(title, shown, len(items) - len(items[:most]))


def joined(names: Sequence[str], sign: str = " = ", most: int | None = _MOST_NAMES) -> str:
    """Join the names of a group, eight of them unless all are wanted."""
    text = sign.join(map(safe, names[:most]))
    return text if len(names[:most]) == len(names) else f"{text}{sign}… ({len(names):,} names)"


def _group(group: Tie) -> Iterator[Fact]:
    sign = " = " if group.form == "same" else " & "
    size = binary(group.bytes) if group.bytes else "?"
    yield Fact(group.id, f"{joined(group.names, sign)}  {size}")
    shown = [safe(one.text) for one in group.evidence[:_MOST_EVIDENCE]]
    if len(group.evidence) > _MOST_EVIDENCE:
        shown.append(f"… and {len(group.evidence) - _MOST_EVIDENCE:,} more")
    if group.relation == "overlap":
        yield Fact("", _FORMS[group.form])
        yield from (Fact("", text) for text in shown)
    elif shown:
        yield Fact("", "; ".join(shown))


_FORMS = {
    "same": "one view",
    "transposed": "transposed: the same bytes, dimensions in another order",
    "reshaped": "reshaped: the same bytes in another shape",
    "recast": "recast: the same bytes as another type",
    "strided": "strided: some skip elements of one that has them all",
    "nested": "nested: parts of one that has them all",
    "overlap": "overlapping views",
    "interleaved": "interleaved: no byte in common, so nothing is shared",
}


def _config(report: TieReport) -> Section:
    told = report.config
    if told is None:
        return Section("", ())
    says = f"tie_word_embeddings is {str(told.tied).lower()}"
    text = f"{says}, {'and' if told.agrees else 'but'} {told.text}"
    return Section(
        "", [Fact.of_file("config.json", text, "" if told.agrees else DANGER)]
    )  # fmt: skip


def _equal(one: Equal) -> Iterator[Fact]:
    names = joined(one.names, SIGNS[one.relation])
    kind = f"{one.dtype}{shape_text(one.shape)}"
    yield Fact(binary(one.saved), f"{names}  {kind}", CHANGE)


def _left_out(report: TieReport) -> Section:
    if report.equal is None or report.left_out is None:
        return Section("", ())
    tiny, constant = report.left_out
    facts = [] if report.equal else [Fact("equal", "no two names hold the same bytes untied")]
    kinds = [f"{tiny:,} below 64 B"] * bool(tiny) + [f"{constant:,} of one number"] * bool(constant)
    if kinds:
        facts.append(Fact("left out", f"tensors that prove nothing: {', '.join(kinds)}"))
    return Section("", facts)


def _changes(changes: Sequence[Change]) -> Section:
    facts = []
    for kind, names, kept in changes:
        text = joined(names, ", ")
        if kind != "untied":
            text = f"{text} → {safe(kept)}"
        facts.append(Fact(kind, text, CHANGE))
    return Section("", facts)


def proof(one: Probed) -> str:
    """Say what was seen of a group while its model ran."""
    writes = {True: "writes are seen through every name", False: "a write is not seen through all",
              None: "writes could not be tried"}[one.write_visible]  # fmt: skip
    if one.gradient_is_sum is None:
        return f"{writes}; {one.text}"
    claim = "the gradient is the sum" if one.gradient_is_sum else "the gradient is not the sum"
    error = ""
    if one.max_error is not None and one.scale is not None:
        error = f" (max error {short(one.max_error, 2)} of {short(one.scale, 2)})"
    return f"{writes}; {claim}{error}; {one.text}"


def _probed(one: Probed) -> Iterator[Fact]:
    yield Fact(one.group, safe(proof(one)), "" if one.holds else DANGER)


def _afterwards(probed: Sequence[Probed]) -> Iterator[Section]:
    """Yield what becomes of the ties later, once for all groups that fare alike."""
    alike: dict[tuple[Survival, ...], list[str]] = {}
    for one in probed:
        alike.setdefault(one.survival, []).append(one.group)
    for survival, groups in alike.items():
        facts = [
            Fact(
                safe(operation),
                safe(f"{outcome}: {text}" if text else outcome),
                "" if outcome == "kept" else DANGER if outcome == "lost" else CHANGE,
            )
            for operation, outcome, text in survival
        ]
        yield Section(f"Afterwards, {joined(groups, ', ')}", facts)
