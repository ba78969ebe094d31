"""Computed bytes: forked workers draw them into shared memory, ahead of the one who writes.

Each worker takes every n-th job and has a few slots of its own, so that memory is bounded and jobs
come out in order without a queue. A worker that fails only stops: the one who writes then does its
jobs himself and meets the same error, or none. So bytes never depend on how many workers there are.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from paramcli.numeric.workers import available
from paramcli.save.output import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paramcli.checkpoint import Storage
    from paramcli.save.contents import Stretch

    Draw = Callable[[Storage, int, memoryview], None]

__all__ = ["Drawing"]

_SLOTS = 3
_MOST_WORKERS = 16  # as many as one writer can keep up with, and 48 MiB of slots
_ALIGNMENT = 64  # of every part in a slot and, but for its end, in its storage


class _Part(NamedTuple):
    storage: Storage
    offset: int
    nbytes: int
    at: int
    """Where it lies in the slot."""


class _Worker(NamedTuple):
    process: int
    ready: int
    """Gives a byte for each slot that has been filled; ends when the worker does."""
    free: int
    """Takes a byte for each slot that may be filled again."""


class Drawing:
    """The bytes of stretches of computed storages, in their order. It must be closed."""

    def __init__(
        self, draw: Draw, stretches: Sequence[Stretch], workers: int | None = None
    ) -> None:
        self._draw = draw
        self._stretches = stretches
        jobs = sum(item.nbytes for item in stretches) // PIECE
        count = min(workers or available(), _MOST_WORKERS, jobs)
        self._workers: list[_Worker | None] = []
        self._own = memoryview(bytearray(PIECE))
        if count > 1 and hasattr(os, "fork"):
            self._slots = memoryview(mmap.mmap(-1, count * _SLOTS * PIECE))
            try:
                for _ in range(count):
                    self._workers.append(self._fork(count))
            except BaseException:
                self.close()
                raise
        self._parts = self._drawn()

    def pieces(self, item: Stretch) -> Iterator[memoryview]:
        """Yield the bytes of the next stretch, each piece valid until the next is asked for."""
        left = item.nbytes
        while left:
            piece = next(self._parts)
            yield piece
            left -= len(piece)

    def close(self) -> None:
        """End the workers, whatever they are at. They hold nothing that needs cleaning."""
        for worker in filter(None, self._workers):
            os.close(worker.free)
            os.close(worker.ready)
            with contextlib.suppress(OSError):
                os.kill(worker.process, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(worker.process, 0)
        self._workers.clear()

    def _drawn(self) -> Iterator[memoryview]:
        for number, job in enumerate(_jobs(self._stretches)):
            turn, place = divmod(number, len(self._workers) or 1)
            worker = self._workers[place] if self._workers else None
            if worker is not None and os.read(worker.ready, 1):
                slot = self._slot(place, turn)
                yield from _cut(slot, job)
                with contextlib.suppress(OSError):  # it may have ended with its last job
                    os.write(worker.free, b"f")
            else:
                for part in job:
                    self._draw(part.storage, part.offset, self._own[: part.nbytes])
                    yield self._own[: part.nbytes]

    def _slot(self, place: int, turn: int) -> memoryview:
        start = (place * _SLOTS + turn % _SLOTS) * PIECE
        return self._slots[start : start + PIECE]

    def _fork(self, count: int) -> _Worker:
        place = len(self._workers)
        ready, filled = os.pipe()
        freed, free = os.pipe()
        process = os.fork()
        if not process:
            self._work(place, count, filled, freed, (ready, free))
        os.close(filled)
        os.close(freed)
        return _Worker(process, ready, free)

    def _work(
        self, place: int, count: int, filled: int, freed: int, others: tuple[int, ...]
    ) -> NoReturn:
        """Be a worker: fill slots until there are no more jobs, or nobody wants them."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the writer ends it
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # Ends of pipes that stay open here would hide the writer's death.
            for worker in filter(None, self._workers):
                others += (worker.ready, worker.free)
            for descriptor in others:
                os.close(descriptor)
            for number, job in enumerate(_jobs(self._stretches)):
                turn, owner = divmod(number, count)
                if owner != place:
                    continue
                if turn >= _SLOTS and not os.read(freed, 1):
                    break
                slot = self._slot(place, turn)
                for part, piece in zip(job, _cut(slot, job), strict=True):
                    self._draw(part.storage, part.offset, piece)
                os.write(filled, b"r")
        finally:
            os._exit(0)


def _cut(slot: memoryview, job: list[_Part]) -> Iterator[memoryview]:
    for part in job:
        yield slot[part.at : part.at + part.nbytes]


def _jobs(stretches: Sequence[Stretch]) -> Iterator[list[_Part]]:
    """Yield parts that fill a slot together, over and over."""
    job: list[_Part] = []
    room = PIECE
    for item in stretches:
        done = 0
        while done < item.nbytes:
            size = min(item.nbytes - done, room)
            if size < item.nbytes - done:
                size -= size % _ALIGNMENT
            if size:
                job.append(_Part(item.storage, item.start + done, size, PIECE - room))
                done += size
                room -= size + -size % _ALIGNMENT
            if done < item.nbytes or room < _ALIGNMENT:
                yield job
                job, room = [], PIECE
    if job:
        yield job
