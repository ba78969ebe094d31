"""The CRC-32 of bytes that several workers wrote, from those of their pieces.

A CRC is linear over GF(2): to append `n` bytes is to multiply what went before by x^(8n), modulo
the polynomial. Bits are reflected, as in zlib, so that the highest one stands for x^0.
"""

from __future__ import annotations

from functools import cache

__all__ = ["joined"]

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def joined(first: int, second: int, nbytes: int) -> int:
    """Return the CRC-32 of two runs of bytes, one after the other; `nbytes` are in the second."""
    return _times(first, _shift(nbytes)) ^ second


@cache
def _shift(nbytes: int) -> int:
    """The power of x by which bytes are appended."""
    power, factor = _ONE, _ONE >> 8
    while nbytes:
        if nbytes & 1:
            power = _times(power, factor)
        factor = _times(factor, factor)
        nbytes >>= 1
    return power


def _times(a: int, b: int) -> int:
    """Multiply two polynomials."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
