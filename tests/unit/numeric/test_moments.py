"""Moments of parts merge into those of the whole, in whatever order and grouping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.numeric.moments import NOTHING, Moments, merge

SCALES = [1e-300, 1e-30, 1.0, 1e6, 1e30, 1e120, 1e300]
numbers = st.floats(-1.0, 1.0, allow_subnormal=False)


def moments(values: list[float]) -> Moments:
    """Moments of a few numbers, their sums exact."""
    if not values:
        return NOTHING
    mean = math.fsum(values) / len(values)
    return Moments(
        len(values), mean, math.hypot(*(x - mean for x in values)), min(values), max(values),
        values.count(0.0), sum(x == 0 and math.copysign(1, x) < 0 for x in values),
    )  # fmt: skip


def assert_same(one: Moments, other: Moments, scale: float) -> None:
    """Counts and extremes exactly; the rest to 1e-12 of what the numbers are."""
    assert (one.n, *one[3:]) == (other.n, *other[3:])
    assert one.mean == pytest.approx(other.mean, rel=1e-12, abs=1e-12 * scale)
    assert one.spread == pytest.approx(other.spread, rel=1e-12, abs=1e-12 * one.n * scale)


parts = st.lists(numbers, max_size=20)


@given(parts, parts, parts, st.sampled_from(SCALES))
def test_merging_is_associative(
    a: list[float], b: list[float], c: list[float], scale: float
) -> None:
    a, b, c = ([x * scale for x in part] for part in (a, b, c))
    first = merge(merge(moments(a), moments(b)), moments(c))
    second = merge(moments(a), merge(moments(b), moments(c)))
    assert_same(first, second, scale)
    assert_same(first, moments(a + b + c), scale)
    assert_same(merge(moments(b), moments(a)), merge(moments(a), moments(b)), scale)


@given(st.lists(st.lists(st.integers(-1000, 1000), max_size=9), max_size=9))
def test_parts_of_integers_make_the_whole(lists: list[list[int]]) -> None:
    total = NOTHING
    for part in lists:
        total = merge(total, moments([float(x) for x in part]))
    assert_same(total, moments([float(x) for part in lists for x in part]), 1.0)


@given(parts)
def test_nothing_adds_nothing(a: list[float]) -> None:
    assert merge(NOTHING, moments(a)) == moments(a) == merge(moments(a), NOTHING)


def test_other_counts_add_up() -> None:
    one = NOTHING._replace(nan=1, positive_inf=2, negative_inf=3)
    two = Moments(4, 1.0, 0.0, 1.0, 1.0, 5, 6, 7, 8, 9)
    assert merge(one, two) == Moments(4, 1.0, 0.0, 1.0, 1.0, 5, 6, 8, 10, 12)
    assert not one.finite
    assert not NOTHING._replace(negative_inf=1).finite
    assert NOTHING.finite


def test_a_large_mean_does_not_drown_the_spread() -> None:
    """The sum of squares would: 1e12 and 1e-6 are 18 digits apart."""
    rng = np.random.default_rng(0)
    values = 1e6 + 1e-3 * rng.standard_normal(3000)
    total = NOTHING
    for start in range(0, 3000, 100):
        total = merge(total, moments(values[start : start + 100].tolist()))
    exact = moments(values.tolist())
    assert total.std == pytest.approx(exact.std, rel=1e-10)
    assert math.sqrt(max(0.0, float((values * values).mean() - values.mean() ** 2))) != (
        pytest.approx(exact.std, rel=0.5)
    )


@pytest.mark.parametrize("value", [5e-324, 1e-200, 1e-3, 1e200, 1.7e308])
@pytest.mark.parametrize("count", [1, 4])
def test_the_norm_neither_overflows_nor_vanishes(value: float, count: int) -> None:
    """Of equal numbers it is at most their number times them, whatever their squares are."""
    found = Moments(count, value, 0.0, value, value)
    want = math.hypot(*[value] * count)
    assert found.l2 == pytest.approx(want, rel=1e-10, abs=0)


def test_the_norm_of_a_negative_mean_is_positive() -> None:
    assert Moments(2, -3.0, 0.0, -3.0, -3.0).l2 == pytest.approx(math.sqrt(18), rel=1e-15)
    assert NOTHING.l2 == 0.0


def test_the_spread_is_the_populations() -> None:
    assert moments([1.0, 3.0]).std == 1.0
