"""The benchmarks of `tie --find-equal`: 4 GiB in which nothing, or everything, is there twice.

The yardstick is one reading of the file by as many workers as there are processors.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, LONGER, Case
from benchmarks.files import find, find_doubled, find_values, size
from benchmarks.listing import PARAMCLI
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_PEAK = 96
_READ = """
import os, sys
count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
for worker in range(count):
    if not os.fork():
        buffer = bytearray(1 << 20)
        with open(sys.argv[1], "rb", buffering=0) as file:
            size = os.path.getsize(sys.argv[1])
            for at in range(worker << 20, size, count << 20):
                os.preadv(file.fileno(), [buffer], at)
        os._exit(0)
for worker in range(count):
    if os.wait()[1]:
        sys.exit("a worker failed")
"""

# What a user would write: a digest of every tensor.
_SCRIPT = """
import hashlib, sys
from safetensors.numpy import load_file
seen = {}
for name, tensor in load_file(sys.argv[1]).items():
    seen.setdefault((tensor.shape, hashlib.sha256(tensor.data).digest()), []).append(name)
for names in seen.values():
    if len(names) > 1:
        print(" = ".join(names))
"""


def _ours(path: str) -> Command:
    return Command((*PARAMCLI, "tie", path, "--find-equal"))


def equal(folder: str) -> Iterator[Case]:
    """Time --find-equal beside one parallel reading of the file from the page cache."""
    for what, path in (
        ("nothing twice", find_values(folder, "safetensors", "float32")),
        ("all twice", find_doubled(folder, "float32")),
    ):
        for beside, theirs in (
            ("parallel read", Command((sys.executable, "-c", _READ, path))),
            ("script", Command((sys.executable, "-c", _SCRIPT, path))),
        ):
            script = beside == "script"
            yield Case(
                name="tie.equal", of=f"{size()} float32, {what}", beside=beside, ours=_ours(path),
                theirs=theirs, measure=FASTER if script else LONGER,
                limit=None if script else 2.5, peak=_PEAK, long=script,
            )  # fmt: skip


def report(folder: str) -> Iterator[Case]:
    """Time the report of a file of 1,000 tensors beside `list` of it."""
    path = find(folder, "safetensors", 1_000)
    yield Case(
        name="tie.report", of="1,000 safetensors", beside="list",
        ours=Command((*PARAMCLI, "tie", path)), theirs=Command((*PARAMCLI, "list", path)),
        measure=LONGER, limit=1.3,
    )  # fmt: skip


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "tie.equal": equal,
    "tie.report": report,
}
