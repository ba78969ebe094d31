"""The files that are listed: state dicts of three sizes in four formats, made once and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where files are made, in a process of its own; see timing.py
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["FORMATS", "find", "shards"]

FORMATS = {
    "zip": "model.pt",
    "legacy": "legacy.pt",
    "safetensors": "model.safetensors",
    "sharded": "sharded",
}
_WIDTHS = {1_000: 736, 10_000: 8, 100_000: 8}  # of layers of 10 tensors; 736 makes 1 GiB of 1,000
_SHARDS = 8


def find(folder: str, form: str, count: int) -> str:
    """Return the path of the state dict of `count` tensors, making it where it is not there yet."""
    home = os.path.join(folder, str(count))
    if not os.path.isdir(home):
        print(f"making the files of {count:,} tensors in {home}", file=sys.stderr)
        subprocess.check_call([sys.executable, "-m", "benchmarks.files", folder, str(count)])
    return os.path.join(home, FORMATS[form])


def shards(path: str) -> tuple[str, ...]:
    """Return the safetensors files in a directory, or the one file that `path` is."""
    if not os.path.isdir(path):
        return (path,)
    names = sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))
    return tuple(os.path.join(path, name) for name in names)


def _make(folder: str, count: int) -> None:
    """Write all formats beside their home first, so that half a set is never taken for one."""
    import torch
    from safetensors.torch import save_file

    os.makedirs(folder, exist_ok=True)
    state = OrderedDict(_tensors(count, _WIDTHS[count]))
    with TemporaryDirectory(dir=folder) as fresh:
        home = os.path.join(fresh, str(count))
        os.mkdir(home)
        paths = {form: os.path.join(home, name) for form, name in FORMATS.items()}
        torch.save(state, paths["zip"])
        torch.save(state, paths["legacy"], _use_new_zipfile_serialization=False)
        save_file(state, paths["safetensors"], {"format": "pt"})
        _save_sharded(state, paths["sharded"])
        os.rename(home, os.path.join(folder, str(count)))


def _tensors(count: int, width: int) -> Iterator[tuple[str, Tensor]]:
    """Yield 1-d, 2-d and 3-d tensors. Nothing here looks at values, so they are zeros."""
    import torch

    for number in range(count):
        layer, part = divmod(number, 10)
        block = f"model.layers.{layer}"
        if part < 4:
            yield f"{block}.self_attn.proj_{part}.weight", torch.zeros(width, width)
        elif part < 8:
            yield f"{block}.self_attn.proj_{part - 4}.bias", torch.zeros(width)
        else:
            kernel = torch.zeros(width, width // 4, 4, dtype=torch.bfloat16)
            yield f"{block}.mlp.conv_{part - 8}.weight", kernel


def _save_sharded(state: OrderedDict[str, Tensor], folder: str) -> None:
    from safetensors.torch import save_file

    os.mkdir(folder)
    names = list(state)
    size = -(-len(names) // _SHARDS)
    weight_map: dict[str, str] = {}
    for number in range(_SHARDS):
        file = f"model-{number + 1:05d}-of-{_SHARDS:05d}.safetensors"
        held = names[number * size : (number + 1) * size]
        save_file({name: state[name] for name in held}, os.path.join(folder, file))
        weight_map |= dict.fromkeys(held, file)
    total = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    path = os.path.join(folder, "model.safetensors.index.json")
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(index, stream, indent=2)


if __name__ == "__main__":
    _make(sys.argv[1], int(sys.argv[2]))
