"""Equal bytes without a tie: held against torch.equal of every pair."""

from __future__ import annotations

import random
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import paramcli
from paramcli.verbs.tie import equal as room
from paramcli.verbs.tie import find_equal
from tests import torch_objects
from tests.unit.numeric.test_containers import WRITERS

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.verbs.tie.report import Equal

DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.complex128]


def found(path: str) -> tuple[Equal, ...]:
    return find_equal(paramcli.open(path))[0]


def random_of(dtype: torch.dtype, *shape: int) -> Tensor:
    size = torch.Size(shape).numel() * dtype.itemsize
    raw = bytearray(random.Random(size).randbytes(size))
    return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)


@pytest.mark.parametrize("form", WRITERS)
def test_every_format(form: str, tmp_path: Path) -> None:
    weight = torch.randn(40, 30)
    (tmp_path / form).mkdir()
    tensors = {"embed": weight, "other": weight + 1, "head": weight.clone()}
    tensors["turned"] = weight.t().contiguous()
    equal = found(WRITERS[form](tmp_path / form, tensors))
    assert [(one.names, one.relation, one.saved) for one in equal] == [
        (("embed", "head"), "same", 4800),
        (("embed", "turned"), "transposed", 4800),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposes(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = random_of(dtype, 70, 9)
    state = {"a": weight, "b": weight.t().contiguous(), "c": random_of(dtype, 9, 70)}
    equal = found(torch_objects.save(state, tmp_path / "model.pt"))
    assert [(one.names, one.relation) for one in equal] == [(("a", "b"), "transposed")]


def test_more_likely_pairs_than_are_compared_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse matrices look alike wherever one looks; every one has its transpose among them."""
    monkeypatch.setattr(room, "_TOGETHER", 7)
    tensors: dict[str, Tensor] = {}
    for number in range(12):
        matrix = torch.zeros(64, 64)
        matrix[1, number + 30] = 1.0
        tensors |= {f"{number}.a": matrix, f"{number}.b": matrix.t().contiguous()}
    path = str(tmp_path / "x.safetensors")
    save_file(tensors, path)
    names = {one.names for one in found(path)}
    assert names == {(f"{number}.a", f"{number}.b") for number in range(12)}


def test_transposes_of_many_tiles(tmp_path: Path) -> None:
    weight = torch.randn(2100, 2050)
    other = weight.t().contiguous()
    state = {"a": weight, "b": other}
    path = torch_objects.save(state, tmp_path / "model.pt")
    assert [one.relation for one in found(path)] == ["transposed"]
    other[2049, 2099] += 1
    assert not found(torch_objects.save(state, tmp_path / "model.pt"))


def test_a_stride_is_no_difference(tmp_path: Path) -> None:
    """A matrix stored by columns equals one stored by rows, and is no transpose of it."""
    weight = torch.randn(8, 12)
    state = {"rows": weight, "columns": weight.t().contiguous().t()}
    equal = found(torch_objects.save(state, tmp_path / "model.pt"))
    assert [(one.names, one.relation) for one in equal] == [(("rows", "columns"), "same")]


def test_what_is_tied_is_not_equal_untied(tmp_path: Path) -> None:
    weight = torch.randn(8, 12)
    state = {"a": weight, "b": weight, "t": weight.t(), "flat": weight.flatten()}
    assert not found(torch_objects.save(state, tmp_path / "model.pt"))
    state["c"] = weight.clone()
    equal = found(torch_objects.save(state, tmp_path / "model.pt"))
    assert [one.names for one in equal] == [("a", "c")]


def test_noise_is_left_out(tmp_path: Path) -> None:
    state = {f"zeros.{n}": torch.zeros(5000) for n in range(3)}
    state |= {f"ones.{n}": torch.ones(64) for n in range(2)} | {"tiny": torch.randn(15)}
    state |= {"tiny.2": state["tiny"].clone()}
    sparse = torch.zeros(100_000)
    sparse[30_000] = 1  # where no sample is taken
    state |= {"sparse": sparse, "sparse.2": sparse.clone()}
    save_file(state, tmp_path / "model.safetensors")
    equal, left_out = find_equal(paramcli.open(str(tmp_path / "model.safetensors")))
    assert [one.names for one in equal] == [("sparse", "sparse.2")]
    assert left_out == (2, 5)


def test_alike_where_samples_are_taken(tmp_path: Path) -> None:
    """Six tensors agree in every sample; in the middle there are three kinds."""
    state = {}
    for number in range(6):
        weight = torch.arange(60_000.0)
        weight[20_000] = number % 3
        state[f"w{number}"] = weight
    save_file(state, tmp_path / "model.safetensors")
    equal = found(str(tmp_path / "model.safetensors"))
    assert [one.names for one in equal] == [("w0", "w3"), ("w1", "w4"), ("w2", "w5")]


def test_what_skips_elements(tmp_path: Path) -> None:
    base = torch.randn(40, 3)
    state = {"a": base[:, 0], "b": base[:, 0].clone()[:, None].expand(40, 2)[:, 1], "c": base[:, 1]}
    state["b"] = torch.stack([state["a"], state["a"]], 1)[:, 1]
    equal = found(torch_objects.save(state, tmp_path / "model.pt"))
    assert [one.names for one in equal] == [("a", "b")]


@given(seed=st.integers(0, 1 << 32))
def test_all_pairs(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    pool = [random_of(rng.choice(DTYPES[:3]), 8, 8 + rng.choice([0, 8])) for _ in range(2)]
    pool += [pool[0] * 1, pool[0].roll(1)]
    state: dict[str, Tensor] = {}
    for number in range(rng.randint(2, 7)):
        made = rng.choice(pool)
        state[f"t{number}"] = (made.t() if rng.random() < 0.4 else made).contiguous().clone()
    path = str(tmp_path_factory.mktemp("pairs") / "model.safetensors")
    save_file(state, path)
    raw = {name: torch_objects.raw_bytes(tensor) for name, tensor in state.items()}
    turned = {name: torch_objects.raw_bytes(t.t().contiguous()) for name, t in state.items()}
    same: set[tuple[str, str]] = set()
    crossed: set[tuple[str, str]] = set()
    for one in found(path):
        assert one.relation in ("same", "transposed")
        (same if one.relation == "same" else crossed).update(combinations(one.names, 2))
    for a, b in combinations(state, 2):
        alike = state[a].dtype == state[b].dtype
        equal = alike and state[a].shape == state[b].shape and raw[a] == raw[b]
        assert ((a, b) in same) is equal
        across = alike and state[a].shape == state[b].t().shape and raw[a] == turned[b]
        if (a, b) in crossed:
            assert across
        if across and not equal:  # through those that are equal to either
            linked = {frozenset(pair) for pair in same | crossed}
            assert any(
                frozenset({x, y}) in linked
                for x in state if x == a or frozenset({x, a}) in linked
                for y in state if y == b or frozenset({y, b}) in linked
            )  # fmt: skip
