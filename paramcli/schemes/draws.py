"""The draws: uniform, normal and truncated normal numbers for any stretch of a tensor.

What element `i` gets depends on the draw, the dtype, the key and `i` alone. docs/stream.md defines
every step; `steps` takes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.schemes.arrays import NumpyArrays
from paramcli.schemes.formulas import DOUBLE, SINGLE
from paramcli.schemes.gaussian import below
from paramcli.schemes.rounding import NARROW, inside
from paramcli.schemes.steps import HALF, Steps, Tails

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.schemes.arrays import Array, Arrays
    from paramcli.schemes.stream import Key

__all__ = ["DTYPES", "Draw", "Filler", "Normal", "TruncatedNormal", "Uniform"]

DTYPES = ("float64", "float32", *NARROW)
"""What can be filled, by torch's name without `torch.`."""

_RAREST = 2.0**-92


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform from `low` up to `high`, which is never reached."""

    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal, of a mean and a standard deviation."""

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Normal where it lies from `low` to `high`, in standard deviations from the mean.

    `std` is that of the normal before it is cut. Either bound may be infinite.
    """

    mean: float = 0.0
    std: float = 1.0
    low: float = -2.0
    high: float = 2.0


Draw = Uniform | Normal | TruncatedNormal


class Filler:
    """Fills stretches of tensors, and keeps its scratch memory (2 MiB) from one to the next.

    One for each thread.
    """

    def __init__(self, arrays: Arrays | None = None) -> None:
        """`arrays` says by which library and on which device: NumPy's, if not given."""
        self._arrays: Arrays = arrays or NumpyArrays()
        self._steps: dict[str, Steps] = {}

    def fill(self, draw: Draw, dtype: str, key: Key, start: int, out: Array) -> None:
        """Fill `out` with the elements of a tensor from `start`, counted in row-major order.

        `out` is one-dimensional and contiguous: of NumPy float64, float32, or uint16 or uint8 for
        the codes of a narrower type; a tensor of torch's has the dtype itself. Raises UsageError
        for what cannot be drawn.
        """
        _check(draw, dtype)
        formulas = DOUBLE if dtype == "float64" else SINGLE
        steps = self._steps.get(formulas.number)
        if steps is None:
            steps = self._steps[formulas.number] = Steps(self._arrays, formulas)
        stretches = _in_blocks if isinstance(draw, Normal) else _in_chunks
        for begin, end in stretches(start, start + len(out), steps.most):
            part = out[begin - start : end - start]
            values = steps.result(end - begin) if dtype in NARROW else part
            if isinstance(draw, Normal):
                steps.normal(key, begin, values, draw.std)
                steps.shift(values, draw.mean)
            elif isinstance(draw, Uniform):
                steps.uniform(key, begin, values, draw.high - draw.low)
                steps.shift(values, draw.low)
                steps.clamp(values, _bounds(draw, dtype))
            else:
                steps.truncated(key, begin, values, _tails(draw.low, draw.high))
                steps.scale(values, draw.std)
                steps.shift(values, draw.mean)
                steps.clamp(values, _bounds(draw, dtype))
            if dtype in NARROW:
                steps.store(values, dtype, part)


def _in_blocks(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a range into runs of whole blocks, and parts that lie in one half of a block."""
    while start < stop:
        blocks = (stop - start) // (2 * HALF)
        if start % (2 * HALF) == 0 and blocks:
            end = start + min(blocks * 2 * HALF, 2 * most)
        else:
            end = min(stop, start // HALF * HALF + HALF)
        yield start, end
        start = end


def _in_chunks(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    for begin in range(start, stop, most):
        yield begin, min(stop, begin + most)


@cache
def _check(draw: Draw, dtype: str) -> None:
    if dtype not in DTYPES:
        raise UsageError(f"{dtype} cannot be drawn", hint=f"what can: {', '.join(DTYPES)}")
    if isinstance(draw, Uniform):
        if not 0 < draw.high - draw.low < math.inf:
            raise UsageError(f"no uniform numbers run from {draw.low!r} to {draw.high!r}")
        _bounds(draw, dtype)
        return
    if not (math.isfinite(draw.mean) and 0 <= draw.std < math.inf):
        raise UsageError(f"no normal numbers have mean {draw.mean!r} and std {draw.std!r}")
    if isinstance(draw, TruncatedNormal):
        if not draw.low < draw.high:
            raise UsageError(f"no numbers lie from {draw.low!r} to {draw.high!r} sigma")
        if _tails(draw.low, draw.high).between < _RAREST:
            raise UsageError(
                f"from {draw.low!r} to {draw.high!r} sigma lie less than one in 2⁹² normal numbers"
            )
        _bounds(draw, dtype)


@cache
def _tails(low: float, high: float) -> Tails:
    """Probabilities of a standard normal: below, between and above two bounds."""
    return Tails(float(below(low)), float(below(high) - below(low)), float(below(-high)))


@cache
def _bounds(draw: Uniform | TruncatedNormal, dtype: str) -> tuple[float, float]:
    """Least and greatest number of a type that may be drawn."""
    if isinstance(draw, Uniform):
        return inside(dtype, Fraction(draw.low), Fraction(draw.high), below_high=True)
    low, high = (
        bound if math.isinf(bound) else Fraction(draw.mean) + Fraction(draw.std) * Fraction(bound)
        for bound in (draw.low, draw.high)
    )
    return inside(dtype, low, high)
