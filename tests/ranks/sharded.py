"""Run by torchrun on four ranks: models cut in every way, saved in both distributed formats."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

CUT = {
    "rows": (torch.arange(35.0).reshape(5, 7), Shard(0), Replicate()),
    "columns": (torch.arange(24).reshape(4, 6).to(torch.bfloat16), Replicate(), Shard(1)),
    "both": (torch.arange(63, dtype=torch.float64).reshape(7, 9), Shard(0), Shard(1)),
    "twice": (torch.arange(11), Shard(0), Shard(0)),
    "middle": (torch.arange(30).reshape(2, 5, 3).half(), Shard(1), Shard(2)),
    "same": (torch.ones(3), Replicate(), Replicate()),
    "few": (torch.tensor([7.0]), Shard(0), Replicate()),
}
"""Tensors, and how they are cut over a mesh of two by two: some so that a rank has none of it."""


def sharded(folder: Path) -> None:
    """Save what FSDP2 and DTensor cut, and beside it the same in one piece."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3, bias=False))
    model.register_buffer("steps", torch.tensor(9))
    whole = {f"fsdp.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    for module in (model[0], model):
        fully_shard(module, mesh=init_device_mesh("cpu", (4,)))
    state = {f"fsdp.{name}": tensor for name, tensor in model.state_dict().items()}
    mesh = init_device_mesh("cpu", (2, 2))
    for name, (tensor, *how) in CUT.items():
        whole[name], state[name] = tensor, distribute_tensor(tensor, mesh, how)
    save(state, storage_writer=FileSystemWriter(folder / "torch"))
    pieces = HuggingFaceStorageWriter(path=str(folder / "safetensors"), save_distributed=True)
    save(state, storage_writer=pieces)
    if torch.distributed.get_rank() == 0:
        torch.save(whole, folder / "whole.pt")
    torch.distributed.barrier()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sharded(Path(sys.argv[1]))
    os._exit(0)
