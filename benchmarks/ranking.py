"""The benchmarks of torchrun: ranks of one thread each beside one process of one thread.

Run as a program it is such a rank: it says when all have started, then does the command. So what
starting and ending cost is a case of its own, and not part of the others.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.compare import SLOWER, WORKING, Case
from benchmarks.files import find_changed, find_values, size
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_RANKS = min(4, os.cpu_count() or 1)
_GOAL = 0.75 * _RANKS
_ALONE = (sys.executable, "-m", "benchmarks.ranking")
_TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(_RANKS)),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *_ALONE[1:]),
)


def _pair(*argv: str) -> tuple[Command, Command]:
    return Command((*_TORCHRUN, *argv)), Command((*_ALONE, *argv))


def starting(folder: str) -> Iterator[Case]:
    """Time how much longer several ranks take to start and to end than one process."""
    ours, theirs = _pair("list", find_values(folder, "safetensors", "float32"))
    yield Case(
        name="ranks.start",
        of=f"{_RANKS} ranks",
        beside="one process",
        ours=ours,
        theirs=theirs,
        measure=SLOWER,
    )


def comparing(folder: str) -> Iterator[Case]:
    """Time the comparison of two files of which every tensor differs."""
    path = find_values(folder, "safetensors", "float32")
    yield _working("diff", path, find_changed(folder, "safetensors", "float32", "all"))


def drawing(folder: str) -> Iterator[Case]:
    """Time the initialization of as much."""
    path = find_values(folder, "safetensors", "float32")
    out = os.path.join(folder, "ranks.safetensors")
    yield _working("init", path, "--scheme", "normal(std=0.02)", "-o", out)


def _working(verb: str, *argv: str) -> Case:
    ours, theirs = _pair(verb, *argv)
    return Case(
        name=f"ranks.{verb}",
        of=f"{size()} float32, {_RANKS} ranks",
        beside="one process",
        ours=ours,
        theirs=theirs,
        measure=WORKING,
        limit=_GOAL,
        long=True,
    )


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "ranks.start": starting,
    "ranks.diff": comparing,
    "ranks.init": drawing,
}


def _main(argv: list[str]) -> None:
    """Be one rank of several, or the only one, on one processor."""
    from paramcli import ranks
    from paramcli.cli import main

    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[ranks.rank() % len(processors)]})
    for module in (f"commands.{argv[0]}", "numeric.compare", "schemes.fill"):
        import_module(f"paramcli.{module}")  # which every process would do, each alike
    ranks.everywhere([True])  # all are there
    if ranks.rank() == 0:
        print("started", flush=True)
    with ranks.silenced():
        code = main(argv)
    sys.stdout.flush()
    os._exit(0 if code in (0, 1) else code)


if __name__ == "__main__":
    _main(sys.argv[1:])
