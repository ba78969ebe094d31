"""How far a sample's mean and standard deviation may stray from those of what it was drawn from.

A z-score is a deviation in standard errors. For a normal distribution the mean of n has the error
σ/√n and the deviation nearly σ/√(2n) (Kendall, Stuart, The Advanced Theory of Statistics, 10.5);
for one that is cut or uniform the latter is smaller, and this stays a bound. Elements that are
copies of each other (ICNR) count once. Beyond 6 is less than one in 10⁸ for any number that is
normal by then, so even 100,000 tensors give no false alarm in practice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.schemes.draws import Normal, TruncatedNormal, Uniform
from paramcli.schemes.law import Constant

if TYPE_CHECKING:
    from paramcli.schemes.law import Fill, Law
    from paramcli.tensors import DType

__all__ = ["BEYOND", "Scores", "scores"]

BEYOND = 6.0
"""The z-score from which on a deviation is no chance."""

_DIGITS = {
    "float64": (53, -1074), "float32": (24, -149), "bfloat16": (8, -133), "float16": (11, -24),
    "float8_e4m3fn": (4, -9), "float8_e4m3fnuz": (4, -10), "float8_e5m2": (3, -16),
    "float8_e5m2fnuz": (3, -17),
}  # fmt: skip
"""Digits of each type's mantissa, and the power of two of the least that it holds."""


class Scores(NamedTuple):
    """Deviations from what is expected in standard errors; None where nothing was expected."""

    mean: float | None
    std: float | None

    @property
    def beyond(self) -> bool:
        """Whether one of them is no chance."""
        return any(score is not None and not abs(score) <= BEYOND for score in self)


def scores(law: Law, dtype: DType, numel: int, mean: float | None, std: float | None) -> Scores:
    """Hold the measured mean and (population's) std of a tensor against its law."""
    if law.mean is None or law.std is None or mean is None or std is None or not numel:
        return Scores(None, None)
    of_mean, of_std = _errors(law, numel)
    unit, least = _rounding(dtype.name)
    spread = law.std
    if spread:
        of_std = math.hypot(of_std, spread * unit**2 / 2 + least**2 / (24 * spread))
        of_std = math.hypot(of_std, spread / numel)  # what the mean of so few takes off
    of_mean = math.hypot(of_mean, unit * abs(law.mean) + least / 2)
    return Scores(_score(mean - law.mean, of_mean), _score(std - spread, of_std))


def _score(deviation: float, error: float) -> float:
    if deviation == 0:
        return 0.0
    return deviation / error if error else math.copysign(math.inf, deviation)


def _errors(law: Law, numel: int) -> tuple[float, float]:
    """Standard errors of mean and std, those that are copies of each other counted as one."""
    copies: dict[tuple[Fill, int], list[int]] = {}
    for piece in law.pieces:
        counted = copies.setdefault((piece.fill, piece.origin), [0, piece.stop - piece.start])
        counted[0] += 1
    first = second = 0.0
    for (fill, _), (times, length) in copies.items():
        mean, variance = _moments(fill, law)
        off = mean - (law.mean or 0.0)
        first += times**2 * length * variance
        second += times**2 * length * (2 * variance**2 + 4 * off**2 * variance)
    spread = law.std or 0.0
    of_std = math.sqrt(second) / numel / (2 * spread) if spread else 0.0
    return math.sqrt(first) / numel, of_std


def _moments(fill: Fill, law: Law) -> tuple[float, float]:
    """Mean and variance of the elements of a piece; of a normal that is cut, those before."""
    if isinstance(fill, Constant):
        return fill.value, 0.0
    if isinstance(fill, Uniform):
        return (fill.low + fill.high) / 2, (fill.high - fill.low) ** 2 / 12
    if isinstance(fill, Normal | TruncatedNormal):
        return fill.mean, fill.std**2
    # Ones among zeros, or matrices whose norm is fixed: as if each element were drawn alone.
    return law.mean or 0.0, (law.std or 0.0) ** 2


def _rounding(dtype: str) -> tuple[float, float]:
    """Relative rounding error of a type, and the least that it holds."""
    digits, power = _DIGITS.get(dtype, (53, -1074))
    return 2.0**-digits, 2.0**power
