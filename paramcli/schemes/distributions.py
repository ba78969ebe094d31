"""Schemes that are a distribution and nothing else, whatever the tensor is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.schemes.draws import Normal, TruncatedNormal, Uniform
from paramcli.schemes.law import constant, drawn

if TYPE_CHECKING:
    from paramcli.schemes.law import Law
    from paramcli.schemes.subject import Subject

__all__ = ["normal", "trunc_normal", "uniform"]


def uniform(subject: Subject, a: float = 0.0, b: float = 1.0) -> Law:
    """U[a, b): std (b - a)/√12. `torch.nn.init.uniform_`."""
    if not a <= b:
        raise UsageError(f"uniform: a={a!r} lies above b={b!r}")
    return drawn(subject, Uniform(a, b))


def normal(subject: Subject, std: float = 1.0, mean: float = 0.0) -> Law:
    """N(mean, std²). `torch.nn.init.normal_`."""
    _check_std("normal", std)
    return drawn(subject, Normal(mean, std))


def trunc_normal(  # noqa: PLR0913 - a distribution of five parameters
    subject: Subject,
    std: float = 1.0,
    mean: float = 0.0,
    cut: float = 3.0,
    *,
    a: float | None = None,
    b: float | None = None,
) -> Law:
    """N(mean, std²) between mean ± cut·std; or between `a` and `b`, absolute as torch has them.

    `std` is that before the cut: at 3σ 0.98658 of it is left, at 2σ 0.87963. The bounds of
    `torch.nn.init.trunc_normal_` are absolute, -2 and 2 if not given: 100σ at std=0.02, which cuts
    nothing. Either of `a` and `b` alone leaves the other side open.
    """
    _check_std("trunc_normal", std)
    if std == 0:
        return constant(subject, mean)
    if a is None and b is None:
        low, high = -cut, cut
    else:
        low = float("-inf") if a is None else (a - mean) / std
        high = float("inf") if b is None else (b - mean) / std
    if not low < high:
        raise UsageError(f"trunc_normal: nothing lies from {low!r}σ to {high!r}σ")
    return drawn(subject, TruncatedNormal(mean, std, low, high))


def _check_std(scheme: str, std: float) -> None:
    if not 0 <= std < float("inf"):
        raise UsageError(f"{scheme}: std={std!r} is no standard deviation")
