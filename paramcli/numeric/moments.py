"""Running moments that merge exactly in any grouping, and what is reported of them in the end.

Means and second moments about the mean are merged by Chan, Golub and LeVeque's update (1979),
which stays right where the mean is large against the spread.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["NOTHING", "Moments", "merge"]


class Moments(NamedTuple):
    """Of `n` finite elements: mean, sum of squares about it, extremes; and counts of the rest.

    `n` leaves out the `nan`, `positive_inf` and `negative_inf` that are counted beside it; `zeros`
    has both signs of zero, `negative_zeros` the one.
    """

    n: int
    mean: float
    m2: float
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
        return math.sqrt(max(self.m2, 0.0) / self.n)

    @property
    def l2(self) -> float:
        """The Euclidean norm of the finite elements: no cancellation, both terms are positive."""
        return math.sqrt(max(self.m2, 0.0) + self.n * self.mean * self.mean)

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
        mean, m2 = (a.mean, a.m2) if a.n else (b.mean, b.m2)
    else:
        delta = b.mean - a.mean
        mean = a.mean + delta * (b.n / n)
        m2 = a.m2 + b.m2 + delta * delta * (a.n * (b.n / n))
    return Moments(n, mean, m2, min(a.min, b.min), max(a.max, b.max), *counts)
