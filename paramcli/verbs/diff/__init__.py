"""`diff`: what changed between two checkpoints, structure first, then values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.select import select
from paramcli.sharing import share
from paramcli.verbs.diff.pairing import pair
from paramcli.verbs.diff.report import (
    DiffReport,
    DTypeChange,
    FactChange,
    ShapeChange,
    TieChange,
    Transposed,
)
from paramcli.verbs.diff.side import Side
from paramcli.verbs.diff.summary import likely_cause, modules
from paramcli.verbs.diff.ties import compare_ties
from paramcli.verbs.diff.turned import is_transpose
from paramcli.verbs.diff.values import How, Verdicts, compare_values, metrics_of
from paramcli.workers import available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.select import Pattern
    from paramcli.tensors import TensorInfo

    Matched = list[tuple[str, TensorInfo, TensorInfo]]

__all__ = ["DiffReport", "How", "Options", "diff"]


class Options(NamedTuple):
    """What is compared, and what counts.

    `shapes` reads no values. `renames` say how A's names are to be read; `include` and `exclude`
    pick names of either side. Element types, ties, and names that B has more than A count as
    differences unless they are ignored.
    """

    shapes: bool = False
    how: How = How()
    include: Sequence[str | Pattern] = ()
    exclude: Sequence[str | Pattern] = ()
    renames: Sequence[Callable[[str], str]] = ()
    ignore_dtype: bool = False
    ignore_ties: bool = False
    subset: bool = False


def diff(
    a: Checkpoint,
    b: Checkpoint,
    options: Options | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DiffReport:
    """Compare two checkpoints; `progress` is told bytes as they are done, and all there are.

    Raises UsageError for options that fit neither, and SourceError where values cannot be read.
    """
    wanted = options or Options()
    left, right = _side(a, wanted), _side(b, wanted)
    kept = left.named.keys() | right.named.keys()
    left_out = {info.name for side in (a, b) for info in side} - kept
    workers = wanted.how.workers or available()
    found = pair(left, right, wanted.renames, values=not wanted.shapes, workers=workers)
    pairs: Matched = [
        (name, left.named[name], right.named[other]) for name, other in found.pairs.items()
    ]
    alike = [one for one in pairs if one[1].shape == one[2].shape]
    verdicts = Verdicts(frozenset(), {})
    if not wanted.shapes:
        verdicts = compare_values(a, b, [one[1:] for one in alike], wanted.how, progress)
    changed = {alike[number][0]: change for number, change in verdicts.changed.items()}
    dtypes = tuple(
        DTypeChange(name, one.dtype.name, other.dtype.name)
        for name, one, other in pairs
        if one.dtype != other.dtype
    )
    cast = set() if wanted.ignore_dtype else {one.name for one in dtypes}
    report = DiffReport(
        a=a.origin,
        b=b.origin,
        same=False,
        equal=sum(alike[number][0] not in cast for number in verdicts.equal),
        not_compared=len(alike) - len(verdicts.equal) - len(changed) + len(left_out),
        compared_by=_how(wanted),
        only_a=found.left,
        only_b=found.right,
        shape=tuple(_shapes(a, b, pairs, values=not wanted.shapes)),
        dtype=dtypes,
        facts=tuple(_facts(pairs)),
        renamed=found.renamed,
        fused=found.fused,
        transposed=found.transposed + tuple(_turned_in_place(a, b, alike, changed)),
        ambiguous=found.ambiguous,
        values=tuple(
            metrics_of(name, changed[name])._replace(shape=one.shape)
            for name, one, _ in alike
            if name in changed
        ),
        ties=compare_ties(left.groups, right.groups, found.pairs),
        rules=(),
        modules=modules((name for name, *_ in alike), changed),
        cause=likely_cause(
            found.renamed, dtypes,
            matched=len(pairs), only_a=len(found.left), only_b=len(found.right),
        ),
        ignored=(),
        lines={},
        lock=None,
    )  # fmt: skip
    if (a.lock is None) != (b.lock is None):
        report = _held(report, left, right, pairs, wanted)
    return _judged(report, wanted)


def _held(
    report: DiffReport, left: Side, right: Side, pairs: Matched, options: Options
) -> DiffReport:
    """Put what a lock says in the place of what its entries alone would say."""
    from paramcli.verbs.diff.contract import broken_rules, broken_ties, unfitting

    swapped = left.checkpoint.lock is None
    side, other = (right, left) if swapped else (left, right)
    lock = side.checkpoint.lock
    assert lock is not None
    called = {two.name: one.name for _, one, two in pairs}
    if not swapped:
        called = {one: two for two, one in called.items()}
    allowed = lock.rules.extra == "allow"
    return report._replace(
        shape=tuple(unfitting(lock, pairs, swapped=swapped)),
        facts=(),
        not_compared=len(pairs)
        + report.not_compared
        - sum(p[1].shape == p[2].shape for p in pairs),
        ties=broken_ties(lock, other.groups, called, swapped=swapped),
        rules=broken_rules(
            lock, other.checkpoint, tuple(other.named.values()), values=not options.shapes
        ),
        lines={line.name: line.number for line in lock.lines},
        lock=lock.path,
        only_a=() if allowed and swapped else report.only_a,
        only_b=() if allowed and not swapped else report.only_b,
    )


def _side(checkpoint: Checkpoint, options: Options) -> Side:
    entries = checkpoint.entries
    if options.include or options.exclude:
        entries = select(entries, options.include, options.exclude)
    return Side(checkpoint, {info.name: info for info in entries}, share(entries))


def _how(options: Options) -> str:
    if options.shapes:
        return "nothing"
    return "crc32" if options.how.quick else "bytes"


def _shapes(a: Checkpoint, b: Checkpoint, pairs: Matched, *, values: bool) -> Iterator[ShapeChange]:
    for name, one, other in pairs:
        if one.shape != other.shape:
            yield ShapeChange(
                name, one.shape, other.shape, values and is_transpose(a, one, b, other)
            )


def _turned_in_place(
    a: Checkpoint, b: Checkpoint, alike: Matched, changed: object
) -> Iterator[Transposed]:
    """Square matrices that changed into their transposes."""
    for name, one, other in alike:
        if name in changed and is_transpose(a, one, b, other):  # type: ignore[operator]
            yield Transposed(name, other.name)


def _facts(pairs: Matched) -> Iterator[FactChange]:
    """What both sides state of a tensor beside its shape and type, and state otherwise."""
    for name, one, other in pairs:
        kinds = {one.kind, other.kind}
        if len(kinds) > 1 and "tensor" not in kinds:
            yield FactChange(name, "kind", one.kind, other.kind)
        if one.layout != other.layout:
            yield FactChange(name, "layout", one.layout, other.layout)
        there = dict(other.facts)
        for fact, text in one.facts:
            if fact in there and there[fact] != text:
                yield FactChange(name, fact, text, there[fact])


def _judged(report: DiffReport, options: Options) -> DiffReport:
    """Say whether anything that counts differs, and what was ignored."""
    ignored = {
        "dtype": bool(report.dtype) and options.ignore_dtype,
        "ties": report.ties != TieChange() and options.ignore_ties,
        "extra names": bool(report.only_b) and options.subset,
    }
    counted = (
        report.only_a, report.shape, report.facts, report.renamed, report.fused,
        report.transposed, report.values, report.rules,
        report.only_b if not options.subset else (),
        report.dtype if not options.ignore_dtype else (),
        report.ties.only_a + report.ties.only_b if not options.ignore_ties else (),
    )  # fmt: skip
    return report._replace(
        same=not any(counted), ignored=tuple(what for what, did in ignored.items() if did)
    )
