"""Element types as NumPy reads them: wide ones as numbers, narrow ones as codes with a table.

A type of at most 16 bits has at most 65,536 values, so counting how often each occurs says all
that can be asked of a tensor, exactly; `values` gives the number that each code stands for.
Formats: IEEE 754; bfloat16; the OCP 8-bit and MX specifications (float8, float6, float4), and the
`fnuz` variants of arXiv:2206.02915.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["CODED", "COMPLEX", "WIDE", "values"]

WIDE = {
    "float32": "f4", "float64": "f8", "int32": "i4", "int64": "i8", "uint32": "u4",
    "uint64": "u8", "qint32": "i4",
}  # fmt: skip
"""Real types that NumPy knows and that are too wide to count."""

COMPLEX = {
    "complex64": "float32", "complex128": "float64", "complex32": "float16",
    "bcomplex32": "bfloat16",
}  # fmt: skip
"""The type of both parts of each complex type."""

CODED = {
    "float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16,
    "int8": 8, "uint8": 8, "bool": 8, "qint8": 8, "quint8": 8,
    "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2": 8, "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8, "float4_e2m1fn_x2": 4, "float4_e2m1fn": 4,
    "float6_e2m3fn": 6, "float6_e3m2fn": 6, "quint4x2": 4, "quint2x4": 2,
}  # fmt: skip
"""Bits of a code, for the types that are counted."""


class _Mini(NamedTuple):
    """A small float: exponent and mantissa bits, bias, and which codes are no numbers."""

    exponent: int
    mantissa: int
    bias: int
    special: str  # "ieee", "fn" (all ones is NaN), "fnuz" (minus zero is NaN), "none"


_MINI = {
    "float8_e4m3fn": _Mini(4, 3, 7, "fn"),
    "float8_e4m3fnuz": _Mini(4, 3, 8, "fnuz"),
    "float8_e5m2": _Mini(5, 2, 15, "ieee"),
    "float8_e5m2fnuz": _Mini(5, 2, 16, "fnuz"),
    "float4_e2m1fn_x2": _Mini(2, 1, 1, "none"),
    "float4_e2m1fn": _Mini(2, 1, 1, "none"),
    "float6_e2m3fn": _Mini(2, 3, 1, "none"),
    "float6_e3m2fn": _Mini(3, 2, 3, "none"),
}


_INTEGERS = {"int8": np.int8, "qint8": np.int8, "int16": np.int16}


@cache
def values(dtype: str) -> Floats:
    """Return the number that each code of a counted type stands for, as float64."""
    codes = np.arange(1 << CODED[dtype], dtype=np.uint32)
    if dtype in _MINI:
        numbers = _small_floats(codes, _MINI[dtype])
    elif dtype == "float8_e8m0fnu":
        numbers = np.ldexp(1.0, codes.astype(np.int64) - 127)
        numbers[255] = np.nan
    elif dtype == "bfloat16":
        with np.errstate(invalid="ignore"):  # signalling NaNs
            numbers = (codes << 16).view(np.float32).astype(np.float64)
    elif dtype == "float16":
        with np.errstate(invalid="ignore"):
            numbers = codes.astype(np.uint16).view(np.float16).astype(np.float64)
    elif dtype in _INTEGERS:
        numbers = codes.astype(_INTEGERS[dtype]).astype(np.float64)
    elif dtype == "bool":
        numbers = np.minimum(codes, 1).astype(np.float64)
    else:
        numbers = codes.astype(np.float64)
    return numbers


def _small_floats(codes: NDArray[np.uint32], form: _Mini) -> Floats:
    fraction = codes & ((1 << form.mantissa) - 1)
    power = (codes >> form.mantissa) & ((1 << form.exponent) - 1)
    sign = codes >> (form.mantissa + form.exponent)
    lead = np.where(power > 0, 1 << form.mantissa, 0) + fraction
    shift = np.maximum(power, 1).astype(np.int64) - form.bias - form.mantissa
    numbers: Floats = np.ldexp(lead.astype(np.float64), shift) * np.where(sign, -1.0, 1.0)
    top = power == (1 << form.exponent) - 1
    if form.special == "ieee":
        numbers[top & (fraction == 0)] = np.inf
        numbers[top & (fraction == 0) & (sign == 1)] = -np.inf
        numbers[top & (fraction > 0)] = np.nan
    elif form.special == "fn":
        numbers[top & (fraction == (1 << form.mantissa) - 1)] = np.nan
    elif form.special == "fnuz":
        numbers[(sign == 1) & (power == 0) & (fraction == 0)] = np.nan
    return numbers
