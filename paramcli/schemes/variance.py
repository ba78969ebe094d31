"""Variance scaling: schemes whose standard deviation follows from fans and a gain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.schemes.draws import Normal, TruncatedNormal, Uniform
from paramcli.schemes.gains import gain as gain_of
from paramcli.schemes.law import drawn, number

if TYPE_CHECKING:
    from paramcli.schemes.law import Law
    from paramcli.schemes.subject import Subject

__all__ = [
    "fan", "fans", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "kaiming_normal",
    "kaiming_uniform", "lecun_normal", "lecun_uniform", "scaled", "variance_scaling",
    "xavier_normal", "xavier_uniform",
]  # fmt: skip

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal between -2 and 2: what the variance correction is by."""


def fans(subject: Subject) -> tuple[int, int]:
    """Fan-in and fan-out. Raises UsageError for a tensor that has none."""
    if subject.fan_in is None or subject.fan_out is None:
        raise UsageError(
            f"{subject.name} has no fans (role {subject.role}, rank {len(subject.shape)})",
            hint="give it a rule of its own: zeros, ones or normal(std=…)",
        )
    return subject.fan_in, subject.fan_out


def fan(subject: Subject, mode: str) -> float:
    """The fan that a mode names: fan_in, fan_out, their mean fan_avg, or fan_geo_avg."""
    fan_in, fan_out = fans(subject)
    modes = {
        "fan_in": float(fan_in),
        "fan_out": float(fan_out),
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }
    if mode not in modes:
        raise UsageError(f"no mode is called {mode!r}", hint=f"there are {', '.join(modes)}")
    return modes[mode]


def scaled(subject: Subject, std: float, distribution: str, words: str) -> Law:
    """Draw with a given standard deviation, which stands for the elements as they come out."""
    if distribution == "normal":
        return drawn(subject, Normal(0.0, std), f"{words}: std={number(std)}")
    if distribution == "uniform":
        bound = math.sqrt(3) * std
        return drawn(subject, Uniform(-bound, bound), f"{words}: ±{number(bound)}")
    if distribution == "truncated_normal":
        draw = TruncatedNormal(0.0, std / TRUNCATED_STD, -2.0, 2.0)
        return drawn(subject, draw, f"{words}: std={number(std)}, cut at 2σ")
    raise UsageError(
        f"no distribution is called {distribution!r}",
        hint="there are normal, truncated_normal, uniform",
    )


def variance_scaling(
    subject: Subject,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
) -> Law:
    """Variance scale / fan: the family of which all below are members.

    `jax.nn.initializers.variance_scaling`, Keras' `VarianceScaling`. A truncated normal is cut at
    2σ and widened by 1/0.87962566, so that what comes out has this std.
    """
    return _variance(subject, scale, mode, distribution, f"variance_scaling(scale={number(scale)})")


def xavier_normal(subject: Subject, gain: float = 1.0) -> Law:
    """Normal, std = gain·√(2 / (fan_in + fan_out)). Glorot, Bengio 2010; `xavier_normal_`."""
    return _variance(subject, gain**2, "fan_avg", "normal", "xavier_normal")


def xavier_uniform(subject: Subject, gain: float = 1.0) -> Law:
    """U(±gain·√(6 / (fan_in + fan_out))). Glorot, Bengio 2010; `xavier_uniform_`."""
    return _variance(subject, gain**2, "fan_avg", "uniform", "xavier_uniform")


def kaiming_normal(
    subject: Subject, mode: str = "fan_in", nonlinearity: str = "relu", a: float = 0.0
) -> Law:
    """Normal, std = gain / √fan. He et al. 2015, arXiv:1502.01852; `kaiming_normal_`.

    The gain is that of the nonlinearity that follows: √2 for relu, √(2 / (1 + a²)) for leaky_relu.
    """
    square = _rectified(nonlinearity, a) ** 2
    return _variance(subject, square, mode, "normal", f"kaiming_normal({mode})")


def kaiming_uniform(
    subject: Subject, mode: str = "fan_in", nonlinearity: str = "relu", a: float = 0.0
) -> Law:
    """U(±gain·√(3 / fan)). He et al. 2015, arXiv:1502.01852; `kaiming_uniform_`."""
    square = _rectified(nonlinearity, a) ** 2
    return _variance(subject, square, mode, "uniform", f"kaiming_uniform({mode})")


def glorot_normal(subject: Subject) -> Law:
    """Truncated normal, std = √(2 / (fan_in + fan_out)), as JAX and Keras draw xavier_normal."""
    return _variance(subject, 1.0, "fan_avg", "truncated_normal", "glorot_normal")


def glorot_uniform(subject: Subject) -> Law:
    """U(±√(6 / (fan_in + fan_out))), as JAX and Keras draw it, and torch too."""
    return _variance(subject, 1.0, "fan_avg", "uniform", "glorot_uniform")


def he_normal(
    subject: Subject, mode: str = "fan_in", nonlinearity: str = "relu", a: float = 0.0
) -> Law:
    """Truncated normal, std = gain / √fan, as JAX and Keras draw kaiming_normal."""
    square = _rectified(nonlinearity, a) ** 2
    return _variance(subject, square, mode, "truncated_normal", f"he_normal({mode})")


def he_uniform(
    subject: Subject, mode: str = "fan_in", nonlinearity: str = "relu", a: float = 0.0
) -> Law:
    """U(±gain·√(3 / fan)), as JAX and Keras draw kaiming_uniform: they agree with torch."""
    square = _rectified(nonlinearity, a) ** 2
    return _variance(subject, square, mode, "uniform", f"he_uniform({mode})")


def lecun_normal(subject: Subject) -> Law:
    """Truncated normal, std = √(1 / fan_in), for selu. LeCun et al. 1998; JAX, Keras, timm."""
    return _variance(subject, 1.0, "fan_in", "truncated_normal", "lecun_normal")


def lecun_uniform(subject: Subject) -> Law:
    """U(±√(3 / fan_in)). LeCun et al. 1998; JAX, Keras."""
    return _variance(subject, 1.0, "fan_in", "uniform", "lecun_uniform")


def _rectified(nonlinearity: str, a: float) -> float:
    """A slope is torch's way to ask for leaky_relu: its functions default to that."""
    return gain_of("leaky_relu" if a and nonlinearity == "relu" else nonlinearity, a)


def _variance(subject: Subject, scale: float, mode: str, distribution: str, words: str) -> Law:
    divisor = fan(subject, mode)
    if not 0 <= scale < math.inf:
        raise UsageError(f"{words}: {scale!r} is no scale of a variance")
    return scaled(subject, math.sqrt(scale / divisor) if divisor else 0.0, distribution, words)
