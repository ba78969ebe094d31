"""How far many pairs of tensors lie apart: cut alike, compared by workers, merged in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from paramcli.numeric.blocks import gathered, placed
from paramcli.numeric.change import NO_CHANGE, merge
from paramcli.numeric.codes import CODED, COMPLEX
from paramcli.numeric.pairs import CHUNK, NumpyPairs, PairOfBlocks
from paramcli.numeric.summary import measurable
from paramcli.workers import spread, worth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.change import Change, Tolerance
    from paramcli.tensors import TensorInfo

__all__ = ["comparable", "compare", "differ"]

BLOCK = 256 * CHUNK
"""Elements of a pair of blocks: the unit of work, whatever the number of workers."""
_SMALL_WORK = 1 << 25


class Room(Protocol):
    """Where pairs are compared: NumPy, or torch on a device, which several threads ask."""

    threads: bool

    def compare(self, pair: PairOfBlocks, tolerance: Tolerance | None) -> Change: ...


def comparable(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether the elements of two tensors of one shape are numbers that can be compared."""
    if not (measurable(one) and measurable(other)):
        return False
    first, second = one.dtype.name, other.dtype.name
    if first == second:
        return True
    packed = min(CODED.get(first, 8), CODED.get(second, 8)) < 8
    return not packed and (first in COMPLEX) == (second in COMPLEX)


def compare(  # noqa: PLR0913 - both sides, and how to compute
    a: Checkpoint,
    b: Checkpoint,
    pairs: Sequence[tuple[TensorInfo, TensorInfo]],
    *,
    tolerance: Tolerance | None = None,
    workers: int | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Change]:
    """Compare pairs of comparable tensors of one shape; `progress` is told bytes as they are done.

    The result does not depend on the number of workers. Raises SourceError where a side holds no
    bytes, or a file shrinks.
    """
    room: Room = NumpyPairs()
    if device != "cpu":
        from paramcli.numeric.device import readers
        from paramcli.numeric.gpu_pairs import open_pairs

        room, workers = open_pairs(device), readers()
    work = partial(_compare, room, tolerance)
    plans = [_cut(a, one, b, other) for one, other in pairs]
    jobs = [pair for plan in plans for pair in plan]
    if workers is None:
        total = sum(pair.a.nbytes + pair.b.nbytes for pair in jobs)
        workers = worth(total, len(jobs), _SMALL_WORK)
    results = spread(
        work, jobs, workers, lambda pair: pair.a.nbytes + pair.b.nbytes, threads=room.threads
    )
    found = []
    for plan in plans:
        total_change = NO_CHANGE
        for pair, part in zip(plan, results, strict=False):
            total_change = merge(total_change, part)
            if progress is not None:
                progress(pair.a.nbytes)
        found.append(total_change)
    return found


def differ(
    a: Checkpoint,
    b: Checkpoint,
    pairs: Sequence[tuple[TensorInfo, TensorInfo]],
    tolerance: Tolerance | None,
) -> Iterator[bool]:
    """Whether comparable tensors of one shape differ: each is read up to the first difference."""
    room = NumpyPairs()
    for one, other in pairs:
        yield any(room.differs(block, tolerance) for block in _cut(a, one, b, other))


def _cut(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> list[PairOfBlocks]:
    """Cut both tensors alike, where they lie if they lie alike."""
    first, second = None, None
    if one.stride == other.stride or (one.contiguous and other.contiguous):
        first = placed(a, one, one.dtype.nbytes(BLOCK))
        second = placed(b, other, other.dtype.nbytes(BLOCK))
    if first is None or second is None:
        first = gathered(a, one, one.dtype.nbytes(BLOCK))
        second = gathered(b, other, other.dtype.nbytes(BLOCK))
    return [PairOfBlocks(*pair) for pair in zip(first, second, strict=True)]


def _compare(room: Room, tolerance: Tolerance | None, pair: PairOfBlocks) -> Change:
    return room.compare(pair, tolerance)
