"""Roles, fans, parts and layers: from modules, and from names such as real models have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.utils.prune
from torch import nn
from torch.nn import init

import paramcli
from paramcli.schemes.roles import subjects
from paramcli.schemes.subject import Subject
from tests.unit.schemes.made import checkpoint
from tests.unit.schemes.test_layers import described

if TYPE_CHECKING:
    from pathlib import Path

GPT2 = {
    "wte.weight": (50, 8), "wpe.weight": (16, 8), "h.0.ln_1.weight": (8,), "h.0.ln_1.bias": (8,),
    "h.0.attn.bias": (1, 1, 16, 16), "h.0.attn.masked_bias": (),
    "h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_attn.bias": (24,),
    "h.0.attn.c_proj.weight": (8, 8), "h.0.attn.c_proj.bias": (8,),
    "h.0.mlp.c_fc.weight": (8, 32), "h.0.mlp.c_fc.bias": (32,),
    "h.0.mlp.c_proj.weight": (32, 8), "h.0.mlp.c_proj.bias": (8,), "ln_f.weight": (8,),
}  # fmt: skip
LLAMA = {
    "model.embed_tokens.weight": (50, 8),
    **{f"model.layers.{i}.{name}": shape for i in (0, 1, 10) for name, shape in {
        "self_attn.q_proj.weight": (8, 8), "self_attn.k_proj.weight": (2, 8),
        "self_attn.o_proj.weight": (8, 8), "self_attn.rotary_emb.inv_freq": (2,),
        "mlp.gate_proj.weight": (20, 8), "mlp.down_proj.weight": (8, 20),
        "input_layernorm.weight": (8,), "self_attn.q_norm.weight": (4,),
    }.items()},
    "model.norm.weight": (8,), "lm_head.weight": (50, 8),
}  # fmt: skip
BERT = {
    "embeddings.word_embeddings.weight": (50, 8), "embeddings.position_embeddings.weight": (16, 8),
    "embeddings.token_type_embeddings.weight": (2, 8), "embeddings.LayerNorm.gamma": (8,),
    "embeddings.LayerNorm.beta": (8,), "encoder.layer.3.attention.self.query.weight": (8, 8),
    "encoder.layer.3.attention.self.query.bias": (8,),
    "encoder.layer.3.attention.output.dense.weight": (8, 8),
    "encoder.layer.3.attention.output.LayerNorm.weight": (8,),
    "encoder.layer.3.intermediate.dense.weight": (32, 8),
    "encoder.layer.3.output.dense.weight": (8, 32), "pooler.dense.weight": (8, 8),
    "classifier.weight": (2, 8),
}  # fmt: skip
RESNET = {
    "conv1.weight": (8, 3, 7, 7), "bn1.weight": (8,), "bn1.running_mean": (8,),
    "layer1.0.conv1.weight": (8, 8, 3, 3), "layer1.0.bn1.weight": (8,),
    "layer1.0.conv2.weight": (8, 8, 3, 3), "layer1.0.bn2.weight": (8,), "layer1.0.bn2.bias": (8,),
    "layer2.0.conv1.weight": (16, 8, 3, 3), "layer2.0.bn1.weight": (16,),
    "layer2.0.conv2.weight": (16, 16, 3, 3), "layer2.0.bn2.weight": (16,),
    "layer2.0.downsample.0.weight": (16, 8, 1, 1), "layer2.0.downsample.1.weight": (16,),
    "layer2.0.downsample.1.bias": (16,), "layer2.0.downsample.1.running_mean": (16,),
    "layer2.0.downsample.1.running_var": (16,), "layer2.0.downsample.1.num_batches_tracked": (),
    "fc.weight": (10, 16), "fc.bias": (10,),
}  # fmt: skip
VIT = {
    "cls_token": (1, 1, 8), "pos_embed": (1, 17, 8), "patch_embed.proj.weight": (8, 3, 4, 4),
    "patch_embed.proj.bias": (8,), "blocks.0.norm1.weight": (8,),
    "blocks.0.attn.qkv.weight": (24, 8),
    "blocks.0.attn.proj.weight": (8, 8), "blocks.0.ls1.gamma": (8,), "blocks.0.gamma_1": (8,),
    "blocks.0.mlp.fc1.weight": (32, 8), "blocks.0.mlp.fc2.weight": (8, 32),
    "blocks.0.attn.relative_position_bias_table": (49, 2), "head.weight": (10, 8),
}  # fmt: skip
WHISPER = {
    "encoder.conv1.weight": (8, 80, 3), "encoder.positional_embedding": (16, 8),
    "encoder.blocks.0.attn.query.weight": (8, 8), "encoder.blocks.0.attn.out.weight": (8, 8),
    "encoder.blocks.0.attn_ln.weight": (8,), "encoder.blocks.0.mlp.0.weight": (32, 8),
    "encoder.blocks.0.mlp.2.weight": (8, 32), "encoder.ln_post.weight": (8,),
    "decoder.token_embedding.weight": (50, 8), "decoder.blocks.0.attn.out.weight": (8, 8),
    "decoder.blocks.0.cross_attn.out.weight": (8, 8), "decoder.blocks.0.mlp.2.weight": (8, 32),
}  # fmt: skip
SWIN = {
    f"layers.{stage}.blocks.{block}.{name}.weight": (8, 8)
    for stage, depth in enumerate((2, 1)) for block in range(depth)
    for name in ("attn.proj", "mlp.fc1")
}  # fmt: skip
MIXTRAL = {
    f"model.layers.0.block_sparse_moe.experts.{expert}.{name}.weight": (8, 8)
    for expert in range(3) for name in ("w1", "w2", "w3")
} | {"model.layers.0.self_attn.o_proj.weight": (8, 8)}  # fmt: skip


@pytest.mark.parametrize(
    ("shapes", "roles"),
    [
        (GPT2, {"wte": "embedding", "wpe": "position", "h.0.ln_1.weight": "norm_weight",
                "h.0.ln_1.bias": "norm_bias", "h.0.attn.bias": "buffer",
                "h.0.attn.masked_bias": "buffer", "h.0.attn.c_attn.weight": "weight",
                "h.0.attn.c_attn.bias": "bias", "ln_f": "norm_weight"}),
        (LLAMA, {"model.embed": "embedding", "model.layers.0.self_attn.q_proj": "weight",
                 "model.layers.0.self_attn.rotary": "buffer", "model.norm": "norm_weight",
                 "model.layers.0.input": "norm_weight", "model.layers.0.self_attn.q_norm":
                 "norm_weight", "lm_head": "weight"}),
        (BERT, {"embeddings.word": "embedding", "embeddings.position": "position",
                "embeddings.token_type": "embedding", "embeddings.LayerNorm.gamma": "norm_weight",
                "embeddings.LayerNorm.beta": "norm_bias",
                "encoder.layer.3.attention.self.query.bias": "bias",
                "encoder.layer.3.attention.output.LayerNorm": "norm_weight",
                "pooler": "weight", "classifier": "weight"}),
        (RESNET, {"conv1": "weight", "bn1.weight": "norm_weight",
                  "bn1.running_mean": "running_mean",
                  "layer2.0.downsample.0": "weight", "layer2.0.downsample.1.weight": "norm_weight",
                  "layer2.0.downsample.1.bias": "norm_bias",
                  "layer2.0.downsample.1.running_var": "running_var",
                  "layer2.0.downsample.1.num": "counter", "fc.bias": "bias"}),
        (VIT, {"cls_token": "embedding", "pos_embed": "position",
               "patch_embed.proj.weight": "weight",
               "patch_embed.proj.bias": "bias", "blocks.0.ls1.gamma": "scale",
               "blocks.0.gamma_1": "scale", "blocks.0.norm1": "norm_weight",
               "blocks.0.attn.relative": "position", "head": "weight"}),
        (WHISPER, {"encoder.conv1": "weight", "encoder.positional": "position",
                   "encoder.blocks.0.attn_ln": "norm_weight", "encoder.ln_post": "norm_weight",
                   "decoder.token_embedding": "embedding"}),
        ({"logit_scale": (), "odd": (3,), "act.weight": (1,), "0.weight": (7,), "w": (3, 4)},
         {"logit_scale": "scale", "odd": "unknown", "act": "scale", "0.weight": "norm_weight",
          "w": "weight"}),
    ],
    ids=["gpt2", "llama", "bert", "resnet", "vit", "whisper", "others"],
)  # fmt: skip
def test_roles_from_names(shapes: dict[str, tuple[int, ...]], roles: dict[str, str]) -> None:
    found = subjects(checkpoint(shapes))
    for start, role in roles.items():
        matching = [one for name, one in found.items() if name.startswith(start)]
        assert matching, start
        assert {one.role for one in matching} == {role}, start
    assert all(one.why for one in found.values())
    assert all(one.module == "" for one in found.values())


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_whole_numbers_are_buffers(dtype: str) -> None:
    of = subjects(checkpoint({"embeddings.position_ids": (1, 16)}, dtype))
    assert of["embeddings.position_ids"].role == "buffer"


def residual(shapes: dict[str, tuple[int, ...]]) -> set[str]:
    return {
        name
        for name, one in subjects(checkpoint(shapes)).items()
        if one.block and one.block.residual
    }


@pytest.mark.parametrize(
    ("shapes", "last", "branches"),
    [
        (GPT2, {"h.0.attn.c_proj.weight", "h.0.mlp.c_proj.weight"}, 2),
        (LLAMA, {f"model.layers.{i}.{name}.weight" for i in (0, 1, 10)
                 for name in ("self_attn.o_proj", "mlp.down_proj")}, 2),
        (BERT, {"encoder.layer.3.attention.output.dense.weight",
                "encoder.layer.3.output.dense.weight"}, 2),
        (RESNET, {"layer1.0.bn2.weight", "layer2.0.bn2.weight"}, 1),
        (VIT, {"blocks.0.attn.proj.weight", "blocks.0.mlp.fc2.weight"}, 2),
        (MIXTRAL, {"model.layers.0.self_attn.o_proj.weight",
                   *(f"model.layers.0.block_sparse_moe.experts.{i}.w2.weight" for i in range(3))},
         2),
    ],
    ids=["gpt2", "llama", "bert", "resnet", "vit", "mixtral"],
)  # fmt: skip
def test_last_layers_of_branches(
    shapes: dict[str, tuple[int, ...]], last: set[str], branches: int
) -> None:
    assert residual(shapes) == last
    found = subjects(checkpoint(shapes))
    for name in last:
        block = found[name].block
        assert block is not None
        assert block.branches == branches


def test_layers_are_counted() -> None:
    found = subjects(checkpoint(dict(reversed(LLAMA.items()))))
    places = [found[f"model.layers.{i}.mlp.gate_proj.weight"].block for i in (0, 1, 10)]
    assert [(one.index, one.count) for one in places if one] == [(0, 3), (1, 3), (2, 3)]
    stages = subjects(checkpoint(RESNET))
    block = stages["layer2.0.conv1.weight"].block
    assert block is not None
    assert (block.index, block.count) == (1, 2)
    assert stages["conv1.weight"].block is stages["fc.weight"].block is None
    nested = [one.block for one in subjects(checkpoint(SWIN)).values()]
    assert [(one.index, one.count) for one in nested if one] == [(0, 3)] * 2 + [(1, 3)] * 2 + [
        (2, 3)
    ] * 2
    whisper = subjects(checkpoint(WHISPER))
    decoder = whisper["decoder.blocks.0.cross_attn.out.weight"].block
    encoder = whisper["encoder.blocks.0.mlp.2.weight"].block
    assert decoder is not None
    assert encoder is not None
    assert (decoder.branches, encoder.branches, encoder.count) == (3, 2, 1)
    sequential = subjects(
        checkpoint({"conv.0.weight": (6, 1, 5, 5), "conv.3.weight": (9, 6, 5, 5)})
    )
    assert all(one.block is None for one in sequential.values())


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(7, 5), nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, (3, 5)), nn.Conv3d(4, 6, 3),
        nn.Embedding(9, 4), nn.Bilinear(3, 4, 5),
    ],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_fans_are_torchs(module: nn.Module) -> None:
    assert isinstance(module.weight, torch.Tensor)
    for of in (
        described(module)["weight"],
        subjects(checkpoint({"weight": tuple(module.weight.shape)}))["weight"],
    ):
        assert (of.fan_in, of.fan_out) == init._calculate_fan_in_and_fan_out(module.weight)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_fans_of_convolutions_are_counted(groups: int, *, transposed: bool) -> None:
    """By what each output sees, and what each input reaches, with a kernel of ones."""
    make = nn.ConvTranspose1d if transposed else nn.Conv1d
    module = make(8, 12, 5, groups=groups, bias=False)
    nn.init.ones_(module.weight)
    of = described(module)["weight"]
    outputs = module(torch.ones(1, 8, 40))
    assert of.fan_in == int(outputs[0, 0, 20])
    image = torch.zeros(1, 8, 40)
    image[0, 0, 20] = 1
    assert of.fan_out == int(module(image).sum())
    assert of.transposed is transposed
    assert ("groups" in of.why) is (groups > 1)


def test_a_shape_alone_swaps_the_fans_of_a_transposed_convolution() -> None:
    shape = (8, 12, 5)
    of = subjects(checkpoint({"deconv.weight": shape}))["deconv.weight"]
    assert (of.fan_in, of.fan_out) == (60, 40)
    assert "named like a transposed convolution" in of.why
    told = subjects(checkpoint({"up.weight": shape, "up.bias": (12,)}))["up.weight"]
    assert (told.fan_in, told.fan_out, told.transposed) == (40, 60, True)
    assert "its bias has length 12" in told.why


def test_conv1d_of_gpt2() -> None:
    found = subjects(checkpoint(GPT2))
    of = found["h.0.mlp.c_fc.weight"]
    assert (of.fan_in, of.fan_out) == (8, 32)
    assert "laid out as [in, out]" in of.why
    assert found["h.0.mlp.c_fc.bias"].fan_in == 8
    alone = subjects(checkpoint({"h.0.mlp.c_fc.weight": (8, 32)}))["h.0.mlp.c_fc.weight"]
    assert (alone.fan_in, alone.fan_out) == (32, 8)
    assert "GPT-2 may have it as [in, out]" in alone.why


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_gates(kind: type[nn.LSTM | nn.GRU], gates: int) -> None:
    module = kind(7, 5, num_layers=2)
    shapes = {f"rnn.{name}": tuple(one.shape) for name, one in module.state_dict().items()}
    for found in (described(module), subjects(checkpoint(shapes))):
        for name, of in found.items():
            assert of.parts == (5,) * gates, name
            assert of.role == ("bias" if "bias" in name else "weight")
            if of.role == "weight":
                wide = 7 if name.endswith("ih_l0") else 5
                assert (of.fan_in, of.fan_out) == (wide, 5)


def test_projected_lstm_from_names() -> None:
    module = nn.LSTM(7, 6, proj_size=2)
    shapes = {f"rnn.{name}": tuple(one.shape) for name, one in module.state_dict().items()}
    found = subjects(checkpoint(shapes))
    for name, of in described(module).items():
        other = found[f"rnn.{name}"]
        assert (of.fan_in, of.fan_out, of.parts) == (other.fan_in, other.fan_out, other.parts), name


def test_attention_is_three_parts() -> None:
    for found in (
        described(nn.MultiheadAttention(8, 2)),
        subjects(checkpoint({"in_proj_weight": (24, 8), "in_proj_bias": (24,)})),
    ):
        of = found["in_proj_weight"]
        assert (of.fan_in, of.fan_out, of.parts) == (8, 8, (8, 8, 8))
        assert found["in_proj_bias"].parts == (8, 8, 8)


def test_modules_say_more_than_names() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.Linear(3, 4)
            self.fc = nn.LayerNorm(5)
            self.head = nn.Embedding(6, 7, padding_idx=2)
            self.register_buffer("table", torch.ones(3))
            self.gate = nn.Parameter(torch.ones(5, 6))

    found = described(Odd())
    assert found["norm.weight"].role == "weight"
    assert found["fc.weight"].role == "norm_weight"
    assert (found["head.weight"].role, found["head.weight"].padding) == ("embedding", 2)
    assert found["table"].role == "buffer"
    assert (found["gate"].role, found["gate"].module) == ("weight", "")
    assert found["fc.weight"].classes == ("LayerNorm",)


def test_subclasses_and_parametrizations_are_what_they_derive_from() -> None:
    class Mine(nn.Linear):
        pass

    module = nn.Sequential(Mine(3, 4), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)))
    found = described(module)
    assert found["0.weight"].module == "Linear"
    of = found["1.parametrizations.weight.original"]
    assert (of.module, of.role, of.fan_in, of.fan_out) == ("Linear", "weight", 4, 5)
    assert found["1.bias"].fan_in == 4
    buffers = [one for name, one in found.items() if name.startswith("1.parametrizations.weight.0")]
    assert {one.role for one in buffers} == {"buffer"}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_reparametrized_weights() -> None:
    """Of a weight norm the lengths are a scale, the directions the weight; a mask is neither."""
    module = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        nn.utils.weight_norm(nn.Linear(4, 5)),
        torch.nn.utils.prune.identity(nn.Linear(5, 6), "weight"),  # type: ignore[no-untyped-call]
    )
    found = described(module)
    told = subjects(checkpoint({name: of.shape for name, of in found.items()}))
    for subjects_ in (found, told):
        roles = {name: of.role for name, of in subjects_.items()}
        assert roles == {
            "0.bias": "bias", "0.parametrizations.weight.original0": "scale",
            "0.parametrizations.weight.original1": "weight", "1.bias": "bias",
            "1.weight_g": "scale", "1.weight_v": "weight", "2.bias": "bias",
            "2.weight_orig": "weight", "2.weight_mask": "buffer",
        }  # fmt: skip
        assert [subjects_[f"{i}.bias"].fan_in for i in range(3)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("layers.0.mixer.A_log", (8, 4), "unknown"), ("fc.weight_scale_inv", (2, 2), "scale"),
        ("block.layer_scale", (8, 1, 1), "scale"), ("attn.logit_scale", (4, 1, 1), "scale"),
        ("text_projection", (8, 8), "weight"), ("query_tokens", (1, 8, 4), "embedding"),
        ("mask_token", (1, 1, 8), "embedding"), ("lora_A.weight", (2, 8), "weight"),
        ("t.relative_attention_bias.weight", (32, 4), "position"), ("fc.q_bias", (8,), "bias"),
    ],
)  # fmt: skip
def test_odd_names(name: str, shape: tuple[int, ...], role: str) -> None:
    assert subjects(checkpoint({name: shape}))[name].role == role


def test_ties_share_a_subject_and_count_as_embeddings() -> None:
    found = subjects(paramcli.open("sample_models.tiny_gpt:TinyGPT"))
    assert found["lm_head.weight"] is found["embed.weight"]
    of = found["embed.weight"]
    assert (of.name, of.role) == ("embed.weight", "embedding")
    assert "tied, so lm_head.weight counts as embedding too" in of.why

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 9, bias=False)
            self.embed = nn.Embedding(9, 4)
            self.embed.weight = self.head.weight

    turned = described(Turned())
    assert turned["embed.weight"] is turned["head.weight"]
    assert (turned["head.weight"].name, turned["head.weight"].role) == ("head.weight", "embedding")


@pytest.mark.parametrize(
    "target",
    ["sample_models.lenet:LeNet", "sample_models.tiny_gpt:TinyGPT", "sample_models.net3d:Net3d",
     "sample_models.network:Network", "sample_models.shared_mlp:SharedMLP"],
)  # fmt: skip
def test_names_tell_what_modules_do(target: str) -> None:
    """A checkpoint of a sample model is read as the model itself."""
    known = paramcli.open(target)
    shapes = {info.name: info.shape for info in known}
    told = subjects(checkpoint(shapes))
    for name, of in subjects(known).items():
        if of.role not in ("buffer", "counter") and of.name == name:
            other = told[name]
            assert (other.role, other.fan_in, other.fan_out, other.block) == (
                of.role, of.fan_in, of.fan_out, of.block
            ), name  # fmt: skip


def test_all_is_described_fast() -> None:
    shapes = {
        f"layers.{i}.mlp.experts.{j}.w1.weight": (4, 4) for i in range(50) for j in range(100)
    }
    found = subjects(checkpoint(shapes))
    assert len(found) == 5000
    assert isinstance(found["layers.0.mlp.experts.0.w1.weight"], Subject)
    assert math.prod(found["layers.49.mlp.experts.99.w1.weight"].shape) == 16


def test_a_pickled_module_states_kinds_and_its_norms_are_known_all_the_same(
    tmp_path: Path,
) -> None:
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), tmp_path / "whole.pt")
    found = subjects(paramcli.open(tmp_path / "whole.pt"))
    assert {name.removeprefix("1."): of.role for name, of in found.items() if name[0] == "1"} == {
        "weight": "norm_weight", "bias": "norm_bias", "running_mean": "running_mean",
        "running_var": "running_var", "num_batches_tracked": "counter",
    }  # fmt: skip
