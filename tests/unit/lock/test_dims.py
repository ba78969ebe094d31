"""Shapes with names: what they mean, what they settle, and where they are wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.lock.dims import LARGEST, Malformed, parse_dims

NAMES = ["d", "vocab", "_h2"]
sizes = st.fixed_dictionaries({name: st.integers(0, 9) for name in NAMES})
products = st.lists(st.sampled_from(NAMES) | st.integers(0, 9).map(str), min_size=1, max_size=4)
sums = st.lists(
    st.tuples(st.sampled_from(["+", "-"]), products.map("*".join)), min_size=1, max_size=4
).map(lambda terms: "".join(sign + term for sign, term in terms).removeprefix("+"))


@given(text=sums, sizes=sizes)
def test_a_dim_is_what_python_computes(text: str, sizes: dict[str, int]) -> None:
    expected = eval(text, {}, dict(sizes))
    constant = not re.search("[a-z_]", text)
    if constant and expected < 0:
        with pytest.raises(Malformed, match="negative"):
            parse_dims(text)
        return
    try:
        [dim] = parse_dims(text).dims
    except Malformed:  # names that cancel out leave a constant
        assert expected < 0
        return
    assert dim.value(sizes) == expected
    if dim.names:
        assert dim.value({}) is None
    assert parse_dims(dim.text).dims == (dim,)


@given(text=sums, sizes=sizes, name=st.sampled_from(NAMES))
def test_what_is_linear_in_a_name(text: str, sizes: dict[str, int], name: str) -> None:
    try:
        [dim] = parse_dims(text).dims
    except Malformed:
        return
    others = {other: size for other, size in sizes.items() if other != name}
    linear = dim.linear(name, others)
    squared = any(names.count(name) > 1 for names, _ in dim.terms or ())
    assert (linear is None) == squared
    if linear is not None:
        factor, rest = linear
        assert factor * sizes[name] + rest == dim.value(sizes)
    if any(other in dim.names for other in others):
        assert dim.linear(name, {}) is None


@pytest.mark.parametrize(
    ("text", "shape", "pairs"),
    [
        ("", (), []),
        ("3, d", (3, 4), [(0, "3", 3), (1, "d", 4)]),
        ("..., d", (3, 4, 5), [(2, "d", 5)]),
        ("a, ..., d", (3, 4, 5), [(0, "a", 3), (2, "d", 5)]),
        ("a, ...", (3,), [(0, "a", 3)]),
        ("...", (3, 4), []),
    ],
)
def test_pairs(text: str, shape: tuple[int, ...], pairs: list[tuple[int, str, int]]) -> None:
    dims = parse_dims(text)
    assert dims.fits_rank(len(shape))
    assert [(axis, dim.text, size) for axis, dim, size in dims.pairs(shape)] == pairs


def test_ranks() -> None:
    assert not parse_dims("3").fits_rank(2)
    assert not parse_dims("a, ..., b").fits_rank(1)
    assert parse_dims("a, ..., b").shape({"a": 1}, 4) == (1, None, None, None)
    assert parse_dims("a, ..., b").shape({"a": 1, "b": 2}, 2) == (1, 2)
    assert parse_dims("*, ...").shape({}) == (None, None)


def test_text() -> None:
    """Spaces do not matter, and the text is the same without them."""
    assert parse_dims(" 4 *d+ 1 ,-1+d, * , ...").text == "[4*d + 1, -1 + d, *, ...]"
    assert parse_dims("  ").text == "[]"
    assert parse_dims("2, 3").literal
    assert not parse_dims("2, ...").literal


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("3,,4", 2, "missing"),
        ("3,", 2, "missing"),
        ("..., d, ...", 8, "second"),
        ("4 d", 2, "operator"),
        ("d*", 2, "number or a name"),
        ("2, d**d", 5, "number or a name"),
        ("+d", 0, "number or a name"),
        ("d, (d + 1)*2", 3, "write products out"),
        ("d, d/2", 4, "no place"),
        ("é", 0, "no place"),
        ("*d", 0, "number or a name"),
        ("3 - 4", 0, "negative"),
        (f"d, {LARGEST + 1}", 3, "too large"),
        ("1, 999999999999*999999999999", 16, "too large"),
        ("1" * 5_000, 1_000, "characters"),
    ],
)
def test_malformed(text: str, position: int, message: str) -> None:
    with pytest.raises(Malformed, match=message) as caught:
        parse_dims(text)
    assert caught.value.position == position
