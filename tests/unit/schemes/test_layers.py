"""The scheme `torch` against what torch's modules draw themselves; the tutorial's; LSTM gates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from paramcli.checkpoint import Checkpoint
from paramcli.errors import UsageError
from paramcli.schemes.roles import subjects
from paramcli.sources.module_tree import survey
from sample_models.net3d import Net3d, weight_init
from tests.unit.schemes.made import law, p_value, sample, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.schemes.subject import Subject

MODULES: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(70, 90),
    "LinearWithoutBias": lambda: nn.Linear(70, 90, bias=False),
    "Bilinear": lambda: nn.Bilinear(12, 20, 30),
    "Conv1d": lambda: nn.Conv1d(12, 40, 5),
    "Conv2d": lambda: nn.Conv2d(12, 40, (3, 5), groups=4),
    "Depthwise": lambda: nn.Conv2d(160, 160, 5, groups=160),
    "Conv3d": lambda: nn.Conv3d(6, 20, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(30, 12, 5),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(30, 12, 3, groups=3),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(16, 7, 3),
    "Embedding": lambda: nn.Embedding(60, 50, padding_idx=3),
    "EmbeddingBag": lambda: nn.EmbeddingBag(60, 50),
    "LSTM": lambda: nn.LSTM(30, 20, num_layers=2, bidirectional=True),
    "LSTMProjected": lambda: nn.LSTM(30, 20, proj_size=8),
    "GRU": lambda: nn.GRU(30, 20),
    "RNN": lambda: nn.RNN(30, 20),
    "LSTMCell": lambda: nn.LSTMCell(30, 20),
    "GRUCell": lambda: nn.GRUCell(30, 20),
    "MultiheadAttention": lambda: nn.MultiheadAttention(48, 4, add_bias_kv=True),
    "MultiheadAttentionApart": lambda: nn.MultiheadAttention(48, 4, kdim=20, vdim=30),
    "BatchNorm": lambda: nn.BatchNorm2d(30),
    "LayerNorm": lambda: nn.LayerNorm((5, 6)),
    "GroupNorm": lambda: nn.GroupNorm(3, 30),
    "RMSNorm": lambda: nn.RMSNorm(30),
    "InstanceNorm": lambda: nn.InstanceNorm2d(30, affine=True, track_running_stats=True),
    "PReLU": lambda: nn.PReLU(8),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(48, 4, 96),
    "AdaptiveLogSoftmax": lambda: nn.AdaptiveLogSoftmaxWithLoss(40, 60, [10, 30]),
}


def described(module: nn.Module) -> dict[str, Subject]:
    entries, _, unpack, owners, _ = survey(module, values=True)
    checkpoint = Checkpoint(
        origin="", format="module", entries=entries, unpack=unpack, modules=owners
    )
    return subjects(checkpoint)


@pytest.mark.parametrize("name", MODULES)
def test_draws_what_the_layer_draws(name: str) -> None:
    """Many modules together, so that small biases are samples too: bounds, std, distribution."""
    torch.manual_seed(5)
    modules = [MODULES[name]() for _ in range(20)]
    for tensor, of in described(modules[0]).items():
        theirs = np.stack(
            [module.state_dict()[tensor].double().numpy().reshape(-1) for module in modules]
        )
        ours = np.stack([sample("torch", of, seed).reshape(-1) for seed in range(20)])
        expected = law("torch", of)
        assert expected.std is not None, tensor
        assert theirs.std() == pytest.approx(expected.std, rel=0.2, abs=1e-12), tensor
        if expected.std == 0:
            assert (ours == theirs).all(), tensor
            continue
        assert theirs.std() == pytest.approx(expected.std, rel=6 / math.sqrt(theirs.size)), tensor
        assert p_value(ours, theirs) > 1e-4, tensor
        if name not in ("Embedding", "EmbeddingBag") and "bias_" not in tensor[:6]:
            bound = math.sqrt(3) * expected.std
            assert np.abs(theirs).max() <= bound * (1 + 1e-6), tensor
            assert np.abs(theirs).max() > bound * 0.9, tensor


def test_attention_is_whole_for_torch_and_three_for_us() -> None:
    of = described(nn.MultiheadAttention(48, 4))["in_proj_weight"]
    assert law("torch", of).std == pytest.approx(math.sqrt(2 / (48 + 144)))
    assert law("xavier_uniform", of).std == pytest.approx(math.sqrt(2 / (48 + 48)))


def test_what_no_layer_draws() -> None:
    with pytest.raises(UsageError, match="no layer of PyTorch") as caught:
        law("torch", subject(5, name="odd"))
    assert caught.value.hint is not None
    assert "odd" in caught.value.hint


def test_tutorial_is_net_apply() -> None:
    torch.manual_seed(0)
    nets = [Net3d().apply(weight_init) for _ in range(300)]
    for name, of in described(nets[0]).items():
        theirs = torch.stack([net.state_dict()[name].double() for net in nets])
        expected = law("tutorial", of)
        assert expected.mean == pytest.approx(float(theirs.mean()), abs=0.02)
        assert expected.std == pytest.approx(float(theirs.std()), rel=0.08, abs=1e-12), name
    assert law("tutorial", described(Net3d())["conv.weight"]).std == math.sqrt(2 / (27 * 4))


@pytest.mark.parametrize("name", ["bias_ih_l0", "bias_ih_l1_reverse"])
def test_lstm_forget(name: str) -> None:
    of = described(nn.LSTM(3, 5, num_layers=2, bidirectional=True))[name]
    assert sample("lstm_forget(value=2)", of).tolist() == [0] * 5 + [2] * 5 + [0] * 10
    other = of._replace(name=name.replace("ih", "hh"))
    assert not sample("lstm_forget", other).any()
    assert not sample("lstm_forget", described(nn.GRU(3, 5))["bias_ih_l0"]).any()
    with pytest.raises(UsageError, match="no bias of an LSTM"):
        law("lstm_forget", subject(20, name="fc.bias"))
