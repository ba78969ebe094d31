"""Distributed checkpoints in safetensors, as ranks of torch write them, are put together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

import paramcli
from paramcli.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor


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
