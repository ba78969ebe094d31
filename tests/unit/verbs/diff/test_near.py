"""Tensors that were tuned or rounded are known by values under any name, and never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import paramcli
from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.diff import diff
from paramcli.verbs.diff import near as rooms
from paramcli.verbs.diff.near import near, sample
from paramcli.verbs.diff.side import Side
from tests.handmade import storage, tensor, torch_zip, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

    State = dict[str, torch.Tensor]

NAMES = {
    "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj", "attention.out": "self_attn.o_proj",
    "ff.0": "mlp.up_proj", "ff.2": "mlp.down_proj", "norm1": "input_layernorm",
    "blocks": "model.layers", "embedding": "model.embed_tokens",
}  # fmt: skip


def saved(path: Path, state: State) -> Checkpoint:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return paramcli.open(path)


def side(checkpoint: Checkpoint) -> Side:
    return Side(checkpoint, {info.name: info for info in checkpoint})


def transformer(layers: int = 3, width: int = 16) -> State:
    """Weights as another program would call them, layers of one shape several times in each."""
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    state = {"embedding.weight": drawn(50, width)}
    for layer in range(layers):
        for name in ("query", "key", "value", "out"):
            state[f"blocks.{layer}.attention.{name}.weight"] = drawn(width, width)
            state[f"blocks.{layer}.attention.{name}.bias"] = drawn(width)
        for name, rows, columns in (("0", 4 * width, width), ("2", width, 4 * width)):
            state[f"blocks.{layer}.ff.{name}.weight"] = drawn(rows, columns)
            state[f"blocks.{layer}.ff.{name}.bias"] = drawn(rows)
        state[f"blocks.{layer}.norm1.weight"] = 1 + drawn(width) / 10
    return state


def called(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tuned": lambda weight: weight + 0.02 * torch.randn_like(weight),
    "rounded": lambda weight: weight.bfloat16(),
    "tuned and rounded": lambda weight: (weight + 0.02 * torch.randn_like(weight)).half(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_name_of_a_model_that_changed(change: str, tmp_path: Path) -> None:
    """Biases are too short to tell; the rules that weights prove name them too."""
    state = transformer()
    other = {called(name): CHANGES[change](weight) for name, weight in state.items()}
    report = diff(saved(tmp_path / "a", state), saved(tmp_path / "b", other))
    assert {one.a: one.b for one in report.renamed} == {name: called(name) for name in state}
    assert {one.by for one in report.renamed} == {"rewrite"}
    assert not report.only_a
    assert not report.only_b
    assert not report.ambiguous
    rules = {one.a: one.rules for one in report.renamed}
    assert rules["blocks.1.ff.2.bias"] == (("blocks", "model.layers"), ("ff.2", "mlp.down_proj"))
    assert rules["embedding.weight"] == (("embedding", "model.embed_tokens"),)


def test_another_model_of_the_same_shapes_is_another(tmp_path: Path) -> None:
    state = transformer()
    other = {called(name): torch.randn_like(weight) for name, weight in state.items()}
    a, b = saved(tmp_path / "a", state), saved(tmp_path / "b", other)
    assert near(side(a), side(b)) == {}
    assert not any(one.a.endswith("weight") and "attention" in one.a for one in diff(a, b).renamed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.ones(100), torch.ones(100) * 1.01),
        (torch.zeros(100), torch.zeros(100)),
        (torch.arange(60.0), torch.arange(60.0) + 0.1),
        (torch.arange(100), torch.arange(100) + 1),
        (torch.full((100,), torch.nan), torch.arange(100.0)),
        (torch.full((100,), 3e38), torch.arange(100.0)),
        (torch.arange(100.0), -torch.arange(100.0)),
        (torch.empty(0, 100), torch.empty(0, 100)),
    ],
    ids=["constant", "zero", "few", "integers", "NaN", "huge", "opposite", "empty"],
)
def test_what_proves_nothing(one: torch.Tensor, other: torch.Tensor, tmp_path: Path) -> None:
    a, b = saved(tmp_path / "a", {"x": one}), saved(tmp_path / "b", {"y": other})
    assert near(side(a), side(b)) == {}


def test_two_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    weight = torch.randn(20, 20)
    a = saved(tmp_path / "a", {"x": weight, "z": torch.randn(20, 20)})
    b = saved(tmp_path / "b", {"y": weight + 0.01, "y2": weight - 0.01})
    assert near(side(a), side(b)) == {}
    assert near(side(b), side(a)) == {}


def test_views_and_any_byte_order_are_read(tmp_path: Path) -> None:
    weight = torch.arange(840.0).sin().reshape(12, 70)
    torch.save({"x": weight.T, "whole": torch.zeros(9)}, tmp_path / "a.pt")
    b = saved(tmp_path / "b", {"y": (weight.T * 1.01).double()})
    a = paramcli.open(tmp_path / "a.pt")
    assert near(side(a), side(b)) == {"x": "y"}
    report = diff(a, b)
    assert [(one.a, one.b) for one in report.renamed] == [("x", "y")]
    big = (weight * 1.01).numpy().astype(">f4").tobytes()
    content = tensor(storage(numel=840), (12, 70), (70, 1))
    made = torch_zip({"y": content}, {"0": big}, byteorder=b"big")
    c = paramcli.open(written(tmp_path / "c.pt", made))
    d = saved(tmp_path / "d", {"x": weight})
    assert near(side(d), side(c)) == {"x": "y"}


@given(shape=st.lists(st.integers(0, 100), max_size=4).map(tuple))
def test_samples_are_the_first_elements(shape: tuple[int, ...]) -> None:
    stride = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    info = TensorInfo("x", DTYPES["float32"], shape, stride, 0, Storage("f", 0, 4 * 100**4))
    part = sample(info)
    assert part.contiguous
    assert part.numel <= 4096
    assert part.numel == info.numel or 2 * part.numel > 4096 or part.shape[-1] < shape[-1]


@given(
    seed=st.integers(0, 1 << 32), count=st.integers(1, 12), noise=st.floats(0, 0.3),
    order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_each_finds_its_own(
    seed: int, count: int, noise: float, order: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("near")
    rng = np.random.default_rng(seed)
    weights = [torch.from_numpy(rng.standard_normal((8, 32))) for _ in range(count)]
    changed = [one + noise * torch.from_numpy(rng.standard_normal((8, 32))) for one in weights]
    places = list(range(count))
    order.shuffle(places)  # type: ignore[attr-defined]
    a = saved(folder / "a", {f"a{place}": weights[place] for place in range(count)})
    b = saved(folder / "b", {f"b{place}": changed[place] for place in places})
    assert near(side(a), side(b)) == {f"a{place}": f"b{place}" for place in range(count)}


def test_many_of_one_shape_are_compared_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "_ROWS", 7)
    weights = [torch.randn(10, 30) for _ in range(40)]
    a = saved(tmp_path / "a", {f"a{at}": one for at, one in enumerate(weights)})
    b = saved(tmp_path / "b", {f"b{at}": one + 0.01 for at, one in enumerate(weights)})
    assert near(side(a), side(b)) == {f"a{at}": f"b{at}" for at in range(40)}
    twice = {f"b{at}": one + 0.01 for at, one in enumerate([*weights, weights[3], weights[30]])}
    c = saved(tmp_path / "c", twice)
    assert near(side(a), side(c)) == {f"a{at}": f"b{at}" for at in range(40) if at not in (3, 30)}
    assert near(side(c), side(a)).keys() == {f"b{at}" for at in range(40)} - {"b3", "b30"}
    monkeypatch.setattr(rooms, "_MOST_ALIKE", 39)
    assert near(side(a), side(b)) == {}
