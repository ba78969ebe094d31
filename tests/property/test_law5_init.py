"""Law 5: `init` touches only what was selected and what is tied to it.

The bytes are a function of seed, name, shape, dtype and scheme, and of nothing else: not of order,
selection, workers, pieces or shards.
"""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.checkpoint import Checkpoint
from paramcli.save import save
from paramcli.schemes.recipe import compose
from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.initialize import initialized, make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMES = (
    "kaiming_normal", "xavier_uniform", "trunc_normal(std=0.02)", "orthogonal", "zeros",
    "constant(value=0.5)", "torch", "normal(mean=1, std=2)",
)  # fmt: skip
DTYPE_NAMES = ("float32", "float64", "bfloat16", "float16", "float8_e4m3fn")


class Tensor(NamedTuple):
    """A tensor of a target; `ties` are further names of it."""

    name: str
    shape: tuple[int, ...]
    ties: int


LEAVES = ("weight", "bias")
MODULES = ("fc", "blocks.0.attn", "norm", "embed", "head", "conv")


@st.composite
def targets(draw: st.DrawFn) -> list[Tensor]:
    paths = draw(st.lists(st.sampled_from(MODULES), min_size=1, unique=True))
    found = []
    for path in paths:
        size = draw(st.integers(1, 12))
        norm = path == "norm"
        shape = (
            (size,) if norm else (size, *draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
        )
        found.append(Tensor(f"{path}.weight", shape, draw(st.integers(0, 2))))
        if draw(st.booleans()):
            found.append(Tensor(f"{path}.bias", (size,), 0))
    return found


def checkpoint(tensors: Sequence[Tensor], dtype: str = "float32") -> Checkpoint:
    """Names and shapes without bytes; tied names come last."""
    entries = []
    for one in tensors:
        stride, step = [], 1
        for size in reversed(one.shape):
            stride.append(step)
            step *= size
        kind = DTYPES[dtype]
        storage = Storage("", one.name, kind.nbytes(step))
        info = TensorInfo(one.name, kind, one.shape, tuple(reversed(stride)), 0, storage)
        entries.append((0, info))
        entries += [(n + 1, info._replace(name=f"z{n}.{one.name}")) for n in range(one.ties)]
    entries.sort(key=lambda pair: pair[0])
    return Checkpoint(origin="made", format="lock", entries=tuple(info for _, info in entries))


def drawn(
    tensors: Sequence[Tensor], scheme: str, seed: int = 0, dtype: str = "float32"
) -> Checkpoint:
    plan = make_plan(checkpoint(tensors, dtype), compose(scheme), seed=seed)
    return initialized(plan, "0")


def contents(made: Checkpoint) -> dict[str, bytes]:
    return {info.name: made.read(info.storage) for info in made}


@given(
    tensors=targets(), scheme=st.sampled_from(SCHEMES), dtype=st.sampled_from(DTYPE_NAMES),
    seed=st.integers(0, 1 << 66), data=st.data(),
)  # fmt: skip
def test_neither_order_nor_selection_counts(
    tensors: list[Tensor], scheme: str, dtype: str, seed: int, data: st.DataObject
) -> None:
    whole = contents(drawn(tensors, scheme, seed, dtype))
    some = data.draw(st.permutations(tensors))[: data.draw(st.integers(1, len(tensors)))]
    # A bias of PyTorch's own draws depends on the weight beside it, so both stay together.
    paths = {one.name.rpartition(".")[0] for one in some}
    some = [*some, *(one for one in tensors if one not in some
                     and one.name.rpartition(".")[0] in paths)]  # fmt: skip
    for name, content in contents(drawn(some, scheme, seed, dtype)).items():
        assert whole[name] == content


@given(
    tensors=targets(), scheme=st.sampled_from(SCHEMES), dtype=st.sampled_from(DTYPE_NAMES),
    data=st.data(),
)  # fmt: skip
def test_any_stretch_alone(
    tensors: list[Tensor], scheme: str, dtype: str, data: st.DataObject
) -> None:
    made = drawn(tensors, scheme, 0, dtype)
    assert made.draw is not None
    for info in made:
        whole = made.read(info.storage)
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        part = bytearray(stop - start)
        drawn(tensors, scheme, 0, dtype).draw(info.storage, start, memoryview(part))  # type: ignore[misc]
        assert part == whole[start:stop]


@given(tensors=targets(), scheme=st.sampled_from(SCHEMES))
def test_tied_names_stay_tied(tensors: list[Tensor], scheme: str) -> None:
    """What is tied is drawn once, as its first name; other names change nothing."""
    made = drawn(tensors, scheme)
    alone = contents(drawn([one._replace(ties=0) for one in tensors], scheme))
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.safetensors")
        save(made, path)
        written = paramcli.open(path)
        assert [group.names for group in written.groups()] == [
            group.names for group in checkpoint(tensors).groups()
        ]
        for one in tensors:
            for name in (one.name, *(f"z{n}.{one.name}" for n in range(one.ties))):
                info = written[name]
                start, end = info.extent
                assert written.read(info.storage)[start:end] == alone[one.name]


@given(tensors=targets(), scheme=st.sampled_from(SCHEMES), size=st.integers(1, 4000))
def test_shards_do_not_count(tensors: list[Tensor], scheme: str, size: int) -> None:
    made = drawn(tensors, scheme)
    whole = contents(made)
    with TemporaryDirectory() as folder:
        shards = os.path.join(folder, "shards")
        save(made, shards, shard_size=size, workers=1)
        written = paramcli.open(shards)
        for info in written:
            start, end = info.extent
            assert written.read(info.storage)[start:end] == whole[info.name]


@pytest.mark.parametrize("scheme", ["normal(std=0.02)", "trunc_normal", "orthogonal"])
def test_workers_do_not_count(scheme: str, tmp_path: Path) -> None:
    """Of more than two pieces, so that there are jobs for all."""
    tensors = [Tensor("a.weight", (700, 600), 1), Tensor("b.weight", (300, 1200), 0)]
    files = []
    for workers in (1, 2, 3):
        path = tmp_path / f"{workers}.safetensors"
        save(drawn(tensors, scheme), path, workers=workers)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


@given(tensors=targets(), scheme=st.sampled_from(SCHEMES), data=st.data())
def test_only_what_is_missing_is_touched(
    tensors: list[Tensor], scheme: str, data: st.DataObject
) -> None:
    kept = data.draw(st.lists(st.sampled_from(tensors), unique=True))
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "base.safetensors")
        save(drawn([Tensor("unrelated", (2, 2), 0), *kept], "normal(std=0.5)", seed=9), path)
        base = paramcli.open(path)
        plan = make_plan(checkpoint(tensors), compose(scheme), base=base)
        mixed, fresh = contents(initialized(plan, "0")), contents(drawn(tensors, scheme))
        names = {one.name for one in kept}
        for one in tensors:
            if one.name in names:
                start, end = base[one.name].extent
                assert mixed[one.name] == base.read(base[one.name].storage)[start:end]
            else:
                assert mixed[one.name] == fresh[one.name]


@given(
    tensors=targets(), seeds=st.lists(st.integers(-9, 1 << 70), min_size=2, max_size=2, unique=True)
)
def test_the_seed_counts(tensors: list[Tensor], seeds: list[int]) -> None:
    one, other = (contents(drawn(tensors, "normal", seed)) for seed in seeds)
    for tensor in tensors:
        if tensor.name.endswith("weight") and not tensor.name.startswith("norm"):
            assert one[tensor.name] != other[tensor.name]
