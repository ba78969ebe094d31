"""What is drawn has the distribution that it should: every threshold is passed once in a million.

The seeds are fixed, so the tests give the same answer each time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from paramcli.schemes.draws import Draw, Normal, TruncatedNormal, Uniform
from paramcli.schemes.stream import key
from tests.unit.schemes.filled import DRAWS, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COUNT = 1 << 19
KOLMOGOROV = 2.70  # √n D is larger once in a million
SIGMAS = 4.9  # a normal number is farther from its mean once in a million
DTYPES = ("float64", "float32", "bfloat16", "float16")
_UNIT = {"float64": 2**-53, "float32": 2**-24, "bfloat16": 2**-9, "float16": 2**-12}


def lower(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


def distribution(draw: Draw) -> Callable[[float], float]:
    """P(X ≤ x)."""
    if isinstance(draw, Uniform):
        return lambda x: min(1.0, max(0.0, (x - draw.low) / (draw.high - draw.low)))
    if isinstance(draw, Normal):
        return lambda x: lower((x - draw.mean) / draw.std)
    # From the side on which the tail is the smaller one, so that nothing is lost.
    side = -1 if draw.low > 0 else 1
    ends = sorted((side * draw.low, side * draw.high))
    under, over = lower(ends[0]), lower(ends[1])

    def share(x: float) -> float:
        z = min(ends[1], max(ends[0], side * (x - draw.mean) / draw.std))
        part = (lower(z) - under) / (over - under)
        return part if side > 0 else 1 - part

    return share


@pytest.mark.parametrize("draw", DRAWS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kolmogorov_smirnov(draw: Draw, dtype: str) -> None:
    """Compare at the borders between numbers of the type, where rounding moves nothing across."""
    found = np.sort(numbers(draw, dtype, 1000, COUNT))
    if dtype in ("float64", "float32"):
        places = np.arange(0, COUNT, 64)
        borders = found[places]
        empirical = np.searchsorted(found, borders, "left") / COUNT
    else:
        every = np.unique(found)
        borders = (every[1:] + every[:-1]) / 2
        # Numbers that are next to each other in the sample need not be so in the type.
        near = np.diff(every) <= 4 * _UNIT[dtype] * np.maximum(abs(every[1:]), abs(every[:-1]))
        borders = borders[near]
        empirical = np.searchsorted(found, borders) / COUNT
    wanted = distribution(draw)
    theory = np.array([wanted(x) for x in borders.tolist()])
    assert len(borders) > 10
    assert math.sqrt(COUNT) * abs(empirical - theory).max() < KOLMOGOROV + 0.01


@pytest.mark.parametrize("seed", [0, 1, 1 << 32])
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_the_normal(dtype: str, seed: int) -> None:
    z = numbers(Normal(), dtype, 0, COUNT, key(seed, "moments"))
    # Mean and variance of the first four powers of a normal number.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        rounding = power * mean * _UNIT[dtype] ** 2 * 10
        error = abs((z**power).mean() - mean)
        assert error < SIGMAS * math.sqrt(variance / COUNT) + rounding


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tails_of_the_normal(dtype: str) -> None:
    count, seeds = 1 << 21, 4
    beyond = dict.fromkeys((2.0, 3.0, 4.0, 4.5, 5.0), 0)
    for seed in range(seeds):
        z = abs(numbers(Normal(), dtype, 0, count, key(seed, "tails")))
        for limit in beyond:
            beyond[limit] += int((z > limit).sum())
    for limit, found in beyond.items():
        expected = 2 * lower(-limit) * count * seeds
        assert abs(found - expected) < SIGMAS * math.sqrt(expected) + 3, limit


@pytest.mark.parametrize("draw", [Uniform(-1.0, 1.0), Normal(), TruncatedNormal()], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_serial_correlation(draw: Draw, dtype: str) -> None:
    x = numbers(draw, dtype, 0, COUNT)
    lags = [*range(1, 65), 1 << 14, 1 << 15, 1 << 16]  # the partners of pairs, and beyond
    for values in (x, x * x):
        values = (values - values.mean()) / values.std()  # noqa: PLW2901
        for lag in lags:
            found = float(values[:-lag] @ values[lag:]) / math.sqrt(COUNT - lag)
            assert abs(found) < SIGMAS + 0.9, lag  # about 70 lags, twice, in 12 cases


@pytest.mark.parametrize("draw", [Uniform(-1.0, 1.0), Normal(), TruncatedNormal()], ids=str)
def test_no_correlation_between_tensors(draw: Draw) -> None:
    count, tensors = 1 << 16, 64
    rows = np.array([
        numbers(draw, "float32", 0, count, key(seed, f"layers.{layer}.weight"))
        for seed in range(4) for layer in range(tensors // 4)
    ])  # fmt: skip
    rows = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    found = rows @ rows.T / math.sqrt(count)
    np.fill_diagonal(found, 0)
    assert abs(found).max() < SIGMAS + 1.3  # of 2,016 pairs
