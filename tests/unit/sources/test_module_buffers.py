"""Buffers of a class: what its constructor gives, without drawing its parameters."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from paramcli.errors import UserCodeError
from paramcli.sources import Request
from paramcli.sources.module import open_buffers, open_module
from paramcli.sources.module_buffers import buffers_undrawn

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

NETS = """
import torch
from torch import nn
from torch.nn.init import kaiming_normal_

class Plain(nn.Module):
    def __init__(self, wide=16):
        super().__init__()
        self.fc = nn.Linear(wide, wide)
        self.attention = nn.MultiheadAttention(16, 2)
        self.bn = nn.BatchNorm1d(4)
        self.register_buffer("mask", torch.ones(3, 3, dtype=torch.bool).tril())
        self.register_buffer("inv_freq", 1 / 10000 ** (torch.arange(0, 8, 2) / 8))
        self.register_buffer("shape", torch.tensor(self.fc.weight.shape))
        self.register_buffer("cache", torch.zeros(9), persistent=False)
        kaiming_normal_(self.fc.weight)
        self.fc.weight.data.mul_(2)

class Average(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("average", self.fc.weight.detach().clone() * 3)

class Features(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("features", torch.randn(5))

class Looks(Plain):
    def __init__(self):
        super().__init__()
        assert 0.01 < float(self.fc.weight.std()) < 10
        self.register_buffer("seen", torch.ones(1))

class Fails(Plain):
    def __init__(self):
        super().__init__()
        raise KeyError("own trouble")

built = Plain()
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    path = tmp_path / "nets.py"
    path.write_text(textwrap.dedent(NETS))
    return str(path)


def values(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    found = {}
    for info in checkpoint:
        assert info.kind == "buffer"
        raw = torch.frombuffer(bytearray(checkpoint.read(info.storage)), dtype=torch.uint8)
        found[info.name] = raw.view(getattr(torch, info.dtype.name)).reshape(info.shape)
    return found


@pytest.mark.parametrize("name", ["Plain", "built", "Looks", "Average", "Features"])
def test_what_the_constructor_gives(nets: str, name: str) -> None:
    checkpoint = open_buffers(Request(f"{nets}:{name}"))
    whole = open_module(Request(f"{nets}:{name}", values=True))
    expected = {info.name: whole.read(info.storage) for info in whole if info.kind == "buffer"}
    found = {info.name: checkpoint.read(info.storage) for info in checkpoint}
    assert found == expected
    assert "cache" not in found
    tensors = values(checkpoint)
    assert torch.equal(tensors["mask"], torch.ones(3, 3, dtype=torch.bool).tril())
    assert torch.equal(tensors["bn.running_var"], torch.ones(4))
    drawn = "built on the CPU, its constructor drawing from seed 0"
    assert checkpoint.notes == ((drawn,) if name in ("Average", "Features", "Looks") else ())
    assert checkpoint.modules["bn.running_mean"].type == "BatchNorm1d"


def test_parameters_are_not_drawn() -> None:
    """Random numbers would be seen: the generator stands where it stood."""

    def make() -> nn.Module:
        module = nn.Sequential(nn.Linear(9, 9), nn.LSTM(3, 4), nn.Embedding(5, 6))
        nn.init.orthogonal_(module[0].weight)  # type: ignore[arg-type]
        nn.init.trunc_normal_(module[2].weight)  # type: ignore[arg-type]
        module.register_buffer("steps", torch.arange(4))
        return module

    before = torch.get_rng_state()
    found = buffers_undrawn(make)
    assert torch.equal(torch.get_rng_state(), before)
    assert found is not None
    assert [info.name for info in found.entries] == ["steps"]
    torch.manual_seed(0)
    nn.init.normal_(drawn := torch.zeros(3))
    assert drawn.any(), "torch.nn.init is as it was"


def test_own_trouble_is_told(nets: str) -> None:
    with pytest.raises(UserCodeError, match="own trouble"):
        open_buffers(Request(f"{nets}:Fails"))
