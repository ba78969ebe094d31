"""The benchmarks of `diff`: two files of 4 GiB beside a reader of both, and what users write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, LONGER, LONGER_THEN, Case
from benchmarks.files import WIDTHS, find, find_changed, find_values, size
from benchmarks.listing import PARAMCLI
from benchmarks.timing import Command, has_cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_PEAK = 256

# The yardstick that runs everywhere: workers that only read and sum the mapped bytes of both.
_SUM = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
for worker in range(count):
    if not os.fork():
        for path in sys.argv[1:]:
            numbers = np.memmap(path, "<u4", "r", shape=os.path.getsize(path) // 4)
            part = numbers[len(numbers) * worker // count : len(numbers) * (worker + 1) // count]
            print(part.sum(dtype=part.dtype), flush=True)
        os._exit(0)
for worker in range(count):
    if os.wait()[1]:
        sys.exit("a worker failed")
"""

# What a user would write.
_SCRIPT = """
import sys, torch
from safetensors.torch import load_file
a, b = load_file(sys.argv[1]), load_file(sys.argv[2])
for name in a:
    x, y = a[name], b[name]
    if not torch.equal(x, y):
        x, y = x.float(), y.float()
        d = x - y
        cosine = torch.nn.functional.cosine_similarity(x.flatten(), y.flatten(), dim=0)
        print(name, d.abs().max().item(), d.norm().item(), cosine.item(), sep="\\t")
"""

# Equality alone, as fast as it can be: a thread for each processor over mapped halves.
_MEMCMP = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
static char *a, *b;
static size_t size, count, piece = 4 << 20;
static int unlike;
static void *work(void *number) {
    for (size_t at = (size_t)number * piece; at < size; at += count * piece) {
        size_t n = size - at < piece ? size - at : piece;
        if (memcmp(a + at, b + at, n)) unlike = 1;
    }
    return 0;
}
int main(int argc, char **argv) {
    struct stat s;
    int x = open(argv[1], O_RDONLY), y = open(argv[2], O_RDONLY);
    fstat(x, &s);
    size = s.st_size;
    count = sysconf(_SC_NPROCESSORS_ONLN);
    a = mmap(0, size, PROT_READ, MAP_SHARED, x, 0);
    b = mmap(0, size, PROT_READ, MAP_SHARED, y, 0);
    pthread_t threads[256];
    for (size_t i = 0; i < count; i++) pthread_create(threads + i, 0, work, (void *)i);
    for (size_t i = 0; i < count; i++) pthread_join(threads[i], 0);
    return unlike;
}
"""


def _diff(a: str, b: str, *options: str, code: int = 1) -> Command:
    return Command((*PARAMCLI, "diff", a, b, "--format", "json", *options), code=code)


# Puts two files out of the page cache, says that it is done, and becomes the command.
_EVICT = """
import os, sys
for path in sys.argv[1:3]:
    with open(path, "rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
print(flush=True)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def _cat(*paths: str) -> Command:
    return Command(("sh", "-c", 'cat "$@" > /dev/null', "sh", *paths))


def _sum(*paths: str) -> Command:
    return Command((sys.executable, "-c", _SUM, *paths))


def metrics(folder: str) -> Iterator[Case]:
    """Time a few, and all, tensors changed, with all metrics, beside `cat` and the yardstick."""
    for dtype in WIDTHS:
        a = find_values(folder, "safetensors", dtype)
        for change, limit in (("few", 0.8), ("all", {"float32": 1.0, "bfloat16": 1.6}[dtype])):
            b = find_changed(folder, "safetensors", dtype, change)
            of = f"{size()} {dtype}, {'5 %' if change == 'few' else 'all'} changed"
            yield Case(
                name="diff.metrics", of=of, beside="cat A B", ours=_diff(a, b), theirs=_cat(a, b),
                measure=LONGER, limit=limit, peak=_PEAK,
            )  # fmt: skip
            yield Case(
                name="diff.metrics", of=of, beside="sum of both", ours=_diff(a, b),
                theirs=_sum(a, b), measure=LONGER, limit=1.7 if change == "few" else None,
                peak=_PEAK,
            )  # fmt: skip


def cold(folder: str) -> Iterator[Case]:
    """Time the first look at two files, both out of the page cache, beside reading both."""
    a = find_values(folder, "safetensors", "float32")
    b = find_changed(folder, "safetensors", "float32", "few")
    evict = (sys.executable, "-c", _EVICT, a, b)
    yield Case(
        name="diff.cold", of=f"{size()} float32, 5 % changed", beside="cat A B",
        ours=Command((*evict, *_diff(a, b).argv), code=1),
        theirs=Command((*evict, *_cat(a, b).argv)), measure=LONGER_THEN, limit=1.15, peak=_PEAK,
        long=True,
    )  # fmt: skip


def equality(folder: str) -> Iterator[Case]:
    """Time two equal files beside memcmp in C, where there is a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("diff.equality: left out, no C compiler is here", file=sys.stderr)
        return
    os.makedirs(folder, exist_ok=True)
    program = os.path.join(folder, "memcmp")
    subprocess.run(
        [compiler, "-O2", "-pthread", "-x", "c", "-", "-o", program],
        input=_MEMCMP.encode(), check=True,
    )  # fmt: skip
    a = find_values(folder, "safetensors", "float32")
    b = find_changed(folder, "safetensors", "float32", "none")
    yield Case(
        name="diff.equality", of=f"{size()} float32, equal", beside="memcmp in C",
        ours=_diff(a, b, code=0), theirs=Command((program, a, b)), measure=LONGER, limit=1.7,
        peak=_PEAK,
    )  # fmt: skip


def formats(folder: str) -> Iterator[Case]:
    """Time a zip beside safetensors of the same bytes."""
    zips = find_values(folder, "zip", "float32"), find_changed(folder, "zip", "float32", "few")
    plain = (
        find_values(folder, "safetensors", "float32"),
        find_changed(folder, "safetensors", "float32", "few"),
    )
    yield Case(
        name="diff.formats", of=f"{size()} float32 zip, 5 % changed", beside="safetensors",
        ours=_diff(*zips), theirs=_diff(*plain), measure=LONGER, limit=1.15, peak=_PEAK,
    )  # fmt: skip


def scripts(folder: str) -> Iterator[Case]:
    """Time what a user would write."""
    for dtype in WIDTHS:
        a = find_values(folder, "safetensors", dtype)
        b = find_changed(folder, "safetensors", dtype, "few")
        yield Case(
            name="diff.scripts", of=f"{size()} {dtype}, 5 % changed",
            beside="load_file, equal, norm, cosine", ours=_diff(a, b),
            theirs=Command((sys.executable, "-c", _SCRIPT, a, b)), measure=FASTER, limit=20,
            same="changes", long=True,
        )  # fmt: skip


def shapes(folder: str) -> Iterator[Case]:
    """Time the shapes of two files of 1,000 tensors beside `list` of one."""
    path = find(folder, "safetensors", 1_000)
    yield Case(
        name="diff.shapes", of="1,000 safetensors, --shapes", beside="list of one",
        ours=_diff(path, path, "--shapes", code=0), theirs=Command((*PARAMCLI, "list", path)),
        measure=LONGER, limit=1.3,
    )  # fmt: skip


def on_cuda(folder: str) -> Iterator[Case]:
    """Time all metrics of changed tensors on a CUDA device beside the CPU, where there is one."""
    for dtype in WIDTHS if has_cuda("diff.cuda") else ():
        a = find_values(folder, "safetensors", dtype)
        b = find_changed(folder, "safetensors", dtype, "all")
        yield Case(
            name="diff.cuda", of=f"{size()} {dtype}, all changed, on CUDA", beside="on the CPU",
            ours=_diff(a, b, "--device", "cuda"), theirs=_diff(a, b), measure=LONGER,
        )  # fmt: skip


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "diff.metrics": metrics,
    "diff.cold": cold,
    "diff.equality": equality,
    "diff.formats": formats,
    "diff.scripts": scripts,
    "diff.shapes": shapes,
    "diff.cuda": on_cuda,
}
