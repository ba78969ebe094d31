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
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from paramcli import ranks
from paramcli.errors import ParamcliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["available", "spread"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def available() -> int:
    """Processors that this process may use; ranks on one machine have equal shares of them."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return max(1, count // ranks.neighbours())


def spread(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int | None = None,
    cost: Callable[[Job], int] = lambda _: 1,
) -> Iterator[Result]:
    """Yield `work(job)` for each job in order, done by as many workers at once, of every rank.

    Ranks have shares of one `cost`, of bytes say, as near as may be. Raises what `work` raises, and
    ParamcliError where a worker is killed.
    """
    if ranks.size() > 1:
        yield from ranks.shared(lambda mine: list(_spread(work, mine, workers)), jobs, cost)
    else:
        yield from _spread(work, jobs, workers)


def _spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Iterator[Result]:
    count = min(workers or available(), len(jobs))
    if count <= 1:
        yield from map(work, jobs)
        return
    from concurrent.futures import ThreadPoolExecutor

    batch = max(1, len(jobs) // (count * 16))
    if hasattr(os, "fork"):
        yield from _forked(work, jobs, count, batch)
        return
    executor = ThreadPoolExecutor(count)
    try:
        yield from executor.map(work, jobs)
    finally:
        executor.shutdown(cancel_futures=True)


def _forked(
    work: Callable[[Job], Result], jobs: Sequence[Job], count: int, batch: int
) -> Iterator[Result]:
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    others = set(active_children())
    executor = ProcessPoolExecutor(count, get_context("fork"), _begin, (work, jobs))
    done = False
    try:
        with _no_interrupts():
            results = executor.map(_do, range(len(jobs)), chunksize=batch)
        yield from cast("Iterator[Result]", results)
        done = True
    except BrokenProcessPool:
        raise ParamcliError(
            "a worker process was killed", hint="perhaps for want of memory; try again"
        ) from None
    finally:
        if not done:
            for worker in set(active_children()) - others:
                worker.terminate()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Have processes that start here deaf to Ctrl-C: it is for the one that waits for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Inherited(NamedTuple):
    """What a worker is forked with."""

    work: Callable[[Any], Any]
    jobs: Sequence[Any]


_inherited: list[_Inherited] = []


def _do(number: int) -> object:
    """Do a job, in a worker."""
    work, jobs = _inherited[-1]
    return work(jobs[number])


def _begin(work: Callable[[Any], Any], jobs: Sequence[Any]) -> None:
    """Be a worker until the process that started it ends, by whatever cause."""
    from multiprocessing import parent_process

    _inherited.append(_Inherited(work, jobs))

    parent = parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
