"""float32 to narrower floats by integers alone: to the nearest, ties to even, as torch casts.

NumPy has only float16 among them, and casts to it slowly; the codes come out as uint16 or uint8.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paramcli.errors import UsageError
from paramcli.numeric.codes import CODED, values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NARROW", "inside", "store"]


class _Narrow(NamedTuple):
    """Bits of the mantissa, bias of the exponent, and the codes of what is too large and of NaN.

    `signless`: minus zero is no number, so the sign of zero is dropped, and that of NaN too.
    """

    bits: int
    mantissa: int
    bias: int
    largest: int
    beyond: int
    nan: int
    signless: bool = False


NARROW = {
    "bfloat16": _Narrow(16, 7, 127, 0x7F7F, 0x7F80, 0x7FC0),
    "float16": _Narrow(16, 10, 15, 0x7BFF, 0x7C00, 0x7E00),
    "float8_e4m3fn": _Narrow(8, 3, 7, 0x7E, 0x7E, 0x7F),
    "float8_e4m3fnuz": _Narrow(8, 3, 8, 0x7F, 0x80, 0x80, signless=True),
    "float8_e5m2": _Narrow(8, 2, 15, 0x7B, 0x7C, 0x7F),
    "float8_e5m2fnuz": _Narrow(8, 2, 16, 0x7F, 0x80, 0x80, signless=True),
}
"""Types that are rounded to from float32.

What is too large becomes infinity or, where there is none, NaN; but of float8_e4m3fn the largest
number, as torch has it since it saturates there.
"""

_INFINITE = 0x7F800000
_MAGNITUDE = 0x7FFFFFFF


def store(
    numbers: NDArray[np.float32],
    dtype: str,
    out: NDArray[Any],
    spare: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Round to the codes of a narrow type. `numbers` and `spare` are scratch of the same shape."""
    form = NARROW[dtype]
    dropped = 23 - form.mantissa
    bits = numbers.view(np.int32)
    sizes, codes = (array.view(np.int32) for array in spare)
    np.right_shift(bits, dropped, codes)
    np.bitwise_and(codes, 1, codes)
    np.add(codes, (1 << (dropped - 1)) - 1, codes)
    if form.bias == 127 and not np.isnan(numbers.max()):  # bfloat16 is the upper half of float32
        np.add(codes, bits, codes)
        np.right_shift(codes, dropped, codes)
        out[...] = codes  # their lower halves: to take every other halfword is slower
        return
    np.bitwise_and(bits, _MAGNITUDE, sizes)
    np.add(codes, sizes, codes)
    np.right_shift(codes, dropped, codes)
    np.subtract(codes, (127 - form.bias) << form.mantissa, codes)
    _round_subnormal(sizes, codes, form)
    if sizes.max() > _INFINITE or codes.max() > form.largest:
        codes[codes > form.largest] = form.beyond
        codes[sizes > _INFINITE] = form.nan
    np.right_shift(bits, 32 - form.bits, bits)
    np.bitwise_and(bits, 1 << (form.bits - 1), bits)
    if form.signless:
        bits[(codes == 0) | (codes == form.nan)] = 0
    np.bitwise_or(codes, bits, codes)
    out[...] = codes


def _round_subnormal(sizes: NDArray[np.int32], codes: NDArray[np.int32], form: _Narrow) -> None:
    """Round anew what is below the smallest normal number.

    Added to a power of two whose last bit is worth as much as theirs, they are rounded to it.
    """
    least = (128 - form.bias) << 23
    if form.bias < 127 and sizes.min() < least:
        places = np.flatnonzero(sizes < least)
        unit = np.float32(2.0 ** (24 - form.bias - form.mantissa))
        rounded = sizes.ravel()[places].view(np.float32) + unit
        codes.ravel()[places] = rounded.view(np.int32) - unit.view(np.int32)


def inside(
    dtype: str, low: Fraction | float, high: Fraction | float, *, below_high: bool = False
) -> tuple[float, float]:
    """Return the least and the greatest number of a type from `low` to `high`.

    `below_high` excludes `high` itself. Raises UsageError where there is none in between.
    """
    least, most = -_down(dtype, -low, proper=False), _down(dtype, high, proper=below_high)
    if least > most:
        raise UsageError(f"no {dtype} lies between {float(low)!r} and {float(high)!r}")
    return least, most


@cache
def _finite(dtype: str) -> list[float]:
    """Every finite number of a narrow type, in order."""
    found: list[float] = np.unique(values(dtype)[np.isfinite(values(dtype))]).tolist()
    return found


def _down(dtype: str, limit: Fraction | float, *, proper: bool) -> float:
    """Return the greatest number of a type up to a limit, or `proper`ly below it."""
    if limit in (math.inf, -math.inf):
        return float(limit)
    if dtype in CODED:
        every = _finite(dtype)
        place = bisect_right(every, float(limit))
        while place and (every[place - 1] > limit or (proper and every[place - 1] == limit)):
            place -= 1
        return every[place - 1] if place else -math.inf
    kind = np.dtype(dtype).type
    with np.errstate(over="ignore"):
        found = kind(float(limit))
    if not np.isfinite(found):
        return float(np.finfo(kind).max) if found > 0 else -math.inf
    while Fraction(float(found)) > limit or (proper and Fraction(float(found)) == limit):
        found = np.nextafter(found, kind(-math.inf))
    return float(found)
