"""The best candidates, kept as choices fall away, are those that a look at all would find."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from paramcli.verbs.diff.rewrites import _Candidate, _rules, _solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.verbs.diff.rewrites import Parts, Rule


def looked_at_all(
    candidates: Sequence[_Candidate], shown: set[tuple[Parts, Parts]]
) -> tuple[list[_Candidate], set[Rule]]:
    """Accept what is the only cheapest of both its templates, one after another, the plain way."""
    accepted = [one for one in candidates if (one.a, one.b) in shown]
    known = {rule for one in accepted for rule in one.rules}
    open_ = [
        one for one in candidates
        if one.a not in {two.a for two in accepted} and one.b not in {two.b for two in accepted}
    ]  # fmt: skip
    by_a: dict[Parts, set[Rule]] = {}
    for one in open_:
        by_a.setdefault(one.a, set()).update(one.rules)
    support = Counter(rule for rules in by_a.values() for rule in rules)

    def cost(one: _Candidate) -> tuple[int, int]:
        new = [rule for rule in one.rules if rule not in known]
        return len(new), -min((support[rule] for rule in new), default=0)

    while True:
        best = [
            one for one in open_
            if all(
                cost(two) > cost(one) for two in open_ if (one.a == two.a) != (one.b == two.b)
            )
        ]  # fmt: skip
        if not best:
            return accepted, known
        chosen = min(best, key=cost)
        accepted.append(chosen)
        known |= set(chosen.rules)
        open_ = [one for one in open_ if one.a != chosen.a and one.b != chosen.b]


TEMPLATES = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map(tuple),
    min_size=1, max_size=6, unique=True,
)  # fmt: skip


@given(ours=TEMPLATES, theirs=TEMPLATES, data=st.data())
def test_choices(ours: list[Parts], theirs: list[Parts], data: st.DataObject) -> None:
    pairs = [(a, b) for a in ours for b in theirs]
    kept = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    candidates = [_Candidate(a, b, tuple(_rules(a, b))) for a, b in pairs if (a, b) in kept]
    shown = {(one.a, one.b) for one in candidates[:1]} if data.draw(st.booleans()) else set()
    assert _solve(candidates, shown) == looked_at_all(candidates, shown)
