"""Orthonormal vectors out of Gaussian ones, the same bits on every machine.

LAPACK and BLAS add up in an order that depends on the CPU. Here what matters is added up exactly:
numbers are cut into slices of so few bits that every sum of products of slices is an integer
below 2⁵³, which no order of summation can change (Ozaki, Ogita, Oishi, Rump 2012). So products of
matrices may go through BLAS, whatever it does; all else are single elementwise operations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

__all__ = ["memory", "orthonormalize"]

_FEW = 8
"""Vectors that are made orthogonal one after another."""
_MOST = 1 << 20
"""Elements of a matrix that are sliced at a time."""
_SLICES = 3
"""Slices that hold all of a float64."""
_EXACT = 53
"""Bits of an integer that float64 holds."""


def orthonormalize(vectors: Matrix, *, double: bool = True) -> None:
    """Make the rows of a matrix orthonormal, in place, each by what it adds to those before it.

    So they are the Q of a QR decomposition whose R has a positive diagonal; of Gaussian rows, at
    most as many as they are long, it is uniform among all (Mezzadri 2007, arXiv:math-ph/0609050).
    By the method of Gram and Schmidt, halves at a time. For `double` precision each is taken out
    twice, roughly and then exactly; else once, to 40 bits, which costs half and leaves 1e-8.
    """
    count = len(vectors)
    if count <= _FEW:
        for place in range(count):
            _add(vectors[:place], vectors[place])
        return
    first, rest = vectors[: count // 2], vectors[count // 2 :]
    orthonormalize(first, double=double)
    if double:
        _subtract(first, rest, 1, 1)
    _subtract(first, rest, _SLICES if double else 2, 2)
    orthonormalize(rest, double=double)


def memory(count: int, length: int) -> int:
    """Bytes that `count` vectors of a length take while they are made orthonormal, nearly."""
    return 8 * (count * length + count * count + 10 * min(_MOST, count * length))


def _add(before: Matrix, vector: Matrix) -> None:
    """Make one more vector orthogonal to the ones before it, and of length 1."""
    for _ in range(2 if len(before) else 0):
        for other in before:
            vector -= other * _sum(other * vector)
    vector /= np.sqrt(_sum(vector * vector))


def _sum(terms: Matrix) -> np.float64:
    """Add up by halves, in an order that is always the same; `terms` are used up."""
    while (count := len(terms)) > 1:
        half = count // 2
        terms[:half] += terms[half : 2 * half]
        if count % 2:
            terms[0] += terms[count - 1]
        terms = terms[:half]
    return np.float64(terms[0])


def _subtract(basis: Matrix, rows: Matrix, inner: int, outer: int) -> None:
    """Subtract from rows what lies in the span of an orthonormal basis, in place.

    `inner` and `outer` are how many slices make the coefficients, and how many of these are used.
    """
    length = rows.shape[1]
    step = max(1, _MOST // len(rows))
    parts = [slice(start, start + step) for start in range(0, length, step)]
    bits = _bits(min(step, length))
    factors = np.zeros((len(rows), len(basis)))
    for part in parts:
        _multiply(
            _cut(rows[:, part], inner, bits), _cut(basis[:, part].T, inner, bits), factors, inner
        )
    bits = _bits(len(basis))
    most = _SLICES + 1 - outer
    coefficients = _cut(factors, outer, bits)
    for part in parts:
        taken = np.zeros_like(rows[:, part])
        _multiply(coefficients, _cut(basis[:, part], most, bits), taken, most)
        rows[:, part] -= taken


def _bits(terms: int) -> int:
    """Bits of a slice, such that as many products of two can be added up exactly."""
    return (_EXACT - terms.bit_length()) // 2


def _cut(matrix: Matrix, count: int, bits: int) -> list[Matrix]:
    """Cut the leading bits of a matrix into slices; each step is exact.

    A slice is a matrix of integers times a power of two. Adding and subtracting one and a half
    times 2⁵² of these rounds to a multiple of it.
    """
    _, top = math.frexp(max(matrix.max(), -matrix.min()))
    slices: list[Matrix] = []
    rest = matrix
    for place in range(count):
        rounder = 1.5 * 2.0 ** (_EXACT - 1 + top - bits * (place + 1))
        part = rest + rounder
        np.subtract(part, rounder, part)
        slices.append(part)
        if place + 1 < count:
            rest = np.subtract(rest, part, None if rest is matrix else rest)
    return slices


def _multiply(left: list[Matrix], right: list[Matrix], out: Matrix, orders: int) -> None:
    """Add the product of two matrices, as far as so many orders of slices tell, smallest first."""
    for order in reversed(range(orders)):
        for place, one in enumerate(left[: order + 1]):
            np.add(out, one @ right[order - place], out)
