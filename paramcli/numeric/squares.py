"""Sums of squares by one thread: of BLAS where it has one, which is three times as fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paramcli.numeric import ALONE

if TYPE_CHECKING:
    from paramcli.numeric.codes import Floats

__all__ = ["squares"]


def squares(numbers: Floats) -> float:
    """Sum the squares of numbers."""
    if ALONE:
        return float(numbers.dot(numbers))
    return float(np.einsum("i,i->", numbers, numbers))
