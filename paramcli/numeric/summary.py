"""Statistics of many tensors: cut into blocks, measured by workers, merged in order."""

from __future__ import annotations

import math
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from paramcli.numeric import cpu, quantiles
from paramcli.numeric.blocks import CHUNK, gathered, placed
from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values
from paramcli.numeric.moments import NOTHING, Moments, merge
from paramcli.numeric.workers import available, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint, TensorInfo
    from paramcli.numeric.blocks import Block
    from paramcli.numeric.cpu import Found, Sparse

    Percentiles = Mapping[str, float | None]

__all__ = ["Summary", "measurable", "summarize"]

SMALL_WORK = 1 << 25
"""Bytes below which starting workers would take longer than the work."""


class Summary(NamedTuple):
    """What was measured of one tensor: `real` alone, or with the `imaginary` part of a complex one.

    `percentiles` and `histogram` are those of the finite elements; `error` is how far off a
    percentile can be, relative to itself, and `method` how it was found.
    """

    real: Moments
    imaginary: Moments | None = None
    percentiles: Percentiles | None = None
    method: str = "none"
    error: float = 0.0
    histogram: tuple[int, ...] = ()


class Room(Protocol):
    """Where numbers are computed: the questions asked of a block (see `cpu`)."""

    def count_codes(self, block: Block) -> Sparse: ...
    def measure(self, block: Block, *, prefixes: bool) -> Found: ...
    def measure_complex(self, block: Block) -> tuple[Moments, Moments]: ...
    def refine(self, work: tuple[Sequence[Block], Sequence[int]]) -> Sparse: ...


class _Pending(NamedTuple):
    """A wide tensor whose percentiles want a second pass."""

    moments: Moments
    prefixes: Sparse


def measurable(info: TensorInfo) -> bool:
    """Whether the elements of a tensor are numbers that can be measured."""
    name = info.dtype.name
    counted = name in CODED or name in WIDE or name in COMPLEX
    return counted and info.layout in ("strided", "quantized")


def summarize(  # noqa: PLR0913 - how to compute, each apart
    checkpoint: Checkpoint,
    infos: Sequence[TensorInfo],
    *,
    percentiles: bool = True,
    workers: int | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Summary]:
    """Measure measurable tensors; `progress` is told the bytes as they are done.

    The result does not depend on the number of workers. On another `device` than "cpu" torch
    computes, one block after another. Raises SourceError where a target holds
    no bytes, or a file shrinks.
    """
    room: Room = cpu.NumpyRoom()
    if device != "cpu":
        from paramcli.numeric.gpu import open_device

        room, workers = open_device(device), 1
    plans = [placed(checkpoint, info) for info in infos]
    jobs = [(block, percentiles) for plan in plans for block in plan or ()]
    if workers is None:
        workers = available() if sum(job[0].nbytes for job in jobs) > SMALL_WORK else 1
    results = spread(partial(_measure, room), jobs, workers)
    summaries: list[Summary] = []
    for info, plan in zip(infos, plans, strict=True):
        blocks = gathered(checkpoint, info) if plan is None else plan
        if plan is None:
            found = [_measure(room, (block, percentiles)) for block in blocks]
        else:
            found = list(islice(results, len(plan)))
        first = _finish(info.dtype.name, found, percentiles=percentiles)
        if isinstance(first, _Pending):
            first = _refined(room, first, blocks, workers)
        summaries.append(first)
        if progress is not None:
            progress(info.nbytes)
    return summaries


def _measure(room: Room, job: tuple[Block, bool]) -> object:
    """What a worker does with a block. Whole tensors of one chunk get their percentiles at once."""
    block, percentiles = job
    if block.dtype in CODED:
        return room.count_codes(block)
    if block.dtype in COMPLEX:
        return room.measure_complex(block)
    first = room.measure(block, prefixes=percentiles and block.nbytes > CHUNK)
    if not block.whole or not percentiles or not first.moments.n:
        return first
    if first.prefixes is not None:
        return _refined(room, _Pending(first.moments, first.prefixes), [block], 1)
    numbers = cpu.finite(block).astype(np.float64)
    bins = quantiles.histogram(numbers, np.ones(len(numbers)), first.moments.min, first.moments.max)
    return Summary(first.moments, None, quantiles.exact(numbers), "exact", 0.0, bins)


def _finish(dtype: str, found: list[Any], *, percentiles: bool) -> Summary | _Pending:
    if not found:
        return Summary(NOTHING)
    if isinstance(found[0], Summary):
        return found[0]
    if dtype in CODED:
        return _of_codes(dtype, cpu.together(found), percentiles=percentiles)
    if dtype in COMPLEX:
        real, imaginary = zip(*found, strict=True)
        return Summary(_all(real), _all(imaginary))
    parts: list[Found] = found
    moments = _all(part.moments for part in parts)
    prefixes = [part.prefixes for part in parts if part.prefixes]
    if not prefixes or not moments.n:
        return Summary(moments)
    return _Pending(moments, cpu.together(prefixes))


def _all(parts: Iterable[Moments]) -> Moments:
    total = NOTHING
    for part in parts:
        total = merge(total, part)
    return total


def _of_codes(dtype: str, found: Sparse, *, percentiles: bool) -> Summary:
    """Everything that can be asked of a narrow type follows from how often each code occurs."""
    numbers, counts = values(dtype)[found.which], found.counts
    order = np.argsort(numbers, kind="stable")
    numbers, counts = numbers[order], counts[order]
    is_finite = np.isfinite(numbers)
    special = [
        int(counts[mask].sum())
        for mask in (np.isnan(numbers), numbers == np.inf, numbers == -np.inf)
    ]
    numbers, counts = numbers[is_finite], counts[is_finite]
    n = int(counts.sum())
    if not n:
        return Summary(NOTHING._replace(
            nan=special[0], positive_inf=special[1], negative_inf=special[2]
        ))  # fmt: skip
    mean = math.fsum(numbers * counts) / n
    m2 = math.fsum(counts * (numbers - mean) ** 2)
    zero = numbers == 0
    moments = Moments(
        n, mean, m2, float(numbers[0]), float(numbers[-1]), int(counts[zero].sum()),
        int(counts[zero & np.signbit(numbers)].sum()), *special,
    )  # fmt: skip
    if not percentiles:
        return Summary(moments)
    bins = quantiles.histogram(numbers, counts, moments.min, moments.max)
    return Summary(moments, None, quantiles.of_counts(numbers, counts), "exact", 0.0, bins)


def _refined(room: Room, first: _Pending, blocks: list[Block], workers: int) -> Summary:
    """Find the percentiles of a wide tensor by a second pass over its blocks."""
    moments, prefixes = first
    wanted = quantiles.targets(*prefixes)
    shares = [
        (blocks[start::workers], wanted.prefixes) for start in range(min(workers, len(blocks)))
    ]
    lower = cpu.together(list(spread(room.refine, shares, workers)))
    percentiles = quantiles.from_refined(wanted, lower, moments.n)
    bins = quantiles.histogram(
        quantiles.prefix_numbers(prefixes.which), prefixes.counts, moments.min, moments.max
    )
    if blocks[0].dtype == "float32":
        return Summary(moments, None, percentiles, "exact", 0.0, bins)
    return Summary(moments, None, percentiles, "float32", quantiles.FLOAT32_ERROR, bins)
