"""Computed bytes: workers draw them, and each does on the spot what is to be done with a piece.

So nothing large goes from one process to another. What is done must not depend on the order of
the pieces, nor on how many workers there are; what it gives comes back in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from paramcli import ranks
from paramcli.save.output import PIECE
from paramcli.workers import spread, worth

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from paramcli.save.contents import Stretch
    from paramcli.tensors import Storage

    Draw = Callable[[Storage, int, memoryview], None]

__all__ = ["Drawn", "drawn"]

Result = TypeVar("Result")

_SMALL_WORK = 1 << 24
"""Bytes below which starting workers would take longer than the work."""
_JOB = 16 * PIECE
"""Most bytes of a job, but for a last piece."""
_MANY = 1 << 10
"""Most pieces of a job."""
_ROUNDS = 4
"""Jobs of a worker, at least, where there is as much to do."""


class Drawn(NamedTuple):
    """A piece: of which stretch, by its number, and which bytes of it."""

    stretch: int
    start: int
    nbytes: int


def drawn(
    draw: Draw,
    stretches: Sequence[Stretch],
    use: Callable[[Drawn, memoryview], Result],
    workers: int | None = None,
    *,
    whole: Collection[Storage] = (),
) -> Iterator[tuple[Drawn, Result]]:
    """Draw stretches of computed storages piece by piece; yield what `use` makes of each.

    All pieces of a stretch of a `whole` storage are one worker's. A piece is valid within `use`
    alone. Raises what `draw` and `use` raise, and ParamcliError where a worker is killed.
    """
    total = sum(item.nbytes for item in stretches)
    if workers is None:
        workers = worth(total, len(stretches), _SMALL_WORK)
    # Every rank must cut alike, whatever its machine.
    hands = workers if ranks.size() == 1 else ranks.size() * _ROUNDS
    jobs = list(_jobs(stretches, min(_JOB, total // (hands * _ROUNDS)), whole))

    def work(job: Sequence[Drawn]) -> list[Result]:
        buffer = memoryview(bytearray(max(piece.nbytes for piece in job)))
        found = []
        for piece in job:
            item, content = stretches[piece.stretch], buffer[: piece.nbytes]
            draw(item.storage, item.start + piece.start, content)
            found.append(use(piece, content))
        return found

    def cost(job: Sequence[Drawn]) -> int:
        return sum(piece.nbytes for piece in job)

    for job, found in zip(jobs, spread(work, jobs, workers, cost), strict=True):
        yield from zip(job, found, strict=True)


def _jobs(
    stretches: Sequence[Stretch], size: int, whole: Collection[Storage]
) -> Iterator[list[Drawn]]:
    """Cut stretches into pieces, and put so many of these together that they make `size` bytes."""
    job: list[Drawn] = []
    nbytes = 0
    for number, item in enumerate(stretches):
        together = item.storage in whole
        for start in range(0, item.nbytes, PIECE):
            job.append(Drawn(number, start, min(PIECE, item.nbytes - start)))
            nbytes += job[-1].nbytes
            if not together and (nbytes >= size or len(job) == _MANY):
                yield job
                job, nbytes = [], 0
        if together and job:
            yield job
            job, nbytes = [], 0
    if job:
        yield job
