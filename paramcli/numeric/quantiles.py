"""Percentiles and histograms from counts: of the codes of narrow types, or of float32 prefixes.

A wide tensor's percentiles are found by radix selection: one pass counts the upper halves of its
numbers as float32, a second the lower halves of those few upper halves in which a percentile
lies. That is exact for float32; for float64 and wide integers it is right to float32's rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from paramcli.numeric.codes import Floats
    from paramcli.numeric.cpu import Counts, Sparse

__all__ = [
    "FLOAT32_ERROR", "PERCENTS", "Targets", "exact", "from_refined", "histogram", "of_counts",
    "prefix_numbers", "targets",
]  # fmt: skip

PERCENTS = (1, 5, 25, 50, 75, 95, 99)
BINS = 40
FLOAT32_ERROR = 2.0**-24


class Targets(NamedTuple):
    """The prefixes in which wanted order statistics lie, and their ranks within each."""

    prefixes: tuple[int, ...]
    below: tuple[int, ...]
    """How many numbers lie below each of those prefixes."""


def of_counts(numbers: Floats, counts: Counts) -> dict[str, float | None]:
    """Percentiles of a set given as numbers in rising order and how often each occurs.

    They are interpolated between neighbours as `numpy.percentile` does by default.
    """
    total = int(counts.sum())
    if not total:
        return {str(percent): None for percent in PERCENTS}
    return _percentiles(numbers, np.cumsum(counts), total)


def _percentiles(numbers: Floats, upto: Counts, total: int) -> dict[str, float | None]:
    """Percentiles from rising numbers and how many there are up to each, in a set of `total`."""

    def statistic(rank: int) -> float:
        return float(numbers[np.searchsorted(upto, rank, side="right")])

    return {str(percent): _between(statistic, percent, total) for percent in PERCENTS}


def _between(statistic: Callable[[int], float], percent: int, total: int) -> float:
    place = percent / 100 * (total - 1)
    rank = int(place)
    low = statistic(rank)
    high = statistic(min(rank + 1, total - 1))
    return low if low == high else low + (high - low) * (place - rank)


def _rising(prefixes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Indices that put raw prefixes in the order of the numbers: negative ones run backwards."""
    keys = np.where(prefixes & 0x8000, prefixes ^ 0xFFFF, prefixes | 0x8000)
    return np.argsort(keys)


def prefix_numbers(prefixes: NDArray[np.uint32]) -> Floats:
    """The number in the middle of each prefix's range."""
    return (prefixes.astype(np.uint32) << 16 | 0x8000).view(np.float32).astype(np.float64)


def targets(prefixes: NDArray[np.uint32], counts: Counts) -> Targets:
    """Find in which prefixes the percentiles lie."""
    order = _rising(prefixes)
    upto = np.cumsum(counts[order])
    total = int(upto[-1])
    ranks = {int(percent / 100 * (total - 1)) for percent in PERCENTS}
    ranks |= {min(rank + 1, total - 1) for rank in ranks}
    places = sorted({int(np.searchsorted(upto, rank, side="right")) for rank in ranks})
    below = tuple(int(upto[place] - counts[order[place]]) for place in places)
    return Targets(tuple(int(prefixes[order[place]]) for place in places), below)


def from_refined(wanted: Targets, lower: Sparse, total: int) -> dict[str, float | None]:
    """Percentiles from the counts of lower halves, as `cpu.refine` gives them."""
    numbers: list[Floats] = []
    upto: list[Counts] = []
    for index, (prefix, below) in enumerate(zip(*wanted, strict=True)):
        first, last = np.searchsorted(lower.which, (index << 16, (index + 1) << 16))
        order = slice(first, last)
        halves, counts = lower.which[order] & 0xFFFF, lower.counts[order]
        if prefix & 0x8000:  # among negative numbers the larger half is the smaller number
            halves, counts = halves[::-1], counts[::-1]
        floats = (np.uint32(prefix << 16) | halves).view(np.float32)
        numbers.append(floats.astype(np.float64))
        upto.append(below + np.cumsum(counts))
    return _percentiles(np.concatenate(numbers), np.concatenate(upto), total)


def histogram(numbers: Floats, counts: NDArray[Any], low: float, high: float) -> tuple[int, ...]:
    """Counts in equal bins from `low` to `high`; one bin where all numbers are the same."""
    if not len(numbers):
        return ()
    if not high > low:
        return (int(counts.sum()),)
    found, _ = np.histogram(np.clip(numbers, low, high), BINS, (low, high), weights=counts)
    return tuple(round(count) for count in found.tolist())


def exact(numbers: Sequence[float] | NDArray[np.generic]) -> dict[str, float | None]:
    """Percentiles of numbers that fit into memory at once."""
    array = np.asarray(numbers, np.float64)
    if not len(array):
        return {str(percent): None for percent in PERCENTS}
    found = np.percentile(array, PERCENTS)
    return {str(percent): float(value) for percent, value in zip(PERCENTS, found, strict=True)}
