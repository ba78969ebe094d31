"""Statistics of many tensors: cut into blocks, measured by workers, merged in order."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from paramcli import ranks
from paramcli.numeric import cpu, quantiles
from paramcli.numeric.blocks import CHUNK, Block, gathered, placed
from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values
from paramcli.numeric.gather import in_storage_order
from paramcli.numeric.moments import NOTHING, Moments, merge
from paramcli.workers import spread, worth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.cpu import Found, Refined, Sparse
    from paramcli.numeric.quantiles import Search
    from paramcli.tensors import TensorInfo

    Percentiles = Mapping[str, float | None]

__all__ = ["Summary", "measurable", "measure_piece", "of_pieces", "summarize"]

SMALL_WORK = 1 << 25
"""Bytes below which starting workers would take longer than the work."""


class Summary(NamedTuple):
    """What was measured of one tensor: `real` alone, or with the `imaginary` part of a complex one.

    `percentiles` and `histogram` are those of the finite elements, None and empty where they were
    not asked for, or there are none.
    """

    real: Moments
    imaginary: Moments | None = None
    percentiles: Percentiles | None = None
    histogram: tuple[int, ...] = ()


class Room(Protocol):
    """Where numbers are computed: the questions asked of a block (see `cpu`).

    `threads` says that several threads should ask, and not processes.
    """

    threads: bool

    def count_codes(self, block: Block) -> Sparse: ...
    def measure(self, block: Block, *, tops: bool) -> Found: ...
    def measure_complex(self, block: Block) -> tuple[Moments, Moments]: ...
    def refine(self, work: tuple[Sequence[Block], Search]) -> Refined: ...


class _Pending(NamedTuple):
    """A wide tensor whose percentiles want further passes."""

    moments: Moments
    tops: Sparse


def measurable(info: TensorInfo) -> bool:
    """Whether the elements of a tensor are numbers that can be measured."""
    name = info.dtype.name
    counted = name in CODED or name in WIDE or name in COMPLEX
    if info.numel * info.dtype.bits % 8:
        return False  # the last byte has bits that are no element
    return counted and info.layout in ("strided", "quantized")


def summarize(  # noqa: PLR0913 - how to compute, each apart
    checkpoint: Checkpoint,
    infos: Sequence[TensorInfo],
    *,
    percentiles: bool = True,
    workers: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[Summary]:
    """Measure measurable tensors; `progress` is told bytes as they are done, and all there are.

    Those of a large tensor count as often as it is passed over. The result does not depend on the
    number of workers. On another `device` than "cpu" torch computes, for threads that read.
    Raises SourceError where a target holds no bytes, or a file shrinks.
    """
    room: Room = cpu.NumpyRoom()
    if device != "cpu":
        from paramcli.numeric.device import readers
        from paramcli.numeric.gpu import open_device

        room = open_device(device)
        workers = readers()
    plans = [_blocks(checkpoint, info) for info in infos]
    jobs = [(block, percentiles) for plan in plans for block in plan]
    if workers is None:
        workers = worth(sum(job[0].nbytes for job in jobs), len(jobs), SMALL_WORK)
    measure = partial(_measure, room)
    results = spread(measure, jobs, workers, lambda job: job[0].nbytes, threads=room.threads)
    more = [_further(blocks) if percentiles else 0 for blocks in plans]
    total = sum(info.nbytes * (1 + passes) for info, passes in zip(infos, more, strict=True))

    def done(nbytes: int) -> None:
        if progress is not None:
            progress(nbytes, total)

    summaries: list[Summary] = []
    for info, blocks, passes in zip(infos, plans, more, strict=True):
        found = []
        for block, part in zip(blocks, results, strict=False):
            found.append(part)
            done(block.nbytes)
        first = _finish(info.dtype.name, found, percentiles=percentiles)
        if isinstance(first, _Pending):
            first = _refined(room, first, blocks, workers, done)
        elif passes:  # which it turned out not to need
            done(info.nbytes * passes)
        summaries.append(first)
    return summaries


def _further(blocks: Sequence[Block]) -> int:
    """How often a tensor of several blocks is passed over again for its percentiles."""
    wide = WIDE.get(blocks[0].dtype) if len(blocks) > 1 else None
    return len(_passes(wide)) if wide else 0


def _passes(wide: str) -> range:
    """How many bits of a number are known before each further pass: 16 after the first."""
    return range(16, np.dtype(wide).itemsize * 8, 16)


def _blocks(checkpoint: Checkpoint, info: TensorInfo) -> list[Block]:
    """Cut a tensor into blocks, in the order in which its elements lie: statistics have none."""
    blocks = placed(checkpoint, info)
    return gathered(checkpoint, in_storage_order(info)) if blocks is None else blocks


def measure_piece(dtype: str, piece: memoryview) -> object:
    """Measure whole elements that are in memory, moments alone: a part for `of_pieces`."""
    block = Block("", 0, len(piece), dtype, swapped=False, whole=False, data=piece)
    return _measure(cpu.NumpyRoom(), (block, False))


def of_pieces(dtype: str, parts: Sequence[Any]) -> Summary:
    """Put together what was measured of the pieces of a tensor, in their order."""
    return _finish(dtype, list(parts), percentiles=False)  # type: ignore[return-value]


def _measure(room: Room, job: tuple[Block, bool]) -> object:
    """What a worker does with a block. Whole tensors of one chunk get their percentiles at once."""
    block, percentiles = job
    if block.dtype in CODED and (percentiles or block.dtype != "bfloat16"):
        return room.count_codes(block)
    if block.dtype in COMPLEX:
        return room.measure_complex(block)
    at_once = block.whole and block.nbytes <= CHUNK
    first = room.measure(block, tops=percentiles and not at_once)
    if not block.whole or not percentiles or not first.moments.n:
        return first
    if first.tops is not None:
        return _refined(room, _Pending(first.moments, first.tops), [block], 1)
    numbers, low, high = cpu.finite(block), first.moments.min, first.moments.max
    bins = quantiles.histogram(numbers, np.ones(len(numbers), np.int64), low, high)
    return Summary(first.moments, None, quantiles.exact(numbers), bins)


def _finish(dtype: str, found: list[Any], *, percentiles: bool) -> Summary | _Pending:
    if not found:
        return Summary(NOTHING)
    if isinstance(found[0], Summary):
        return found[0]
    if isinstance(found[0], cpu.Sparse):
        return _of_codes(dtype, cpu.together(found), percentiles=percentiles)
    if dtype in COMPLEX:
        real, imaginary = zip(*found, strict=True)
        return Summary(_all(real), _all(imaginary))
    parts: list[Found] = found
    moments = _all(part.moments for part in parts)
    tops = [part.tops for part in parts if part.tops]
    return _Pending(moments, cpu.together(tops)) if tops and moments.n else Summary(moments)


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
    spread = math.sqrt(math.fsum(counts * (numbers - mean) ** 2))
    zero = numbers == 0
    moments = Moments(
        n, mean, spread, float(numbers[0]), float(numbers[-1]), int(counts[zero].sum()),
        int(counts[zero & np.signbit(numbers)].sum()), *special,
    )  # fmt: skip
    if not percentiles:
        return Summary(moments)
    bins = quantiles.histogram(numbers, counts, moments.min, moments.max)
    return Summary(moments, None, quantiles.of_counts(numbers, counts), bins)


def _refined(
    room: Room,
    first: _Pending,
    blocks: list[Block],
    workers: int,
    done: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Find the percentiles of a wide tensor by further passes over its blocks."""
    moments, tops = first
    dtype = WIDE[blocks[0].dtype]
    bins = quantiles.middles(tops, moments.min, moments.max) if dtype == "f4" else None
    if moments.min == moments.max:
        bins = (moments.n,)
    ends = None if bins else (moments.min, moments.max)
    count = len(blocks) if ranks.size() > 1 else min(workers, len(blocks))
    shares = [blocks[start::count] for start in range(count)]
    ordered = quantiles.first_digits(tops, dtype)
    for known in _passes(dtype):
        search = ordered.holding(dtype, known)._replace(bins=ends, finite=moments.finite)
        found = []
        works = [(share, search) for share in shares]
        parts = spread(room.refine, works, workers, threads=room.threads)
        for share, part in zip(shares, parts, strict=True):
            found.append(part)
            done(sum(block.nbytes for block in share))
        ordered = quantiles.next_digits(search, cpu.together([part.digits for part in found]))
        if ends:
            columns = zip(*(part.bins for part in found if part.bins is not None), strict=True)
            bins, ends = tuple(int(sum(column)) for column in columns), None
    return Summary(moments, None, quantiles.narrowed(ordered, dtype), bins or ())
