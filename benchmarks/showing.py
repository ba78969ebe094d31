"""The benchmarks of `show '*'`: 4 GiB of values beside a bare sum of them and users' scripts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, LONGER, Case
from benchmarks.files import WIDTHS, find_values, size
from benchmarks.listing import PARAMCLI
from benchmarks.timing import Command, has_cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_FORMS = ("safetensors", "zip")
_PEAK = 256

# No option leaves out the percentiles alone, so this asks the function behind `show`.
_MOMENTS = """
import sys, paramcli
from paramcli.numeric.summary import summarize
checkpoint = paramcli.open(sys.argv[1])
for info, summary in zip(
    checkpoint.entries, summarize(checkpoint, checkpoint.entries, percentiles=False)
):
    m = summary.real
    print(info.name, m.mean, m.std, m.min, m.max, m.nan, sep="\\t")
"""

# The limit: the least that can be done with every byte, by one worker for each processor. Two
# bfloat16 are summed as one uint32; in its own type, since a wider one would be slower.
_SUM = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
numbers = np.memmap(sys.argv[1], sys.argv[2], "r", shape=os.path.getsize(sys.argv[1]) // 4)
count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
for worker in range(count):
    if not os.fork():
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
for name, tensor in {load}.items():
    x = tensor.float()
    print(name, x.mean().item(), x.std(unbiased=False).item(), x.min().item(), x.max().item(),
          x.isnan().sum().item(), sep="\\t")
"""
_LOAD = {
    "safetensors": "load_file(sys.argv[1])",
    "zip": "torch.load(sys.argv[1], mmap=True, weights_only=True)",
}


def _moments(path: str) -> Command:
    return Command((sys.executable, "-c", _MOMENTS, path))


def _everything(path: str, *options: str) -> Command:
    return Command((*PARAMCLI, "show", path, "*", "--format", "json", *options))


def _sum(path: str, dtype: str) -> Command:
    summed = {"float32": "<f4", "bfloat16": "<u4"}[dtype]
    return Command((sys.executable, "-c", _SUM, path, summed))


def _user_script(form: str, path: str) -> Command:
    return Command((sys.executable, "-c", _SCRIPT.format(load=_LOAD[form]), path))


def _files(folder: str) -> Iterator[tuple[str, str, str]]:
    """Yield dtype, format and path."""
    for dtype in WIDTHS:
        for form in _FORMS:
            yield dtype, form, find_values(folder, form, dtype)


def moments(folder: str) -> Iterator[Case]:
    """Time mean, std, min, max, l2 and counts beside the sum."""
    for dtype, form, path in _files(folder):
        yield Case(
            name="show.moments",
            of=f"{size()} {dtype} {form}, summarize",
            beside="sum",
            ours=_moments(path),
            theirs=_sum(path, dtype),
            measure=LONGER,
            limit={"float32": 4, "bfloat16": 5.5}[dtype],
            peak=_PEAK,
        )


def everything(folder: str) -> Iterator[Case]:
    """Time all statistics, with percentiles and a histogram, beside the sum."""
    for dtype, form, path in _files(folder):
        yield Case(
            name="show.all",
            of=f"{size()} {dtype} {form}",
            beside="sum",
            ours=_everything(path),
            theirs=_sum(path, dtype),
            measure=LONGER,
            limit=15,
            peak=_PEAK,
        )


def scripts(folder: str) -> Iterator[Case]:
    """Time both beside scripts that users write, which know mean, std, min, max and NaN."""
    for dtype, form, path in _files(folder):
        for ours, what in ((_moments(path), ", summarize"), (_everything(path), "")):
            yield Case(
                name="show.scripts",
                of=f"{size()} {dtype} {form}{what}",
                beside={"safetensors": "load_file", "zip": "torch.load"}[form],
                ours=ours,
                theirs=_user_script(form, path),
                measure=FASTER,
                limit=20,
                peak=_PEAK,
                same="numbers",
                long=True,
            )


def on_cuda(folder: str) -> Iterator[Case]:
    """Time all statistics on a CUDA device beside the CPU, where there is one."""
    for dtype in WIDTHS if has_cuda("show.cuda") else ():
        path = find_values(folder, "safetensors", dtype)
        yield Case(
            name="show.cuda", of=f"{size()} {dtype}, on CUDA", beside="on the CPU",
            ours=_everything(path, "--device", "cuda"), theirs=_everything(path), measure=LONGER,
        )  # fmt: skip


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "show.scripts": scripts,  # first, since it checks the answers of ours
    "show.moments": moments,
    "show.all": everything,
    "show.cuda": on_cuda,
}
