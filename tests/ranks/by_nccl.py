"""Run by torchrun on a CUDA device: one rank, whose results travel by NCCL."""

from __future__ import annotations

import json
import sys

import torch.distributed as dist

from paramcli import ranks


def main() -> None:
    """Tell which device was taken, by what results travel, and what came of some."""
    ranks._exchange(None)  # the group of gloo, which several ranks would have by now
    device = ranks.own_device()
    found = ranks._exchange({"moments": [1, 2.5]})
    sys.stdout.write(json.dumps([device, dist.get_backend(ranks._groups[0]), found]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
