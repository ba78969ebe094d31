"""The files: state dicts of three sizes to list, of two dtypes to measure; made once and kept."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where files are made, in a process of its own; see timing.py
    from collections.abc import Iterator

    from torch import Tensor

__all__ = [
    "CHANGES", "FORMATS", "MIB", "WIDTHS", "find", "find_changed", "find_doubled", "find_shards",
    "find_values", "mib", "shards", "size",
]  # fmt: skip

FORMATS = {
    "zip": "model.pt",
    "legacy": "legacy.pt",
    "safetensors": "model.safetensors",
    "sharded": "sharded",
}
_SHARDS, _MANY_SHARDS = 8, 2_000

_IN_SHARDS = "shards"

WIDTHS = {"float32": 1280, "bfloat16": 1792}
"""Widths of the layers of the files whose values are looked at, by dtype."""
MIB = "BENCHMARK_MIB"
"""The variable that says how large the files are whose values are looked at."""
_LAYER = 80  # MiB of one of 10 tensors; with an embedding and a norm those of 4 GiB are 512
_PIECE = 1 << 22  # elements made at a time


def mib() -> int:
    """MiB of a file whose values are looked at."""
    return int(os.environ.get(MIB, "4096"))


def size(of: int = 1) -> str:
    """Say that in words, or the `of`-th part of it."""
    part = mib() // of
    return f"{part >> 10} GiB" if part >= 1024 else f"{part} MiB"


def _width(count: int) -> int:
    """Width of layers of 10 tensors: 1,000 are as large as a quarter of the files of values."""
    return int(736 * math.sqrt(mib() / 4096)) & ~3 if count == 1_000 else 8


def find(folder: str, form: str, count: int) -> str:
    """Return the path of the state dict of `count` tensors, making it where it is not there yet."""
    return os.path.join(_home(folder, str(count), f"{count:,} tensors"), FORMATS[form])


def find_shards(folder: str) -> str:
    """Return the path of 100,000 tensors in 2,000 shards, making it where it is not there yet."""
    return os.path.join(_home(folder, _IN_SHARDS, f"{_MANY_SHARDS:,} shards"), FORMATS["sharded"])


def find_values(folder: str, form: str, dtype: str) -> str:
    """Return the path of weights of `dtype`, a zip or safetensors; made if not there."""
    return os.path.join(_home(folder, dtype, f"{dtype} values, twice {size()},"), FORMATS[form])


CHANGES = {"few": 20, "all": 1, "none": 0}
"""Of how many tensors one is changed, by a name for it: 5 % of them, all, or none."""


def find_changed(folder: str, form: str, dtype: str, change: str) -> str:
    """Return the path of a copy of those weights, changed by a thousandth of their spread."""
    home = os.path.join(folder, f"{dtype}-{change}")
    path = os.path.join(home, FORMATS[form])
    if not os.path.exists(path):
        source = find_values(folder, form, dtype)
        print(f"making {path}", file=sys.stderr)
        subprocess.check_call([sys.executable, "-m", "benchmarks.files", source, change, path])
    return path


def find_doubled(folder: str, dtype: str) -> str:
    """Return the path of the first half of those weights, each under a second name too."""
    path = os.path.join(folder, f"{dtype}-doubled", FORMATS["safetensors"])
    if not os.path.exists(path):
        source = find_values(folder, "safetensors", dtype)
        print(f"making {path}", file=sys.stderr)
        subprocess.check_call([sys.executable, "-m", "benchmarks.files", source, "double", path])
    return path


def _home(folder: str, kind: str, what: str) -> str:
    home = os.path.join(folder, kind)
    if not os.path.isdir(home):
        print(f"making the files of {what} in {home}", file=sys.stderr)
        subprocess.check_call([sys.executable, "-m", "benchmarks.files", folder, kind])
    return home


def shards(path: str) -> tuple[str, ...]:
    """Return the safetensors files in a directory, or the one file that `path` is."""
    if not os.path.isdir(path):
        return (path,)
    names = sorted(name for name in os.listdir(path) if name.endswith(".safetensors"))
    return tuple(os.path.join(path, name) for name in names)


def _make(folder: str, kind: str) -> None:
    """Write all formats beside their home first, so that half a set is never taken for one."""
    os.makedirs(folder, exist_ok=True)
    with TemporaryDirectory(dir=folder) as fresh:
        home = os.path.join(fresh, kind)
        os.mkdir(home)
        paths = {form: os.path.join(home, name) for form, name in FORMATS.items()}
        if kind in WIDTHS:
            _save_values(kind, paths)
        elif kind == _IN_SHARDS:
            state = OrderedDict(_tensors(100_000, _width(100_000)))
            _save_sharded(state, paths["sharded"], _MANY_SHARDS)
        else:
            _save_shapes(int(kind), paths)
        os.rename(home, os.path.join(folder, kind))


def _save_shapes(count: int, paths: dict[str, str]) -> None:
    import torch
    from safetensors.torch import save_file

    state = OrderedDict(_tensors(count, _width(count)))
    torch.save(state, paths["zip"])
    torch.save(state, paths["legacy"], _use_new_zipfile_serialization=False)
    save_file(state, paths["safetensors"], {"format": "pt"})
    _save_sharded(state, paths["sharded"], _SHARDS)


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


def _save_sharded(state: OrderedDict[str, Tensor], folder: str, count: int) -> None:
    from safetensors.torch import save_file

    os.mkdir(folder)
    names = list(state)
    size = -(-len(names) // count)
    weight_map: dict[str, str] = {}
    for number in range(count):
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        held = names[number * size : (number + 1) * size]
        save_file({name: state[name] for name in held}, os.path.join(folder, file))
        weight_map |= dict.fromkeys(held, file)
    total = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    path = os.path.join(folder, "model.safetensors.index.json")
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(index, stream, indent=2)


def _save_values(dtype: str, paths: dict[str, str]) -> None:
    """Write safetensors piece by piece, then a zip of the same bytes, mapped and not copied.

    Weights are as they are after training: normal around 0, around 1 those of norms.
    """
    import torch
    from safetensors.torch import load_file

    element = getattr(torch, dtype)
    shapes = dict(_shapes(WIDTHS[dtype], element.itemsize))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * element.itemsize
        short = {"float32": "F32", "bfloat16": "BF16"}[dtype]
        header[name] = {"dtype": short, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = torch.Generator().manual_seed(0)
    with open(paths["safetensors"], "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            mean, std = (1.0, 0.1) if name.endswith("norm.weight") else (0.0, 0.02)
            left = math.prod(shape)
            while left:
                piece = torch.randn(min(left, _PIECE), generator=random) * std + mean
                stream.write(piece.to(element).view(torch.uint8).numpy().data)
                left -= len(piece)
    torch.save(load_file(paths["safetensors"]), paths["zip"])


def _shapes(width: int, itemsize: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield layers as transformers have them, and the embedding that makes the bytes full."""
    left = (mib() << 20) // itemsize
    for layer in range(mib() // _LAYER):
        block = f"model.layers.{layer}"
        for part in "qkvo":
            yield f"{block}.attn.{part}.weight", (width, width)
            yield f"{block}.attn.{part}.bias", (width,)
        yield f"{block}.mlp.up.weight", (4 * width, width)
        yield f"{block}.mlp.down.weight", (width, 4 * width)
        left -= 12 * width * width + 4 * width
    yield "model.norm.weight", (width,)
    yield "model.embed.weight", ((left - width) // width, width)


def _change(source: str, change: str, path: str) -> None:
    """Copy a file with the bytes of some of its tensors changed in place, whatever its format."""
    import torch

    import paramcli

    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = f"{path}.part"
    shutil.copyfile(source, fresh)
    checkpoint = paramcli.open(source)
    random = torch.Generator().manual_seed(1)
    every = CHANGES[change]
    for number, info in enumerate(checkpoint):
        place = checkpoint.locate(info.storage)
        if not every or number % every or place is None:
            continue
        element = getattr(torch, info.dtype.name)
        tensor = torch.from_file(
            fresh, shared=True, size=os.path.getsize(fresh), dtype=torch.uint8
        )[place.offset : place.offset + info.nbytes]
        for at in range(0, info.nbytes, _PIECE * element.itemsize):
            piece = tensor[at : at + _PIECE * element.itemsize]
            numbers = piece.clone().view(element).float()
            numbers += 2e-5 * torch.randn(len(numbers), generator=random)
            piece.copy_(numbers.to(element).view(torch.uint8))
    os.rename(fresh, path)


def _double(source: str, path: str) -> None:
    """Write tensors up to half of all bytes twice, a name and its copy after all others."""
    import paramcli

    os.makedirs(os.path.dirname(path), exist_ok=True)
    checkpoint = paramcli.open(source)
    short = {"float32": "F32", "bfloat16": "BF16"}
    room = sum(info.nbytes for info in checkpoint) // 2
    kept = []
    for info in checkpoint:
        if info.nbytes <= room:
            kept.append(info)
            room -= info.nbytes
    header: dict[str, object] = {}
    end = 0
    for copy in ("", "copy."):
        for info in kept:
            start, end = end, end + info.nbytes
            header[copy + info.name] = {
                "dtype": short[info.dtype.name], "shape": info.shape, "data_offsets": [start, end],
            }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}.part", "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _ in range(2):
            for info in kept:
                stream.write(checkpoint.read(info.storage))
    os.rename(f"{path}.part", path)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _make(*sys.argv[1:])
    elif sys.argv[2] == "double":
        _double(sys.argv[1], sys.argv[3])
    else:
        _change(*sys.argv[1:])
