"""The NumPy room: what a worker finds out about one block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paramcli.numeric.blocks import chunks
from paramcli.numeric.codes import CODED, WIDE
from paramcli.numeric.memory import Kept, aligned
from paramcli.numeric.moments import NOTHING, Moments, merge, scale, times_two_to
from paramcli.numeric.quantiles import tally
from paramcli.numeric.squares import squares
from paramcli.numeric.widen import parts_of
from paramcli.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from paramcli.numeric.blocks import Block, Raw
    from paramcli.numeric.quantiles import Search

    Counts = NDArray[np.int64]
    Numbers = NDArray[np.generic]

__all__ = [
    "Found", "NumpyRoom", "Refined", "Sparse", "finite", "sparse",
    "together",
]  # fmt: skip

_TOPS = 1 << 16

_SHORT = 1 << 16
"""Elements that are looked at together for moments: as float64 they stay in cache, too.

Halfwords are counted for more of them at once: their table is as large.
"""
_widened_to, _centred_in = Kept(np.uint32), Kept(np.float64)

FEW = 1 << 13
"""Bytes up to which sorting codes is faster than a table of all that there can be."""


class Sparse(NamedTuple):
    """Counts without the zeros: what occurs, rising, and how often."""

    which: NDArray[np.uint32]
    counts: Counts


class Found(NamedTuple):
    """Moments of a block, and how often each upper halfword occurs among its finite elements."""

    moments: Moments
    tops: Sparse | None


class Refined(NamedTuple):
    """How often each halfword follows one of the prefixes of a search, and its histogram.

    What follows is given as (index of the prefix) * 65536 + halfword.
    """

    digits: Sparse
    bins: Counts | None


def _count_codes(block: Block) -> Sparse:
    """Count the codes of a narrow type: which occur, and how often."""
    bits = CODED[block.dtype]
    if block.nbytes <= FEW:
        (raw,) = chunks(block)
        codes, few = np.unique(_codes_of(raw, bits, block), return_counts=True)
        return Sparse(codes.astype(np.uint32), few)
    counts = np.zeros(1 << bits, np.int64)
    for raw in chunks(block):
        counts += np.bincount(_codes_of(raw, bits, block).ravel(), minlength=1 << bits)
    return sparse(counts)


def _codes_of(raw: Raw, bits: int, block: Block) -> Numbers:
    """Codes in bytes of a block; where several share a byte, in no order."""
    if bits == 16:
        return raw.view(">u2" if block.swapped else "<u2")
    if bits == 8:
        return raw
    if bits == 6:  # four codes in three bytes, the first in the lowest bits
        first, second, third = raw.reshape(-1, 3).T.astype(np.uint32)
        packed = first | second << 8 | third << 16
        return np.stack([packed >> shift & 63 for shift in (0, 6, 12, 18)])
    shifts = range(0, 8, bits)
    return np.concatenate([raw >> shift & ((1 << bits) - 1) for shift in shifts])


def _measure(block: Block, *, tops: bool) -> Found:
    """Measure a block of a wide real type, or of bfloat16."""
    total, counts = NOTHING, np.zeros(_TOPS, np.int64) if tops else None
    with np.errstate(all="ignore"):
        for raw in chunks(block, None if tops else DTYPES[block.dtype].nbytes(_SHORT)):
            numbers = _numbers_of(raw, block, _widened_to)
            all_finite = True
            for start in range(0, len(numbers), _SHORT):
                moments = _moments(numbers[start : start + _SHORT])
                all_finite &= moments.finite
                total = merge(total, moments)
            if counts is not None:
                finite = numbers if all_finite else numbers[np.isfinite(numbers)]
                counts += np.bincount(_halfwords(finite)[:, -1], minlength=_TOPS)
    return Found(total, None if counts is None else sparse(counts))


def _numbers_of(raw: Raw, block: Block, kept: Kept | None = None) -> Numbers:
    """Numbers of a wide type in bytes of a block; bfloat16 as float32, in an order of its own.

    Those lie in what is `kept`, if it is given, until the next do.
    """
    if block.dtype == "bfloat16":
        return _widened(raw.view("<u2").byteswap().view(np.uint8) if block.swapped else raw, kept)
    return raw.view(f"{'>' if block.swapped else '<'}{WIDE[block.dtype]}")


def _widened(raw: Raw, kept: Kept | None) -> NDArray[np.float32]:
    """Little-endian bfloat16 as float32, two at a time: the second of each pair, then the first."""
    if raw.nbytes % 4:
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    pairs = raw.view("<u4")
    room = aligned(2 * len(pairs), np.uint32) if kept is None else kept.room(2 * len(pairs))
    bits = room.reshape(2, -1)
    np.bitwise_and(pairs, 0xFFFF0000, out=bits[0])
    np.left_shift(pairs, 16, out=bits[1])
    return bits.reshape(-1).view(np.float32)


def _moments(numbers: Numbers) -> Moments:
    """Moments of some elements."""
    low, high = numbers.min(), numbers.max()
    nan = positive = negative = 0
    if numbers.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        nan = int(np.count_nonzero(np.isnan(numbers)))
        positive = int(np.count_nonzero(numbers == np.inf))
        negative = int(np.count_nonzero(numbers == -np.inf))
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return NOTHING._replace(nan=nan, positive_inf=positive, negative_inf=negative)
        low, high = numbers.min(), numbers.max()
    zeros = minus = 0
    if low <= 0 <= high:
        is_zero = numbers == 0
        zeros = int(np.count_nonzero(is_zero))
        if zeros and numbers.dtype.kind == "f":
            minus = int(np.count_nonzero(np.signbit(numbers[is_zero])))
    n = len(numbers)
    centred = _centred_in.room(n)
    np.copyto(centred, numbers, casting="unsafe")
    low, high = low.item(), high.item()
    power = scale(low, high)
    if power:
        centred = times_two_to(centred, -power)
    mean = float(centred.sum()) / n
    about_zero, of_mean = squares(centred), n * mean * mean
    if of_mean <= about_zero / 2:
        spread = math.sqrt(about_zero - of_mean)  # loses no more than the last two bits
    else:
        centred -= mean
        spread = math.sqrt(squares(centred))
    if power:
        mean, spread = times_two_to(mean, power), times_two_to(spread, power)
    return Moments(n, mean, spread, low, high, zeros, minus, nan, positive, negative)


def _measure_complex(block: Block) -> tuple[Moments, Moments]:
    """Measure real and imaginary parts; elements with a part that is not finite count in neither.

    The counts of zeros, NaN and infinities are those of whole elements, in the first result.
    """
    real = imaginary = NOTHING
    with np.errstate(all="ignore"):
        for raw in chunks(block):
            parts = parts_of(raw, block)
            nan = np.isnan(parts).any(axis=1)
            inf = np.isinf(parts).any(axis=1) & ~nan
            finite = parts[~(nan | inf)]
            for axis in range(2):
                column = np.ascontiguousarray(finite[:, axis])
                found = _moments(column) if len(column) else NOTHING
                if axis == 0:
                    zeros = int(np.count_nonzero((finite == 0).all(axis=1)))
                    found = found._replace(
                        zeros=zeros,
                        negative_zeros=0,
                        nan=int(nan.sum()),
                        positive_inf=int(inf.sum()),
                    )
                    real = merge(real, found)
                else:
                    imaginary = merge(imaginary, found._replace(zeros=0, negative_zeros=0))
    return real, imaginary


def _refine(work: tuple[Sequence[Block], Search]) -> Refined:
    """Count the halfwords that follow one of some prefixes, the next bits of an order statistic."""
    blocks, search = work
    prefixes = np.array(search.prefixes, np.uint64)
    order = np.argsort(prefixes)
    tops = np.zeros(_TOPS, np.bool_)
    tops[prefixes >> (search.known - 16)] = True
    counts = np.zeros(len(prefixes) * _TOPS, np.int64)
    bins = None
    with np.errstate(all="ignore"):
        for block in blocks:
            for raw in chunks(block):
                numbers = _numbers_of(raw, block)
                if numbers.dtype.kind == "f" and not search.finite:
                    numbers = _all_finite(numbers)
                halves = _halfwords(numbers)
                hit = halves[np.flatnonzero(tops.take(halves[:, -1].astype(np.intp)))]
                begins = _begins(hit, search.known)
                place = np.searchsorted(prefixes, begins, sorter=order)
                index = order[np.minimum(place, len(prefixes) - 1)]
                follows = index << 16 | hit[:, -1 - search.known // 16]
                _count(follows[prefixes[index] == begins], counts)
                if search.bins:
                    found = tally(numbers, *search.bins)
                    bins = found if bins is None else bins + found
    return Refined(sparse(counts), bins)


def _count(places: NDArray[np.integer], counts: Counts) -> None:
    """Count places, without a look at all of `counts` where they are few."""
    if len(places) < len(counts) >> 3:
        np.add.at(counts, places, 1)
    else:
        counts += np.bincount(places, minlength=len(counts))


def _halfwords(numbers: Numbers) -> NDArray[np.uint16]:
    """The bits of numbers, 16 at a time, the upper ones last: (elements, halfwords of each)."""
    little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return little.view("<u2").reshape(-1, numbers.dtype.itemsize // 2)


def _begins(halves: NDArray[np.uint16], known: int) -> NDArray[np.uint64]:
    """The upper `known` bits of elements given by halfwords."""
    found = np.zeros(len(halves), np.uint64)
    for place in range(known // 16):
        found <<= np.uint64(16)
        found |= halves[:, -1 - place]
    return found


def _all_finite(numbers: Numbers) -> Numbers:
    finite = np.isfinite(numbers)
    return numbers if finite.all() else numbers[finite]


def sparse(counts: Counts) -> Sparse:
    """Leave out the zeros."""
    index = np.flatnonzero(counts)
    return Sparse(index.astype(np.uint32), counts[index])


def together(parts: Sequence[Sparse]) -> Sparse:
    """Add up the counts of several blocks."""
    if len(parts) == 1:
        return parts[0]
    size = 1 + max((int(part.which[-1]) for part in parts if len(part.which)), default=0)
    counts = np.zeros(size, np.int64)
    for part in parts:
        counts[part.which] += part.counts
    return sparse(counts)


def finite(block: Block) -> Numbers:
    """The finite elements of a block that is small enough to be held at once."""
    numbers = np.concatenate([_numbers_of(raw, block).copy() for raw in chunks(block)])
    return _all_finite(numbers) if numbers.dtype.kind == "f" else numbers


class NumpyRoom:
    """The room that needs neither torch nor a device."""

    threads = False
    count_codes = staticmethod(_count_codes)
    measure = staticmethod(_measure)
    measure_complex = staticmethod(_measure_complex)
    refine = staticmethod(_refine)
