"""Distributed checkpoints in safetensors, as ranks of torch write them, are put together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

import paramcli
from paramcli.cli import main
from paramcli.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

ROOT = Path(__file__).parents[3]
RANK = """
import os, sys, torch, torch.distributed as dist, warnings
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh
warnings.simplefilter("ignore")
mesh = init_device_mesh("cpu", (2,))
def cut(tensor, *how):
    return distribute_tensor(tensor, mesh, how)
state = {
    "rows": cut(torch.arange(35.0).reshape(5, 7), Shard(0)),
    "columns": cut(torch.arange(24).reshape(4, 6).to(torch.bfloat16), Shard(1)),
    "same": cut(torch.ones(3), Replicate()),
    "scalar": torch.tensor(2.5),
}
save(state, storage_writer=HuggingFaceStorageWriter(path=sys.argv[1], save_distributed=True))
os._exit(0)
"""
WHOLE = {
    "rows": torch.arange(35.0).reshape(5, 7),
    "columns": torch.arange(24).reshape(4, 6).to(torch.bfloat16),
    "same": torch.ones(3),
    "scalar": torch.tensor(2.5),
}


def test_what_two_ranks_wrote(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
            str(script), str(tmp_path / "dcp"),
        ],
        timeout=200, check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = paramcli.open(tmp_path / "dcp")
    assert found.format == "dcp"
    save_file(WHOLE, tmp_path / "whole.safetensors")
    assert main(["diff", str(tmp_path / "dcp"), str(tmp_path / "whole.safetensors")]) == 0
    assert {info.name: info.shape for info in found} == {
        name: tuple(tensor.shape) for name, tensor in WHOLE.items()
    }


def shards(folder: Path, *ranks: Mapping[str, tuple[Tensor, list[int]]]) -> Path:
    """Write files as ranks do, each tensor with where it begins."""
    for number, pieces in enumerate(ranks, 1):
        told = {name: {"saved_offsets": start} for name, (_, start) in pieces.items()}
        save_file(
            {name: tensor for name, (tensor, _) in pieces.items()},
            folder / f"shard-{number:05d}-model-00001-of-00001.safetensors",
            {"DCP_SHARDING_INFO": json.dumps(told)},
        )
    return folder


ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((ONES, [0, 0]), (ONES, [3, 0]), "do not cover it once"),
        ((ONES, [0, 0]), (ONES, [1, 0]), "do not cover it once"),
        ((ONES, [0, 0]), (ONES, [2]), "where its piece"),
        ((ONES, [0, 0]), (ONES, [-2, 0]), "where its piece"),
        ((ONES, [0, 0]), (ONES.half(), [2, 0]), "not of the others' kind"),
        ((ONES, [0, 0]), (torch.ones(2), [2]), "not of the others' kind"),
    ],
)
def test_pieces_that_do_not_add_up(
    first: tuple[Tensor, list[int]], second: tuple[Tensor, list[int]], said: str, tmp_path: Path
) -> None:
    shards(tmp_path, {"w": first}, {"w": second})
    with pytest.raises(SourceError, match=said):
        paramcli.open(tmp_path)


@pytest.mark.parametrize("told", ["", "[]", "{", '{"w": 1}', '{"w": {"saved_offsets": "x"}}'])
def test_metadata_that_say_nothing(told: str, tmp_path: Path) -> None:
    shards(tmp_path, {"w": (ONES, [0, 0])}, {"w": (ONES, [2, 0])})
    path = tmp_path / "shard-00002-model-00001-of-00001.safetensors"
    save_file({"w": ONES}, path, {"DCP_SHARDING_INFO": told})
    with pytest.raises(SourceError, match=r"cannot be read|where its piece"):
        paramcli.open(tmp_path)


def test_a_piece_that_is_missing(tmp_path: Path) -> None:
    shards(tmp_path, {"w": (ONES, [0, 0])}, {"w": (ONES, [2, 0])}, {"w": (ONES, [4, 0])})
    assert paramcli.open(tmp_path)["w"].shape == (6, 3)
    (tmp_path / "shard-00002-model-00001-of-00001.safetensors").unlink()
    with pytest.raises(SourceError, match="do not cover it once") as caught:
        paramcli.open(tmp_path)
    assert "missing" in str(caught.value.hint)
