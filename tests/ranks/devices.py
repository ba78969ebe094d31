"""Run by torchrun: commands on CUDA devices that are but pretended; `several` runs them.

What they compute they compute on the CPU, and gloo stands in for NCCL. Each rank notes in a folder
of its own name which device it took, and how many groups its results travelled by in the end.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from paramcli import ranks
from tests.ranks.several import several

_device = torch.device


class _Pretended(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _device)


class _Device(metaclass=_Pretended):
    """`torch.device`, which knows the CPU alone."""

    def __new__(cls, *_: object, **__: object) -> torch.device:  # type: ignore[misc]
        return _device("cpu")


def main(commands: list[list[str]], told: str, count: int) -> None:
    """Run commands with so many devices on this machine."""
    taken: list[Any] = []

    def set_device(device: Any) -> None:
        taken.append(device)

    torch.device = _Device  # type: ignore[misc]
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: count
    torch.cuda.set_device = set_device
    dist.is_nccl_available = lambda: True
    ranks._BY_DEVICE = "gloo"
    several(commands, told)
    note = {"taken": sorted(set(taken)), "groups": len(ranks._groups)}
    Path(f"{told}.{os.environ['RANK']}").write_text(json.dumps(note), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)
