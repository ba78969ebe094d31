"""Which tensor of A is which of B: by name, by consistent renaming, and by what the bytes prove."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from paramcli.verbs.diff.moves import moved
from paramcli.verbs.diff.names import match
from paramcli.verbs.diff.near import near, sample
from paramcli.verbs.diff.report import Ambiguous, Fused, Renamed, Transposed
from paramcli.verbs.diff.rewrites import carried_over, learn
from paramcli.verbs.diff.side import Side
from paramcli.verbs.diff.stacks import fused
from paramcli.verbs.diff.ties import kept_by_a_tie
from paramcli.verbs.diff.turned import transposed
from paramcli.verbs.diff.values import has_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from paramcli.tensors import TensorInfo

    Named = dict[str, TensorInfo]

__all__ = ["Pairing", "pair"]

_UNRELATED = 0.7
"""Relative difference from which two samples are taken to have nothing to do with each other:
that of independent numbers of one spread is √2, that of fine-tuned weights a few hundredths."""


class Pairing(NamedTuple):
    """`pairs` maps names of A to those of B, in A's order; `left` and `right` are what is left."""

    pairs: dict[str, str]
    renamed: tuple[Renamed, ...]
    fused: tuple[Fused, ...]
    transposed: tuple[Transposed, ...]
    ambiguous: tuple[Ambiguous, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]


def pair(
    a: Side,
    b: Side,
    renames: Sequence[Callable[[str], str]],
    *,
    values: bool,
    workers: int,
) -> Pairing:
    """Pair the tensors of both sides; `values` says whether bytes may be read for it."""
    pairs, renamed, left, right = match(a.named, b.named, renames)
    matched = dict(pairs)
    _leave_to_ties(a, b, matched, left, right)
    ambiguous: list[Ambiguous] = []
    stacked: list[Fused] = []
    turned: list[Transposed] = []
    one, other = Side(a.checkpoint, left), Side(b.checkpoint, right)
    if left and right:
        found, ambiguous = _renamed(one, other, values=values, workers=workers)
        renamed += found
        for pair_ in found:
            matched[pair_.a] = pair_.b
            del left[pair_.a], right[pair_.b]
        _leave_to_ties(a, b, matched, left, right)
    if values and left and right:
        stacked = fused(one, other)
        for stack in stacked:
            of_whole, of_parts = (right, left) if stack.side == "b" else (left, right)
            _drop((stack.whole,), of_whole)
            _drop(stack.parts, of_parts)
        turned = list(transposed(one, other))
        _drop((matrix.a for matrix in turned), left)
        _drop((matrix.b for matrix in turned), right)
    return Pairing(
        {name: matched[name] for name in a.named if name in matched},
        tuple(renamed),
        tuple(stacked),
        tuple(turned),
        tuple(_open(ambiguous, left, right)),
        tuple(left),
        tuple(right),
    )


def _leave_to_ties(a: Side, b: Side, matched: Mapping[str, str], left: Named, right: Named) -> None:
    """What is absent, but for a tied partner that is there, is a matter of ties."""
    _drop(kept_by_a_tie(a.groups, left, matched), left)
    _drop(kept_by_a_tie(b.groups, right, dict.fromkeys(matched.values())), right)


def _drop(names: Iterable[str], named: Named) -> None:
    for name in names:
        named.pop(name, None)


def _renamed(
    a: Side, b: Side, *, values: bool, workers: int
) -> tuple[list[Renamed], list[Ambiguous]]:
    """Learn from values which names are the same, and from these and all shapes by what rules."""
    proven: dict[str, str] = {}
    likely: dict[str, str] = {}
    ambiguous: list[Ambiguous] = []
    if values:
        proven, ambiguous = moved(a, b, workers=workers)
        likely = near(_without(a, proven), _without(b, proven.values()))
    rewrites = learn(a.named, b.named, proven, likely)
    found = rewrites.renamed
    if likely:
        ours = _without(a, [*proven, *(one.a for one in found)])
        theirs = _without(b, [*proven.values(), *(one.b for one in found)])
        rest = {x: y for x, y in likely.items() if x in ours.named and y in theirs.named}
        found += carried_over(rest, ours.named, theirs.named)
    if values:
        found = _plausible(a, b, found, proven)
    explained = {one.a for one in found}
    found += [
        Renamed(name, other, "bytes") for name, other in proven.items() if name not in explained
    ]
    return found, ambiguous + rewrites.ambiguous


def _without(side: Side, names: Iterable[str]) -> Side:
    left = dict(side.named)
    _drop(names, left)
    return Side(side.checkpoint, left)


def _plausible(
    a: Side, b: Side, found: Sequence[Renamed], proven: Mapping[str, str]
) -> list[Renamed]:
    """Keep the rules under which values agree at least roughly, as a fine-tuned model's do."""
    unproven = [one for one in found if one.a not in proven]
    readable = [one for one in unproven if has_bytes(a.named[one.a]) and has_bytes(b.named[one.b])]
    if not readable:
        return list(found)
    from paramcli.numeric.compare import comparable, compare

    pairs = [(sample(a.named[one.a]), sample(b.named[one.b])) for one in readable]
    kept = [(one, pair) for one, pair in zip(readable, pairs, strict=True) if comparable(*pair)]
    changes = compare(a.checkpoint, b.checkpoint, [pair for _, pair in kept], workers=1)
    votes: Counter[object] = Counter()
    for (one, _), change in zip(kept, changes, strict=True):
        votes[one.rules] += 1 if change.relative < _UNRELATED else -1
    return [one for one in found if one.a in proven or votes[one.rules] >= 0]


def _open(
    ambiguous: Iterable[Ambiguous], left: Mapping[str, object], right: Mapping[str, object]
) -> Iterator[Ambiguous]:
    """What is still ambiguous once all else has been settled."""
    for one in ambiguous:
        ours = tuple(name for name in one.a if name in left)
        theirs = tuple(name for name in one.b if name in right)
        if ours and theirs:
            yield Ambiguous(ours, theirs, one.why)
