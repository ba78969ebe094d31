"""Schemes that draw nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.schemes import law
from paramcli.schemes.law import Given, whole

if TYPE_CHECKING:
    from paramcli.schemes.law import Law
    from paramcli.schemes.subject import Subject

__all__ = ["constant", "model", "ones", "zeros"]


def zeros(subject: Subject) -> Law:
    """0 everywhere."""
    return law.constant(subject, 0.0)


def ones(subject: Subject) -> Law:
    """1 everywhere."""
    return law.constant(subject, 1.0)


def constant(subject: Subject, value: float) -> Law:
    """`value` everywhere, rounded to the tensor's type."""
    return law.constant(subject, value)


def model(subject: Subject) -> Law:
    """What the model's own constructor gives; only a class target has one."""
    return whole(subject, Given(), None, "model")
