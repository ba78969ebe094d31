"""One small good file of each format, as bytes, for tests that then spoil them."""

from __future__ import annotations

import io
import json
import warnings
from functools import cache
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save as save_safetensors
from torch import nn
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed
from torch.package.package_exporter import PackageExporter

from tests import handmade, torch_objects
from tests.handmade import Name, Persistent, TarTensor, payload

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "model.safetensors.index.json"
LOCK = b"""\
[dims]
d = 64
[tensors]
"embed.weight" = "float32[vocab, d]"
"blocks.{0..3}.fc.{{w}}" = "float32[4*d + 1, *]"
norm.'weight' = "int8[d, ...]"  # any rank
"head.weight" = "float32[vocab, d]"
[rules]
extra = "allow"
count_max = 8_000_000
dtype = ["float32", "int8"]
tied = [
    ["head.weight", "embed.weight"],
]
"""


def saved(obj: object, *, zipped: bool = True, protocol: int = 2) -> bytes:
    """Return what torch.save writes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(obj, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def training() -> dict[str, object]:
    """Make what a trainer saves: several trees, parameters, ties, and a sparse tensor."""
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    weight = net.state_dict()["0.weight"]
    return {
        "epoch": 3,
        "state_dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "extra": [weight, weight.T, torch.eye(2).to_sparse(), net[0].weight],
    }


class Scripted(nn.Module):
    """A module with parameters, a buffer, and a tensor that is only an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(3))
        self.loose = torch.ones(4)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(batch) + self.loose.sum()
        return out + self.mean.sum()  # type: ignore[operator]


def scripted(module: nn.Module) -> bytes:
    """Return what torch.jit.save writes for a scripted module."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


def exported(program: torch.export.ExportedProgram) -> bytes:
    """Return what torch.export.save writes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of views, which it saves all the same
        torch.export.save(program, buffer)
    return buffer.getvalue()


def export() -> bytes:
    """Make an archive of torch.export with one weight that is a file of torch.save."""
    weights = {"a": payload(), "b": payload(path_name="weight_1", use_pickle=True)}
    entries = {"weights/weight_0": bytes(24), "weights/weight_1": saved(torch.ones(2, 3))}
    return handmade.torch_export({"config": weights}, entries)


def packaged(pickles: dict[str, object]) -> bytes:
    """Return what torch.package writes for objects, each by the path that it shall have."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), PackageExporter(buffer) as exporter:
        warnings.simplefilter("ignore")  # of storages with a type, which torch.package uses still
        exporter.extern("**")
        for path, node in pickles.items():
            exporter.save_pickle(*path.split("/"), node)
    return buffer.getvalue()


def old_script() -> bytes:
    """Make an archive of PyTorch 1.0 to 1.3: modules and tensors in JSON."""
    model = {
        "mainModule": {
            "parameters": [{"name": "mean", "tensorId": "1", "isBuffer": True}],
            "submodules": [
                {"name": "fc", "parameters": [{"name": "weight", "tensorId": "0"}]},
            ],
        },
        "tensors": [
            {
                "dims": ["2", "3"], "offset": "0", "strides": ["3", "1"], "dataType": "FLOAT",
                "data": {"key": "tensors/0"},
            },
            {
                "dims": ["3"], "offset": "0", "strides": ["1"], "dataType": "INT64",
                "data": {"key": "tensors/1"},
            },
        ],
    }  # fmt: skip
    return handmade.zipped(
        {
            "net/model.json": json.dumps(model).encode(),
            "net/tensors/0": bytes(24),
            "net/tensors/1": bytes(24),
        }
    )


def tar() -> bytes:
    """Make a tar checkpoint of two tensors, one of them by a view of the other's storage."""
    return handmade.torch_tar(
        {"a": Persistent(1), "b": Persistent(2)},
        {1: TarTensor(10, (2, 3), (3, 1)), 2: TarTensor(11, (2,), (1,), 0)},
        {10: ("torch.FloatStorage", 6, bytes(24))},
        views=[(11, 10, 2, 2)],
    )


def mentioning(names: list[str]) -> bytes:
    """Make a pickle that names these globals and does nothing with them."""
    return handmade.pickled({name: Name(name) for name in names})


@cache
def files() -> dict[str, bytes]:
    """Return a good file of each format, by a name for the format."""
    weights = {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    return {
        "zip": saved(training()),
        "zip of many": saved(torch_objects.crowd(50, 0)),
        "legacy": saved(training(), zipped=False),
        "legacy of many": saved(torch_objects.crowd(50, 0), zipped=False),
        "tar": tar(),
        "script": scripted(Scripted()),
        "old script": old_script(),
        "export": export(),
        "package": packaged({"net/state.pkl": weights, "net/module.pkl": nn.Linear(2, 2)}),
        "bundle": handmade.zipped({"policy.pth": saved(weights), "data": b"{}"}),
        "safetensors": save_safetensors(weights, {"note": "x", "tied": "a"}),
        "lock": LOCK,
    }


def write_index(directory: Path) -> Path:
    """Write a model in two shards and return the path of its index."""
    directory.mkdir(exist_ok=True)
    shards = {"model-00001-of-00002.safetensors": "a", "model-00002-of-00002.safetensors": "b"}
    for shard, name in shards.items():
        (directory / shard).write_bytes(save_safetensors({name: torch.zeros(2)}))
    index = {"metadata": {"total_size": 16}, "weight_map": {n: s for s, n in shards.items()}}
    (directory / INDEX).write_text(json.dumps(index))
    return directory / INDEX


def write_dcp(directory: Path, obj: dict[str, object] | None = None) -> Path:
    """Write a distributed checkpoint and return the path of its `.metadata`."""
    state = {"model": {"w": torch.zeros(2, 3), "b": torch.ones(3)}, "step": 3, "more": [1, "x"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_distributed(state if obj is None else obj, checkpoint_id=directory)
    return directory / ".metadata"
