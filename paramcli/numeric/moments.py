"""Running moments that merge exactly in any grouping, and what is reported of them in the end.

Means and second moments about the mean are merged by Chan, Golub and LeVeque's update (1979),
which stays right where the mean is large against the spread.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar, cast

__all__ = ["NOTHING", "Moments", "merge", "scale", "times_two_to"]

Number = TypeVar("Number")


class Moments(NamedTuple):
    """Of `n` finite elements: mean, spread about it, extremes; and counts of the rest.

    `spread` is the root of the sum of squares about the mean: it stays within what a float holds.
    `n` leaves out the `nan`, `positive_inf` and `negative_inf` that are counted beside it; `zeros`
    has both signs of zero, `negative_zeros` the one.
    """

    n: int
    mean: float
    spread: float
    min: float
    max: float
    zeros: int = 0
    negative_zeros: int = 0
    nan: int = 0
    positive_inf: int = 0
    negative_inf: int = 0

    @property
    def std(self) -> float:
        """The population's standard deviation of the finite elements."""
        return self.spread / math.sqrt(self.n)

    @property
    def l2(self) -> float:
        """The Euclidean norm of the finite elements: no cancellation, both terms are positive."""
        return math.hypot(self.spread, math.sqrt(self.n) * self.mean)

    @property
    def finite(self) -> bool:
        """Whether every element is finite."""
        return not (self.nan or self.positive_inf or self.negative_inf)


NOTHING = Moments(0, 0.0, 0.0, math.inf, -math.inf)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of both sets together."""
    n = a.n + b.n
    counts = (x + y for x, y in zip(a[5:], b[5:], strict=True))
    if not a.n or not b.n:
        mean, spread = (a.mean, a.spread) if a.n else (b.mean, b.spread)
    else:
        share = b.n / n
        delta = b.mean - a.mean
        mean = a.mean + delta * share
        if not math.isfinite(delta):
            mean = a.mean * (1 - share) + b.mean * share
        spread = math.hypot(a.spread, b.spread, delta * math.sqrt(a.n * share))
    return Moments(n, mean, spread, min(a.min, b.min), max(a.max, b.max), *counts)


def scale(low: float, high: float) -> int:
    """Power of two by which numbers between `low` and `high` are divided before they are squared.

    Zero, but for numbers whose squares a float64 would not hold.
    """
    exponent = math.frexp(max(abs(low), abs(high)))[1]
    return exponent if abs(exponent) > 450 else 0


def times_two_to(number: Number, power: int) -> Number:
    """Multiply a number, or an array of either room, by a power of two that may be no float."""
    half = power // 2
    scaled: Any = number
    scaled = scaled * 2.0**half * 2.0 ** (power - half)
    return cast("Number", scaled)
