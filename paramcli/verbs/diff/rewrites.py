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

from paramcli.verbs.diff.names import replaced
from paramcli.verbs.diff.report import Ambiguous, Renamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paramcli.tensors import TensorInfo

    Named = Mapping[str, TensorInfo]
    Parts = tuple[str, ...]
    Rule = tuple[Parts, Parts]
    _End = tuple[int, Parts]  # a template of A (0) or of B (1)

__all__ = ["Rewrites", "carried_over", "learn"]

_INDEX = re.compile("0|[1-9][0-9]{0,8}")
_NUMBER = "#"
_MOST_PAIRS = 100_000
"""Pairs of templates of one signature beyond which no rules are looked for among them."""
_MOST_RULES = 100
"""Most rules of single pairs of names by which others are read."""


class Rewrites(NamedTuple):
    """Names that a set of rules makes equal, and those that could be each other."""

    renamed: list[Renamed]
    ambiguous: list[Ambiguous]


class _Candidate(NamedTuple):
    """A template of A, one of B that it may be, and the rules between them."""

    a: Parts
    b: Parts
    rules: tuple[Rule, ...]


def learn(
    left: Named, right: Named, proven: Mapping[str, str], likely: Mapping[str, str]
) -> Rewrites:
    """Find the rules by which names of `left` become names of `right`.

    `proven` maps names of the one to names of the other that bytes show to be the same, `likely`
    those whose values suggest it; there one tensor is enough to tell a rule by.
    """
    ours, theirs = _templates(left), _templates(right)
    candidates = list(_candidates(left, right, ours, theirs, {**proven, **likely}))
    shown, suggested = _shown(proven), _shown(likely)
    accepted, known = _solve(candidates, shown | suggested)
    uses = Counter(rule for one in accepted for rule in one.rules)
    renamed = [
        Renamed(name, theirs[one.b][indices], "rewrite", tuple(_runs(one.a, one.b)))
        for one in accepted
        if len(ours[one.a]) > 1
        or any(uses[rule] > 1 for rule in one.rules)
        or (one.a, one.b) in suggested
        for indices, name in ours[one.a].items()
    ]
    taken = {one.a for one in accepted} | {one.b for one in accepted}
    open_ = [one for one in candidates if one.a not in taken and one.b not in taken]
    return Rewrites(renamed, list(_ambiguous(open_, known, ours, theirs)))


def carried_over(pairs: Mapping[str, str], left: Named, right: Named) -> list[Renamed]:
    """Rename by what is called otherwise in single pairs, numbers being parts as all others.

    `blocks.0.ff.2.weight` and `layers.0.mlp.down.weight` do not count the same layers, so they have
    no templates to compare; but `blocks.0.ff.2.bias` is to be read in the same way.
    """
    found = {a: Renamed(a, b, "rewrite", _spelled_out(a, b)) for a, b in pairs.items()}
    taken = set(pairs.values())
    for rules, _ in Counter(one.rules for one in found.values()).most_common(_MOST_RULES):
        for name, info in left.items():
            other = _read(name, rules)
            if name in found or other in taken or other not in right:
                continue
            if right[other].shape == info.shape:
                found[name] = Renamed(name, other, "rewrite", rules)
                taken.add(other)
    return list(found.values())


def _spelled_out(a: str, b: str) -> tuple[tuple[str, str], ...]:
    from difflib import SequenceMatcher

    old, new = a.split("."), b.split(".")
    rules = []
    changes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for what, start, end, first, last in changes:
        before, after = old[start:end], new[first:last]
        if what == "insert" and start:  # a part beside it tells where
            beside = old[start - 1]
            before, after = [beside], [beside, *after]
        if what != "equal":
            rules.append((".".join(before), ".".join(after)))
    return tuple(rules)


def _read(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for before, after in rules:
        name = replaced(name, before, after) if before else f"{after}.{name}"
    return name


def _shown(pairs: Mapping[str, str]) -> set[tuple[Parts, Parts]]:
    """Pairs of templates that stand for the same layers."""
    both = [(_template(a), _template(b)) for a, b in pairs.items()]
    return {(a, b) for (a, first), (b, second) in both if first == second}


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
    for number, (old, new) in enumerate(_facing(a, b)):
        start, end = _alike(old, new)
        if old != new and start + end == len(old) and (number or start):
            # Only a leading part is put before all others; a part beside it tells where.
            start, end = (start - 1, end) if start else (start, max(end - 1, 0))
        before, after = old[start : len(old) - end], new[start : len(new) - end]
        if before != after:
            yield ".".join(before), ".".join(after)


def _changes(a: Parts, b: Parts) -> Iterator[Rule]:
    """The runs that differ, between one number of a layer and the next."""
    for old, new in _facing(a, b):
        start, end = _alike(old, new)
        before, after = old[start : len(old) - end], new[start : len(new) - end]
        if before != after:
            yield before, after


def _facing(a: Parts, b: Parts) -> Iterator[tuple[Parts, Parts]]:
    return zip_longest(_segments(a), _segments(b), fillvalue=())


def _alike(old: Parts, new: Parts) -> tuple[int, int]:
    """How many parts two runs begin with alike, and of the rest, how many they end with alike."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, end


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
    choices = _Choices(
        [one for one in candidates if one.a not in taken[0] and one.b not in taken[1]], known
    )
    while (chosen := choices.best()) is not None:
        accepted.append(chosen)
        choices.accept(chosen)
    return accepted, known


class _Choices:
    """Open candidates and what each costs: how many rules it needs that are not known yet.

    Of as many rules those are cheaper that more templates could use. What the cheapest of a
    template are is kept, and changed where a price falls or a candidate goes: to look at all of
    them for each that is accepted would take a minute for 300 templates of one shape.
    """

    def __init__(self, candidates: Sequence[_Candidate], known: set[Rule]) -> None:
        self._known = known
        self._support: Counter[Rule] = Counter()
        rules_of: dict[Parts, set[Rule]] = {}
        self._by_rule: dict[Rule, list[int]] = {}
        self._open = dict(enumerate(candidates))
        self._of: dict[_End, set[int]] = {}
        for number, one in self._open.items():
            rules_of.setdefault(one.a, set()).update(one.rules)
            for rule in one.rules:
                self._by_rule.setdefault(rule, []).append(number)
            for end in _ends(one):
                self._of.setdefault(end, set()).add(number)
        for rules in rules_of.values():
            self._support.update(rules)
        self._prices = {number: self._cost(one) for number, one in self._open.items()}
        self._cheapest: dict[_End, set[int]] = {}

    def best(self) -> _Candidate | None:
        """The cheapest of those that nothing else of either template is as cheap as."""
        alone = [self._least(end) for end in self._of if end[0] == 0]
        found = [
            (self._prices[number], number)
            for least in alone
            if len(least) == 1
            for number in least
            if self._least((1, self._open[number].b)) == least
        ]
        return self._open[min(found)[1]] if found else None

    def accept(self, chosen: _Candidate) -> None:
        """Close all candidates of its templates; its rules are known from here on."""
        for end in _ends(chosen):
            for number in self._of.pop(end):
                one = self._open.pop(number, None)
                for other in _ends(one) if one else ():
                    self._of.get(other, set()).discard(number)
                    self._cheapest.get(other, set()).discard(number)
        new = set(chosen.rules) - self._known
        self._known |= new
        for number in {number for rule in new for number in self._by_rule[rule]}:
            if number in self._open:
                self._lower(number)

    def _cost(self, one: _Candidate) -> tuple[int, int]:
        new = [rule for rule in one.rules if rule not in self._known]
        return len(new), -min((self._support[rule] for rule in new), default=0)

    def _lower(self, number: int) -> None:
        one = self._open[number]
        price = self._prices[number] = self._cost(one)
        for end in _ends(one):
            others = self._cheapest.get(end, set()) - {number}
            least = min((self._prices[other] for other in others), default=None)
            if least is not None and price < least:
                self._cheapest[end] = {number}
            elif price == least:
                self._cheapest[end].add(number)

    def _least(self, end: _End) -> set[int]:
        """The numbers of the cheapest candidates of a template."""
        if not self._cheapest.get(end):
            open_ = self._of[end]
            least = min((self._prices[number] for number in open_), default=None)
            self._cheapest[end] = {one for one in open_ if self._prices[one] == least}
        return self._cheapest[end]


def _ends(one: _Candidate) -> tuple[_End, _End]:
    return (0, one.a), (1, one.b)


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
