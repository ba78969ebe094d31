"""Work shared between processes: forked workers where there is fork, threads elsewhere.

Threads over small NumPy chunks would queue for the interpreter's lock, so processes are the fast
way. Results come back in the order of the jobs, so nothing depends on how many workers there are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["available", "spread"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None = None
) -> Iterator[Result]:
    """Yield `work(job)` for each job in order, done by as many workers at once."""
    count = min(workers or available(), len(jobs))
    if count <= 1:
        yield from map(work, jobs)
        return
    from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

    executor: Executor
    if hasattr(os, "fork"):
        from multiprocessing import get_context

        executor = ProcessPoolExecutor(count, mp_context=get_context("fork"))
    else:
        executor = ThreadPoolExecutor(count)
    try:
        yield from executor.map(work, jobs, chunksize=max(1, len(jobs) // (count * 16)))
    finally:
        executor.shutdown(cancel_futures=True)
