"""The best candidates, kept as choices fall away, are those that a look at all would find."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.diff.rewrites import _Candidate, _rules, _runs, _solve, carried_over

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


PAIRS = [
    ("blocks.0.ff.2.weight", "h.0.mlp.down.weight", ("blocks.0.ff.2.bias", "h.0.mlp.down.bias")),
    ("a.0.weight", "a.net.1.weight", ("a.0.bias", "a.net.1.bias")),
    ("a.0.weight", "x.a.3.weight", ("a.0.bias", "x.a.3.bias")),
    ("a.b.0.weight", "a.weight", ("a.b.0.bias", "a.bias")),
    ("a.weight", "a.b.5.weight", ("a.bias", "a.b.5.bias")),
    ("/a(=.0.weight", "=b.weight", ("/a(=.0.bias", "=b.bias")),
    ("0", "x.1", ("7", "x.8")),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "more"), PAIRS)
def test_what_one_pair_says_of_others(a: str, b: str, more: tuple[str, str]) -> None:
    left, right = ({name: info(name) for name in names} for names in ((a, more[0]), (b, more[1])))
    found = {one.a: one.b for one in carried_over({a: b}, left, right)}
    assert found[a] == b
    assert found.get(more[0], more[1]) == more[1]
    assert (more[0] in found) == (a != "0")


def test_another_shape_is_not_read_so() -> None:
    left = {"a.0.weight": info("a.0.weight"), "a.0.bias": info("a.0.bias")}
    right = {"b.weight": info("b.weight"), "b.bias": info("b.bias")._replace(shape=(4,))}
    assert [one.a for one in carried_over({"a.0.weight": "b.weight"}, left, right)] == [
        "a.0.weight"
    ]


def info(name: str) -> TensorInfo:
    return TensorInfo(name, DTYPES["float32"], (3,), (1,), 0, Storage("", name, 12))


@pytest.mark.parametrize(
    ("a", "b", "rules"),
    [
        ("w", "model.w", (("", "model"),)),
        ("blocks.#.w", "blocks.layer.#.w", (("blocks", "blocks.layer"),)),
        ("blocks.#.attn.w", "blocks.#.attn.inner.w", (("attn", "attn.inner"),)),
        ("blocks.#.w", "blocks.#.inner.w", (("w", "inner.w"),)),
        ("blocks.#.attn.w", "blocks.#.w", (("attn", ""),)),
        ("model.blocks.#.w", "blocks.#.w", (("model", ""),)),
        ("h.#.w", "model.layers.#.kernel", (("h", "model.layers"), ("w", "kernel"))),
        ("h.#.#.w", "h.#.x.#.w", (("", "x"),)),
    ],
)
def test_runs_that_a_rename_takes(a: str, b: str, rules: tuple[tuple[str, str], ...]) -> None:
    """What is put in between is told by a part beside it: a rename alone would put it in front."""
    assert tuple(_runs(tuple(a.split(".")), tuple(b.split(".")))) == rules
