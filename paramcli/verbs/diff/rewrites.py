"""Which names are consistently called otherwise: `transformer.h.3.` here, `model.layers.3.` there.

Names are templates with their layer numbers taken out. Two templates can be the same only where
they stand for the same layers of the same shapes; what keeps them apart is a handful of rules
(`transformer.h` for `model.layers`), and a rule counts only if several templates agree on it, or
bytes prove it. Nothing is guessed between equals.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from paramcli.verbs.diff.report import Ambiguous, Renamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paramcli.tensors import TensorInfo

    Named = Mapping[str, TensorInfo]
    Parts = tuple[str, ...]
    Rule = tuple[Parts, Parts]

__all__ = ["Rewrites", "learn"]

_INDEX = re.compile("0|[1-9][0-9]{0,8}")
_NUMBER = "#"
_MOST_PAIRS = 100_000
"""Pairs of templates of one signature beyond which no rules are looked for among them."""


class Rewrites(NamedTuple):
    """Names that a set of rules makes equal, and those that could be each other."""

    renamed: list[Renamed]
    ambiguous: list[Ambiguous]


class _Candidate(NamedTuple):
    """A template of A, one of B that it may be, and the rules between them."""

    a: Parts
    b: Parts
    rules: tuple[Rule, ...]


def learn(left: Named, right: Named, proven: Mapping[str, str]) -> Rewrites:
    """Find the rules by which names of `left` become names of `right`.

    `proven` maps names of the one to names of the other that bytes show to be the same.
    """
    ours, theirs = _templates(left), _templates(right)
    candidates = list(_candidates(left, right, ours, theirs, proven))
    shown = {
        (_template(a)[0], _template(b)[0])
        for a, b in proven.items()
        if _template(a)[1] == _template(b)[1]
    }
    accepted, known = _solve(candidates, shown)
    uses = Counter(rule for one in accepted for rule in one.rules)
    renamed = [
        Renamed(name, theirs[one.b][indices], "rewrite", tuple(_runs(one.a, one.b)))
        for one in accepted
        if len(ours[one.a]) > 1 or any(uses[rule] > 1 for rule in one.rules)
        for indices, name in ours[one.a].items()
    ]
    taken = {one.a for one in accepted} | {one.b for one in accepted}
    open_ = [one for one in candidates if one.a not in taken and one.b not in taken]
    return Rewrites(renamed, list(_ambiguous(open_, known, ours, theirs)))


def _template(name: str) -> tuple[Parts, tuple[int, ...]]:
    """A name's parts with `#` for numbers, and the numbers."""
    parts = name.split(".")
    numbers = [bool(_INDEX.fullmatch(part)) for part in parts]
    template = (_NUMBER if number else part for part, number in zip(parts, numbers, strict=True))
    indices = (int(part) for part, number in zip(parts, numbers, strict=True) if number)
    return tuple(template), tuple(indices)


def _templates(names: Iterable[str]) -> dict[Parts, dict[tuple[int, ...], str]]:
    found: dict[Parts, dict[tuple[int, ...], str]] = {}
    for name in names:
        template, indices = _template(name)
        found.setdefault(template, {})[indices] = name
    return found


def _candidates(
    left: Named,
    right: Named,
    ours: Mapping[Parts, Mapping[tuple[int, ...], str]],
    theirs: Mapping[Parts, Mapping[tuple[int, ...], str]],
    proven: Mapping[str, str],
) -> Iterator[_Candidate]:
    """Pair templates that stand for the same layers and shapes, and contradict no proof."""
    back = {b: a for a, b in proven.items()}
    classes: dict[object, tuple[list[Parts], list[Parts]]] = {}
    for side, (named, templates) in enumerate(((left, ours), (right, theirs))):
        for template, names in templates.items():
            signature = frozenset((indices, named[name].shape) for indices, name in names.items())
            classes.setdefault(signature, ([], []))[side].append(template)
    for first, second in classes.values():
        if len(first) * len(second) > _MOST_PAIRS:
            continue
        ends = {a[-1] for a in first}, {b[-1] for b in second}
        for a in first:
            for b in second:
                if a[-1] != b[-1] and a[-1] in ends[1] and b[-1] in ends[0]:
                    continue  # a weight for a bias, where both sides have both
                pairs = [(name, theirs[b][indices]) for indices, name in ours[a].items()]
                if all(proven.get(x, y) == y and back.get(y, x) == x for x, y in pairs):
                    yield _Candidate(a, b, tuple(_rules(a, b)))


def _rules(a: Parts, b: Parts) -> Iterator[Rule]:
    """What must be replaced by what, part by part where as many stand on either side."""
    for before, after in _changes(a, b):
        if len(before) == len(after):
            yield from (((x,), (y,)) for x, y in zip(before, after, strict=True) if x != y)
        else:
            yield before, after


def _runs(a: Parts, b: Parts) -> Iterator[tuple[str, str]]:
    """The same as whole runs of parts, which are how `--rename` takes them."""
    for before, after in _changes(a, b):
        yield ".".join(before), ".".join(after)


def _changes(a: Parts, b: Parts) -> Iterator[Rule]:
    """The runs that differ, between one number of a layer and the next."""
    for old, new in zip_longest(_segments(a), _segments(b), fillvalue=()):
        start = 0
        while start < min(len(old), len(new)) and old[start] == new[start]:
            start += 1
        end = 0
        while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
            end += 1
        before, after = old[start : len(old) - end], new[start : len(new) - end]
        if before != after:
            yield before, after


def _segments(template: Parts) -> list[Parts]:
    found: list[list[str]] = [[]]
    for part in template:
        if part == _NUMBER:
            found.append([])
        else:
            found[-1].append(part)
    return [tuple(segment) for segment in found]


def _solve(
    candidates: Sequence[_Candidate], shown: set[tuple[Parts, Parts]]
) -> tuple[list[_Candidate], set[Rule]]:
    """Accept candidates one after another, each the only best choice of both its templates."""
    accepted = [one for one in candidates if (one.a, one.b) in shown]
    known = {rule for one in accepted for rule in one.rules}
    taken = {one.a for one in accepted}, {one.b for one in accepted}
    open_ = [one for one in candidates if one.a not in taken[0] and one.b not in taken[1]]
    support: Counter[Rule] = Counter()
    by_a: dict[Parts, set[Rule]] = {}
    for one in open_:
        by_a.setdefault(one.a, set()).update(one.rules)
    for rules in by_a.values():
        support.update(rules)

    def cost(one: _Candidate) -> tuple[int, int]:
        new = [rule for rule in one.rules if rule not in known]
        return len(new), -min((support[rule] for rule in new), default=0)

    while open_:
        costs = [cost(one) for one in open_]
        choices: list[dict[Parts, list[tuple[int, int]]]] = [{}, {}]
        for one, price in zip(open_, costs, strict=True):
            choices[0].setdefault(one.a, []).append(price)
            choices[1].setdefault(one.b, []).append(price)
        best = min(
            (
                (price, index)
                for index, (one, price) in enumerate(zip(open_, costs, strict=True))
                if all(
                    min(prices) == price and prices.count(price) == 1
                    for prices in (choices[0][one.a], choices[1][one.b])
                )
            ),
            default=None,
        )
        if best is None:
            break
        chosen = open_[best[1]]
        accepted.append(chosen)
        known |= set(chosen.rules)
        open_ = [one for one in open_ if one.a != chosen.a and one.b != chosen.b]
    return accepted, known


def _ambiguous(
    open_: Sequence[_Candidate],
    known: set[Rule],
    ours: Mapping[Parts, Mapping[tuple[int, ...], str]],
    theirs: Mapping[Parts, Mapping[tuple[int, ...], str]],
) -> Iterator[Ambiguous]:
    """What known rules bring near each other, without telling which is which."""
    near = [one for one in open_ if known.intersection(one.rules)]
    done: set[Parts] = set()
    for one in near:
        if one.a in done:
            continue
        others = tuple(dict.fromkeys(other.b for other in near if other.a == one.a))
        alike = tuple(dict.fromkeys(other.a for other in near if other.b in others))
        done.update(alike)
        yield Ambiguous(
            tuple(next(iter(ours[a].values())) for a in alike),
            tuple(next(iter(theirs[b].values())) for b in others),
            "one shape, and no rule tells them apart",
        )
