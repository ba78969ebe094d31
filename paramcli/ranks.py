"""Which part of the work is this process's under torchrun, and how parts are put together.

Every rank runs the same command on the same targets. Where work is shared, each does its part, and
all learn the results of all, so that they go on alike; rank 0 alone prints, and alone makes and
names files. Whatever the number of ranks, the results are those of one process. Results travel
by torch.distributed, which is imported under torchrun alone: through gloo, or through NCCL where
each rank computes on a CUDA device of its own.

Of large work three quarters are dealt out; the rest is taken, part by part, by whoever is done with
its own. So a rank that its machine slows down does less, and the others do not wait for it.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import sys
from bisect import bisect_right
from datetime import timedelta
from itertools import accumulate, chain, count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from paramcli.errors import ParamcliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "agreed", "alone", "dealt", "everywhere", "neighbours", "own_device", "rank", "shared",
    "silenced", "size",
]  # fmt: skip

T = TypeVar("T")
Job = TypeVar("Job")
Result = TypeVar("Result")

_LARGE = 1 << 28
"""The cost, in bytes, from which on work is large."""
_DEALT = 3 / 4
_PARTS = 4
"""How many parts of the rest each rank takes, if all are as fast."""

_FOR_EVER = timedelta(days=30)
"""Torchrun ends those that wait for a rank that was killed."""
_stores: list[Any] = []
"""Where ranks tell each other what they take, once they have met."""
_works = count()
"""Numbers of works of which something is taken, the same on every rank."""
_BY_DEVICE = "nccl"
_groups: list[Any] = []
"""The group of NCCL, once there is one; until then results travel by the group of gloo."""
_working: list[bool] = []
"""Not empty while this process, or one that it forks, does its part: that is not shared again."""


def size() -> int:
    """How many ranks there are; 1 where torchrun has not started this process."""
    known = "RANK" in os.environ and "MASTER_ADDR" in os.environ
    return int(os.environ.get("WORLD_SIZE", "1")) if known and not _working else 1


def rank() -> int:
    """The number of this rank, from 0."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def neighbours() -> int:
    """How many ranks share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if "MASTER_ADDR" in os.environ else 1


def own_device() -> int:
    """Take this rank's CUDA device, and have results travel by NCCL if no two ranks share one.

    All ranks call it together, so that they go over to NCCL at the same point.
    """
    import torch
    import torch.distributed as dist

    devices = torch.cuda.device_count()
    device = int(os.environ["LOCAL_RANK"]) % devices
    torch.cuda.set_device(device)
    fit = dist.is_nccl_available() and neighbours() <= devices
    if not _groups and all(everywhere([fit])):
        _groups.append(dist.new_group(backend=_BY_DEVICE, timeout=_FOR_EVER))
    return device


def dealt(jobs: Iterable[Job], cost: Callable[[Job], int]) -> Iterator[tuple[int, Job]]:
    """Give each job to the rank that has the least to do so far; yield both, in order.

    So no rank has more than the others by more than one job, whatever comes in turn.
    """
    loads = [(0, number) for number in range(size())]
    for job in jobs:
        load, number = loads[0]
        heapq.heapreplace(loads, (load + cost(job), number))
        yield number, job


def shared(
    do: Callable[[Sequence[Job]], list[Result]], jobs: Sequence[Job], cost: Callable[[Job], int]
) -> Iterator[Result]:
    """Have each rank do its jobs, and yield the results of all jobs in their order.

    Raises on every rank what any of them raises.
    """
    me = rank()
    first, parts = _divided(list(map(cost, jobs)))
    owners = [number for number, _ in dealt(jobs[:first], cost)]
    mine: list[tuple[int, Result]] = []
    own, taken = [at for at, owner in enumerate(owners) if owner == me], _taken(parts)
    with _failures_are_told():
        _working.append(True)
        try:
            for places in chain([own], taken):
                mine += zip(places, do([jobs[at] for at in places]), strict=True)
        finally:
            _working.pop()
    found: dict[int, Result] = {}
    for theirs in _exchange(mine):
        found.update(theirs)
    for at in range(len(jobs)):
        yield found.pop(at)


def _divided(costs: Sequence[int]) -> tuple[int, list[range]]:
    """How many jobs are dealt out, and the others in parts that cost about the same."""
    sums = list(accumulate(costs))
    if not sums or sums[-1] < _LARGE:
        return len(costs), []
    steps = size() * _PARTS
    shares = (_DEALT + (1 - _DEALT) * step / steps for step in range(steps))
    cuts = [*(bisect_right(sums, share * sums[-1]) for share in shares), len(costs)]
    return cuts[0], [range(*ends) for ends in pairwise(cuts) if ends[0] < ends[1]]


def _taken(parts: Sequence[range]) -> Iterator[range]:
    """Return parts that no other rank has taken, each taken when it is asked for, to the last.

    The ranks meet now: who is done first would wait for the others to come.
    """
    if not parts:
        return iter(())
    key, store = f"work {next(_works)}", _met()
    numbers = iter(lambda: min(store.add(key, 1) - 1, len(parts)), len(parts))
    return map(parts.__getitem__, numbers)


def everywhere(found: Sequence[bool]) -> list[bool]:
    """Return what holds on every rank, of lists that all of them have."""
    return list(found) if size() == 1 else list(map(all, zip(*_exchange(found), strict=True)))


def alone(act: Callable[[], T]) -> T:
    """Do something on rank 0 alone, and return what it gives on every rank."""
    if size() == 1:
        return act()
    found = None
    with _failures_are_told():
        if rank() == 0:
            found = act()
    result: T = _exchange(found)[0]
    return result


def agreed(act: Callable[[], int]) -> int:
    """Run a command on every rank. They end together, with one error if any of them fails."""
    if size() == 1:
        return act()
    code = 0
    gone: BrokenPipeError | None = None
    with _failures_are_told():
        try:
            code = act()
        except BrokenPipeError as error:  # a reader that has gone away, of rank 0
            gone = error
    _exchange(code)
    if gone is not None:
        raise gone
    return code


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep what this process says to itself, unless it is rank 0."""
    if rank() == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _Failure(NamedTuple):
    error: Exception


_told: list[Exception] = []
"""The error that all ranks know of."""


@contextlib.contextmanager
def _failures_are_told() -> Iterator[None]:
    """Tell the other ranks of an error here, wherever they wait; all raise the same one."""
    try:
        yield
    except Exception as error:
        if error not in _told:
            _exchange(_Failure(_portable(error)))
        raise


def _portable(error: Exception) -> Exception:
    import pickle  # which a start without torchrun does without

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        return ParamcliError(f"{type(error).__name__}: {error}")
    return error


def _exchange(own: Any) -> list[Any]:  # noqa: ANN401 - whatever is shared
    """Give the others what is this rank's, and get what is theirs. Raises their errors."""
    import torch.distributed as dist

    _met()
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own, group=_groups[0] if _groups else None)
    failed = [(number, one.error) for number, one in enumerate(found) if type(one) is _Failure]
    if failed:
        number, error = failed[0]
        if len(failed) < len(found) and isinstance(error, ParamcliError):
            error.args = (f"rank {number}: {error}", *error.args[1:])
        _told.append(error)
        raise error
    return found


def _met() -> Any:  # noqa: ANN401 - a store of torch's
    """Meet the other ranks, where that has not been yet; return what all can add to."""
    if not _stores:
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        store, number, ranks = next(rendezvous("env://", timeout=_FOR_EVER))
        store.set_timeout(_FOR_EVER)
        if not dist.is_initialized():  # as it is where a model's own code has done so
            dist.init_process_group(
                "gloo", store=PrefixStore("paramcli group", store), rank=number, world_size=ranks,
                timeout=_FOR_EVER,
            )  # fmt: skip
        _stores.append(PrefixStore("paramcli", store))
    return _stores[0]
