"""The benchmarks of drawing: 2²⁷ numbers by our stream beside PyTorch's and NumPy's generators.

A script says when it starts to draw and ends at once when done, so imports do not count. It fills
the same 2²³ numbers again and again; torch and NumPy draw them in one call each time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.compare import DRAWING, Case
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_DTYPES = ("float32", "bfloat16", "float16", "float64")

# What comes before and after the line that draws; `workers` processes share the work.
_FRAME = """
import os, sys
import numpy as np
{imports}
workers, count = {workers}, 1 << 23
{before}
print(flush=True)
children = [os.fork() for _ in range(workers - 1)] if workers > 1 else []
for turn in range(16 // workers):
    {draw}
for child in filter(None, children):
    os.waitpid(child, 0)
os._exit(0)
"""
_OURS_IMPORTS = """
from paramcli.workers import available
from paramcli.schemes.draws import Filler, Normal, TruncatedNormal, Uniform
from paramcli.schemes.stream import key
"""
_OURS_BEFORE = """
form = dict(float32="f4", float64="f8").get("{dtype}", "u2")
filler, out, where = Filler(), np.zeros(count, form), key(0, "weight")
filler.fill({draw}, "{dtype}", where, 0, out)
"""
_TORCH_BEFORE = """
torch.set_num_threads({threads})
out = torch.zeros(count, dtype=torch.{dtype})
out.normal_()
"""


def _ours(draw: str, dtype: str, workers: str = "1") -> Command:
    code = _FRAME.format(
        imports=_OURS_IMPORTS,
        workers=workers,
        before=_OURS_BEFORE.format(draw=draw, dtype=dtype),
        draw=f'filler.fill({draw}, "{dtype}", where, turn * count, out)',
    )
    return Command((sys.executable, "-c", code))


def _torch(draw: str, dtype: str, threads: str = "1") -> Command:
    code = _FRAME.format(
        imports="import torch",
        workers=1,
        before=_TORCH_BEFORE.format(threads=threads, dtype=dtype),
        draw=draw,
    )
    return Command((sys.executable, "-c", code))


def _numpy(draw: str) -> Command:
    before = "rng, out = np.random.default_rng(0), np.zeros(count, np.float32)"
    code = _FRAME.format(imports="", workers=1, before=before, draw=draw)
    return Command((sys.executable, "-c", code))


def one(_folder: str) -> Iterator[Case]:
    """Time one process beside one thread of torch's, and beside NumPy's generator."""
    for dtype in _DTYPES:
        yield Case(
            name="draw.one",
            of=f"normal {dtype}",
            beside="normal_, 1 thread",
            ours=_ours("Normal(0, 0.02)", dtype),
            theirs=_torch("out.normal_(0, 0.02)", dtype),
            measure=DRAWING,
        )
    for of, ours, theirs in (
        ("uniform", "Uniform(-0.1, 0.1)", "out.uniform_(-0.1, 0.1)"),
        (
            "trunc_normal",
            "TruncatedNormal(0, 0.02, -3, 3)",
            "torch.nn.init.trunc_normal_(out, 0, 0.02, -0.06, 0.06)",
        ),
    ):
        yield Case(
            name="draw.one",
            of=f"{of} float32",
            beside=f"{of}_, 1 thread",
            ours=_ours(ours, "float32"),
            theirs=_torch(theirs, "float32"),
            measure=DRAWING,
        )
    yield Case(
        name="draw.one",
        of="normal float32",
        beside="standard_normal",
        ours=_ours("Normal()", "float32"),
        theirs=_numpy("rng.standard_normal(dtype=np.float32, out=out)"),
        measure=DRAWING,
    )


def every(_folder: str) -> Iterator[Case]:
    """Time a process on each processor beside a thread on each; of a power of two of them."""
    processors = "1 << available().bit_length() - 1"
    for dtype in ("float32", "bfloat16"):
        yield Case(
            name="draw.all",
            of=f"normal {dtype}",
            beside="normal_, all threads",
            ours=_ours("Normal(0, 0.02)", dtype, processors),
            theirs=_torch("out.normal_(0, 0.02)", dtype, "torch.get_num_threads()"),
            measure=DRAWING,
            limit=1.5,
        )


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {"draw.one": one, "draw.all": every}
