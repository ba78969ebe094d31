"""The benchmarks of initializing: the sample GPT at 774 M parameters, beside the script for it.

The script builds the model, applies a function to its modules and saves. Both write to memory where
the system has a file system there, so that no disk is waited for, which ours does and theirs does
not; and the same file again and again.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, LONGER, SLOWER, Case
from benchmarks.files import mib
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_WIDTHS = {"float32": 4, "bfloat16": 2}
_PEAK = 400
_MEMORY = "/dev/shm"
_TARGET = "sample_models.tiny_gpt:TinyGPT"
_CASES = (
    ("gpt2", "normal_(m.weight, std=0.02)", "float32", 6.0),
    ("gpt2", "normal_(m.weight, std=0.02)", "bfloat16", 6.0),
    ("trunc_normal(std=0.02)", "trunc_normal_(m.weight, std=0.02)", "float32", 20.0),
)
_SCRIPT = """
import torch
from safetensors.torch import save_model
from torch import nn
from sample_models.tiny_gpt import TinyGPT

def fill(m):
    if isinstance(m, (nn.Linear, nn.Embedding)):
        nn.init.{draw}
    if isinstance(m, nn.Linear) and m.bias is not None:
        nn.init.zeros_(m.bias)

net = TinyGPT({sizes})
net.apply(fill)
save_model(net.to(torch.{dtype}), {path!r})
"""
_WRITE = """
import os
piece = os.urandom(1 << 20)
with open({path!r}, "wb", buffering=0) as file:
    for _ in range({size} >> 20):
        file.write(piece)
"""
_LOCK = """
[dims]
d = 12288
[tensors]
"embed.weight" = "float32[50257, d]"
"blocks.{0..12}.qkv.weight" = "float32[3*d, d]"
"blocks.{0..12}.qkv.bias" = "float32[3*d]"
"blocks.{0..12}.proj.weight" = "float32[d, d]"
"blocks.{0..12}.fc1.weight" = "float32[4*d, d]"
"blocks.{0..12}.fc2.weight" = "float32[d, 4*d]"
"""


def _sizes() -> dict[str, int]:
    """The arguments of the GPT: as many layers as suit the other files, 36 beside 4 GiB."""
    layers = max(1, 36 * mib() // 4096)
    return {"vocab": 50257, "d_model": 1280, "layers": layers, "heads": 20, "context": 1024}


def _parameters() -> int:
    """About how many parameters it has then."""
    sizes = _sizes()
    width = sizes["d_model"]
    return (sizes["vocab"] + sizes["context"] + 12 * width * sizes["layers"]) * width


def _millions() -> str:
    return f"{_parameters() / 1e6:.0f} M"


@contextmanager
def _written(folder: str) -> Iterator[tuple[str, str]]:
    """Give the paths of two files to write, ours and theirs, which are gone afterwards."""
    needed = 2 * _WIDTHS["float32"] * _parameters()
    in_memory = os.path.isdir(_MEMORY) and shutil.disk_usage(_MEMORY).free > 2 * needed
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_MEMORY if in_memory else folder) as home:
        yield os.path.join(home, "ours.safetensors"), os.path.join(home, "theirs.safetensors")


def _ours(scheme: str, dtype: str, path: str) -> Command:
    arguments = [part for name, size in _sizes().items() for part in ("--arg", f"{name}={size}")]
    argv = [sys.executable, "-m", "paramcli", "init", _TARGET, *arguments]
    return Command((*argv, "--scheme", scheme, "--dtype", dtype, "-o", path))


def scripts(folder: str) -> Iterator[Case]:
    """Time two schemes and two dtypes beside what users write."""
    sizes = ", ".join(f"{name}={size}" for name, size in _sizes().items())
    with _written(folder) as (ours, theirs):
        for scheme, draw, dtype, goal in _CASES:
            script = _SCRIPT.format(draw=draw, sizes=sizes, dtype=dtype, path=theirs)
            yield Case(
                name="init.script",
                of=f"{_millions()}, {scheme}, {dtype}",
                beside="build, apply, save_model",
                ours=_ours(scheme, dtype, ours),
                theirs=Command((sys.executable, "-c", script)),
                measure=FASTER,
                limit=goal,
                peak=_PEAK,
                long=True,
            )


def writes(folder: str) -> Iterator[Case]:
    """Time it beside writing as many bytes."""
    with _written(folder) as (ours, theirs):
        for dtype, width in _WIDTHS.items():
            write = _WRITE.format(path=theirs, size=width * _parameters())
            yield Case(
                name="init.write",
                of=f"{_millions()}, gpt2, {dtype}",
                beside="as many bytes",
                ours=_ours("gpt2", dtype, ours),
                theirs=Command((sys.executable, "-c", write)),
                measure=LONGER,
                peak=_PEAK,
                long=True,
            )


def plans(folder: str) -> Iterator[Case]:
    """Time the plan of 100 GB, beside a process that does nothing."""
    path = os.path.join(folder, "100gb.lock")
    os.makedirs(folder, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(_LOCK)
    argv = (sys.executable, "-m", "paramcli", "init", path, "--scheme", "gpt2", "--dry-run")
    yield Case(
        name="init.plan",
        of="100 GB, from a lock",
        beside="nothing",
        ours=Command(argv),
        theirs=Command((sys.executable, "-c", "")),
        measure=SLOWER,
        limit=2000,
    )


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "init.plan": plans,
    "init.script": scripts,
    "init.write": writes,
}
