"""Locks: what a checkpoint should hold, with names for sizes, and how one is held against it."""

from __future__ import annotations

from paramcli.lock.check import Violation, violations
from paramcli.lock.dims import Dim, Dims
from paramcli.lock.model import Line, Lock, Rules, Size, Tied
from paramcli.lock.resolve import Fit, Resolution, resolve

__all__ = [
    "Dim", "Dims", "Fit", "Line", "Lock", "Resolution", "Rules", "Size", "Tied", "Violation",
    "resolve", "violations",
]  # fmt: skip
