"""Work shared between processes: forked workers where there is fork, threads elsewhere.

Threads over small NumPy chunks would queue for the interpreter's lock, so processes are the fast
way. Results come back in the order of the jobs, so nothing depends on how many workers there are.
A forked worker has the work and the jobs from this process's memory, whatever they are; only
results are sent. It leaves with whoever waits for it: at once where the work is given up, and
where this process is killed.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from paramcli import ranks
from paramcli.errors import ParamcliError, SourceError
from paramcli.files.mapped import allow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

__all__ = ["available", "spread", "worth"]

Job = TypeVar("Job")
Result = TypeVar("Result")

_BESIDE = 1 << 16
"""Bytes that are worked on in the time that a job takes beside its own."""
_WIDTH = 4
_MOST_BATCHES = 1024
"""Their numbers fit into the smallest pipe that Linux makes, of a page."""


def available() -> int:
    """Processors that this process may use; ranks on one machine have equal shares of them."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return max(1, count // ranks.neighbours())


def worth(nbytes: int, jobs: int, least: int) -> int:
    """How many workers so much work is worth: one below `least` bytes, where starting takes longer.

    What a job takes beside its bytes counts as many as take as long.
    """
    return available() if nbytes + jobs * _BESIDE > least else 1


def spread(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int | None = None,
    cost: Callable[[Job], int] = lambda _: 1,
    *,
    threads: bool = False,
) -> Iterator[Result]:
    """Yield `work(job)` for each job in order, done by as many workers at once, of every rank.

    Ranks have shares of one `cost`, of bytes say, as near as may be. `threads` is for work that
    waits. Raises what `work` raises, and ParamcliError where a worker is killed.
    """

    def done(some: Sequence[Job]) -> Iterator[Result]:
        count = min(workers or available(), len(some))
        if count <= 1:
            return map(work, some)
        way = _threaded if threads or not _may_fork() else _forked
        return way(work, some, count)

    if ranks.size() > 1:
        yield from ranks.shared(lambda mine: list(done(mine)), jobs, cost)
    else:
        yield from done(jobs)


def _may_fork() -> bool:
    """Whether there is fork, and this process may have children: pools of others' may not."""
    if not hasattr(os, "fork"):
        return False
    from multiprocessing import current_process

    return not current_process().daemon


def _threaded(work: Callable[[Job], Result], jobs: Sequence[Job], count: int) -> Iterator[Result]:
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(count)
    try:
        yield from executor.map(work, jobs)
    finally:
        executor.shutdown(cancel_futures=True)


def _forked(work: Callable[[Job], Result], jobs: Sequence[Job], count: int) -> Iterator[Result]:
    """Have workers take batches by number from one pipe, and send what became of each.

    The process that waits has no second thread and no lock, so that an interrupt may come at any
    point of it: `ProcessPoolExecutor` can wait for ever after one.
    """
    from multiprocessing import Pipe, get_context

    size = max(1, len(jobs) // (count * 16), -(-len(jobs) // _MOST_BATCHES))
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    process = get_context("fork").Process
    crew: dict[Connection, BaseProcess] = {}
    outcomes: dict[int, _Outcome[Result]] = {}
    try:
        with _no_interrupts(), _numbers(len(batches)) as numbers:
            for _ in range(count):
                reader, writer = Pipe(duplex=False)
                task = (work, batches, numbers, writer)
                worker: BaseProcess = process(target=_labour, args=task, daemon=True)
                worker.start()
                writer.close()  # the worker alone has it now: the pipe ends when the worker does
                crew[reader] = worker
        for number in range(len(batches)):
            while number not in outcomes:
                outcomes.update(_heard(crew))
            results, error = outcomes.pop(number)
            yield from results
            if error is not None:
                raise error
    finally:
        for reader, worker in crew.items():
            worker.kill()  # not terminated: it has the handlers of whoever started it
            worker.join()
            reader.close()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Have processes that start here deaf to Ctrl-C: it is for the one that waits for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _numbers(count: int) -> Iterator[FileIO]:
    """Give a pipe of the numbers below `count`: each is had by the one process that reads it."""
    readable, writable = os.pipe()
    with open(readable, "rb", buffering=0) as numbers:
        with open(writable, "wb", buffering=0) as every:
            every.write(b"".join(number.to_bytes(_WIDTH, "little") for number in range(count)))
        yield numbers


def _heard(crew: dict[Connection, BaseProcess]) -> Iterator[tuple[int, _Outcome[Any]]]:
    """Wait for what workers send; drop those that have ended from `crew`."""
    from multiprocessing.connection import wait

    for reader in cast("list[Connection]", wait([*crew])):
        try:
            yield reader.recv()
        except (EOFError, OSError):
            worker = crew.pop(reader)
            worker.join()
            reader.close()
            if worker.exitcode == -signal.SIGBUS:
                raise SourceError(
                    "a file cannot be read to its end any more",
                    hint="something else writes to it, or its disk fails",
                ) from None
            if worker.exitcode or not crew:
                raise ParamcliError(
                    "a worker process was killed", hint="perhaps for want of memory; try again"
                ) from None


class _Outcome(NamedTuple, Generic[Result]):
    """What became of a batch of jobs: their results, up to an error if there was one."""

    results: list[Result]
    error: Exception | None


def _labour(
    work: Callable[[Job], object], batches: Sequence[Sequence[Job]], numbers: FileIO,
    writer: Connection,
) -> None:  # fmt: skip
    """Do the batches whose numbers this process reads, until none is left."""
    _leave_with_parent()
    signal.signal(signal.SIGBUS, signal.SIG_DFL)  # not what whoever started it makes of it
    allow()
    with suppress(BrokenPipeError):
        while number := numbers.read(_WIDTH):
            batch = int.from_bytes(number, "little")
            writer.send((batch, _done(work, batches[batch])))


def _done(work: Callable[[Job], Result], batch: Sequence[Job]) -> _Outcome[Result]:
    results: list[Result] = []
    try:
        for job in batch:
            results.append(work(job))  # noqa: PERF401 - those before an error are kept
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        import traceback

        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return _Outcome(results, error)
    return _Outcome(results, None)


def _leave_with_parent() -> None:
    """End this process when the one that started it ends, by whatever cause."""
    from multiprocessing import parent_process

    parent = parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
