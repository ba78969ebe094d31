"""Exact percentiles and histograms from counts: of the codes of narrow types, or of digits.

A wide tensor's percentiles are found by radix selection: the first pass counts the upper 16 bits
of its elements, and each further pass the next 16 bits of those few elements that begin as an
order statistic does, until every bit of it is known: two passes for 32 bits, four for 64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from paramcli.numeric.moments import times_two_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from paramcli.numeric.codes import Floats
    from paramcli.numeric.cpu import Counts, Numbers, Sparse

    Patterns = NDArray[np.uint64]

__all__ = [
    "BINS", "PERCENTS", "Ordered", "Search", "binning", "empty", "exact", "first_digits",
    "histogram", "middles", "narrowed", "next_digits", "of_counts", "tally",
]  # fmt: skip

Places = TypeVar("Places")

PERCENTS = (1, 5, 25, 50, 75, 95, 99)
BINS = 40


class Search(NamedTuple):
    """What a further pass looks for: elements whose upper `known` bits are one of `prefixes`.

    `below` says how many of `total` elements lie below those of each prefix. `bins` are the ends
    of a histogram to be counted on the way, and `finite` tells that there is nothing to leave out.
    """

    dtype: str
    known: int
    prefixes: tuple[int, ...]
    below: tuple[int, ...]
    total: int
    bins: tuple[float, float] | None = None
    finite: bool = False


class Ordered(NamedTuple):
    """Beginnings of some of `total` elements in the order of their numbers.

    `below` and `upto` say how many of all elements lie below, and up to, each.
    """

    patterns: Patterns
    below: Counts
    upto: Counts
    total: int

    def holding(self, dtype: str, known: int) -> Search:
        """Say in which of them the percentiles lie."""
        places = np.unique(np.searchsorted(self.upto, _ranks(self.total), side="right"))
        prefixes, below = self.patterns[places].tolist(), self.below[places].tolist()
        return Search(dtype, known, tuple(prefixes), tuple(below), self.total)


def first_digits(found: Sparse, dtype: str) -> Ordered:
    """Put counted upper halfwords in the order of their numbers."""
    patterns, kind = found.which.astype(np.uint64), np.dtype(dtype).kind
    if kind == "u":
        keys = patterns
    elif kind == "i":
        keys = patterns ^ np.uint64(0x8000)
    else:  # among negative floats the larger pattern is the smaller number
        keys = np.where(patterns & 0x8000, patterns ^ 0xFFFF, patterns | 0x8000)
    order = np.argsort(keys)
    counts = found.counts[order]
    upto = np.cumsum(counts)
    return Ordered(patterns[order], upto - counts, upto, int(upto[-1]))


def next_digits(search: Search, found: Sparse) -> Ordered:
    """Lengthen the prefixes by what was found to follow them, as `cpu.refine` counts it."""
    patterns: list[Patterns] = []
    below: list[Counts] = []
    upto: list[Counts] = []
    for index, (prefix, before) in enumerate(zip(search.prefixes, search.below, strict=True)):
        start, end = np.searchsorted(found.which, (index << 16, (index + 1) << 16))
        digits, counts = found.which[start:end] & 0xFFFF, found.counts[start:end]
        if np.dtype(search.dtype).kind == "f" and prefix >> (search.known - 1):
            digits, counts = digits[::-1], counts[::-1]
        patterns.append(digits.astype(np.uint64) | np.uint64(prefix << 16))
        upto.append(before + np.cumsum(counts))
        below.append(upto[-1] - counts)
    joined = np.concatenate(patterns), np.concatenate(below), np.concatenate(upto)
    return Ordered(*joined, search.total)


def narrowed(ordered: Ordered, dtype: str) -> dict[str, float | None]:
    """Percentiles, once every bit of the elements is known."""
    kind = np.dtype(dtype)
    numbers = ordered.patterns.astype(f"u{kind.itemsize}").view(kind).astype(np.float64)
    return _of_ordered(numbers, ordered.upto, ordered.total)


def of_counts(numbers: Floats, counts: Counts) -> dict[str, float | None]:
    """Percentiles of a set given as numbers in rising order and how often each occurs."""
    upto = np.cumsum(counts)
    return _of_ordered(numbers, upto, int(upto[-1])) if len(upto) else empty()


def _of_ordered(numbers: Floats, upto: Counts, total: int) -> dict[str, float | None]:
    def statistic(rank: int) -> float:
        return float(numbers[np.searchsorted(upto, rank, side="right")])

    return _percentiles(statistic, total)


def exact(numbers: Numbers) -> dict[str, float | None]:
    """Percentiles of numbers that fit into memory at once."""
    total = len(numbers)
    if not total:
        return empty()
    parted = np.partition(numbers, _ranks(total))
    return _percentiles(lambda rank: float(parted[rank]), total)


def empty() -> dict[str, float | None]:
    """Percentiles of nothing."""
    return dict.fromkeys(map(str, PERCENTS))


def _ranks(total: int) -> list[int]:
    """Ranks of the elements that percentiles lie between."""
    ranks = {int(percent / 100 * (total - 1)) for percent in PERCENTS}
    return sorted(ranks | {min(rank + 1, total - 1) for rank in ranks})


def _percentiles(statistic: Callable[[int], float], total: int) -> dict[str, float | None]:
    """Interpolate between neighbours as `numpy.percentile` does by default."""
    found: dict[str, float | None] = {}
    for percent in PERCENTS:
        place = percent / 100 * (total - 1)
        rank = int(place)
        low, high = statistic(rank), statistic(min(rank + 1, total - 1))
        part, width = place - rank, high - low
        if not math.isfinite(width):
            found[str(percent)] = low * (1 - part) + high * part
        else:
            found[str(percent)] = low + width * part
    return found


def histogram(numbers: Numbers, counts: Counts, low: float, high: float) -> tuple[int, ...]:
    """Counts in equal bins from `low` to `high`; one bin where all numbers are the same."""
    if not len(numbers):
        return ()
    return tuple(tally(numbers, low, high, counts).tolist()) if high > low else (int(counts.sum()),)


def tally(numbers: Numbers, low: float, high: float, counts: Counts | None = None) -> Counts:
    """Count numbers from `low` to `high` in equal bins, each as often as `counts` says."""
    places, start, width = binning(numbers.astype(np.float64), low, high)
    bins = ((places - start) * width).clip(0, BINS - 1).astype(np.int64)
    if counts is None:
        return np.bincount(bins, minlength=BINS)
    total = np.zeros(BINS, np.int64)
    np.add.at(total, bins, counts)
    return total


def binning(places: Places, low: float, high: float) -> tuple[Places, float, float]:
    """Numbers of either room, the least of them, and how many bins a unit is, all finite."""
    start, end = float(low), float(high)
    exponent = math.frexp(max(abs(start), abs(end)))[1]
    if abs(exponent) > 1000:  # the width of the range, or of a bin, might be no number
        places = times_two_to(places, -exponent)
        start, end = times_two_to(start, -exponent), times_two_to(end, -exponent)
    return places, start, BINS / (end - start) if end > start else 0.0


def middles(tops: Sparse, low: float, high: float) -> tuple[int, ...] | None:
    """A histogram from the upper halves of float32 numbers, each taken for the middle of its range.

    None where a bin is not well wider than such a range, seven bits of a number, can be.
    """
    if high - low < 0.625 * max(abs(low), abs(high)):
        return None
    numbers = (tops.which.astype(np.uint32) << 16 | 0x8000).view(np.float32)
    return histogram(np.clip(numbers.astype(np.float64), low, high), tops.counts, low, high)
