"""Law 1: what is compared with itself is the same, both ways round tell the same story, and edits
that were planted are what is found, in every pair of formats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import paramcli
from paramcli.verbs.diff import DiffReport, Options, diff

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

State = dict[str, torch.Tensor]


def model(seed: int, layers: int, width: int) -> State:
    """Make a small transformer's state dict, every tensor of it different."""
    generator = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    state = {"embed.weight": made(7, width)}
    for layer in range(layers):
        at = f"blocks.{layer}"
        state |= {
            f"{at}.norm.weight": made(width),
            f"{at}.attn.q.weight": made(width, width),
            f"{at}.attn.k.weight": made(width, width),
            f"{at}.attn.v.weight": made(width, width),
            f"{at}.mlp.up.weight": made(3 * width, width),
            f"{at}.mlp.up.bias": made(3 * width),
        }
    return state | {"head.weight": made(9, width), "head.bias": made(9)}


class Planted(NamedTuple):
    """An edited state dict and what is to be found of it."""

    state: State
    only_a: set[str]
    only_b: set[str]
    shape: set[str]
    dtype: set[str]
    values: set[str]
    renamed: set[tuple[str, str]]
    fused: set[tuple[str, tuple[str, ...], int, bool]]
    transposed: set[tuple[str, str]]
    ties: set[frozenset[str]]


EDITS = ["drop", "add", "reshape", "cast", "perturb", "rename", "tune", "transpose", "fuse", "tie"]
_ENOUGH = 64
"""Elements by which a tensor is known again that has another name and other values."""


def edited(state: State, edits: list[tuple[str, int]]) -> Planted:  # noqa: C901, PLR0912 - a case for each kind
    """Plant edits, each in tensors that no other edit has touched."""
    new = dict(state)
    found = Planted(new, *(set() for _ in Planted._fields[1:]))
    free = [name for name in state if ".attn." not in name]
    layers = sorted({name.split(".")[1] for name in state if name.startswith("blocks")})
    for number, (edit, choice) in enumerate(edits):
        if edit == "fuse":
            if layers:
                fuse(found, f"blocks.{layers.pop(choice % len(layers))}.attn", number, choice)
            continue
        if edit == "add":
            new[f"extra.{number}.scale"] = torch.full((3, number + 1), 2.0)
            found.only_b.add(f"extra.{number}.scale")
            continue
        if not free:
            continue
        name = free.pop(choice % len(free))
        tensor = new[name]
        match edit:
            case "drop":
                del new[name]
                found.only_a.add(name)
            case "reshape":
                new[name] = tensor.reshape(1, *tensor.shape)
                found.shape.add(name)
            case "cast":
                new[name] = tensor.double()
                found.dtype.add(name)
            case "perturb":
                new[name] = tensor.clone()
                new[name].view(-1)[choice % tensor.numel()] += 1
                found.values.add(name)
            case "rename":
                new[f"moved{number}.{choice}"] = new.pop(name)
                found.renamed.add((name, f"moved{number}.{choice}"))
            case "tune":
                if tensor.numel() < _ENOUGH:
                    continue
                new[f"tuned{number}.{choice}"] = new.pop(name) * 0.99 + 0.01
                found.renamed.add((name, f"tuned{number}.{choice}"))
                found.values.add(name)
            case "transpose":
                if tensor.ndim != 2:
                    continue
                new[name] = tensor.T.contiguous()
                found.transposed.add((name, name))
                found.shape.add(name)
            case "tie":
                new[f"tied.{number}"] = tensor
                found.ties.add(frozenset({name, f"tied.{number}"}))
    return found


def fuse(found: Planted, at: str, number: int, choice: int) -> None:
    """Make one of the three tensors of an attention, or of their transposes."""
    parts = tuple(f"{at}.{part}.weight" for part in "qkv")
    axis, turned = choice % 2, choice % 3 == 0
    taken = [found.state.pop(part) for part in parts]
    stack = torch.cat([part.T for part in taken] if turned else taken, axis)
    found.state[f"{at}.in_proj_{number}"] = stack
    found.fused.add((f"{at}.in_proj_{number}", parts, axis, turned))


def written(state: State, form: str, folder: Path, name: str) -> Checkpoint:
    """Save a state dict in one of the formats and open it."""
    if form == "sharded" and not state:  # an index of nothing is none
        form = "safetensors"
    path = folder / f"{name}.{form}"
    if form == "pt":
        torch.save(state, path)
    elif form == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif form == "safetensors":
        kept, metadata = single(state)
        save_file(kept, path, metadata or None)
    else:
        path.mkdir(exist_ok=True)
        kept, metadata = single(state)
        names = list(kept)
        shards = {"s1.safetensors": names[::2], "s2.safetensors": names[1::2]}
        for shard, held in shards.items():
            mine = {removed: to for removed, to in metadata.items() if to in held}
            save_file({key: kept[key] for key in held}, path / shard, mine or None)
        weight_map = {key: shard for shard, held in shards.items() for key in held}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return paramcli.open(path)


def single(state: State) -> tuple[State, dict[str, str]]:
    """One name for each storage, and the rest as safetensors' metadata has it."""
    first: dict[int, str] = {}
    kept: State = {}
    removed = {}
    for name, tensor in state.items():
        owner = first.setdefault(tensor.data_ptr(), name)
        if owner == name:
            kept[name] = tensor
        else:
            removed[name] = owner
    return kept, removed


FORMS = st.sampled_from(["pt", "legacy", "safetensors", "sharded"])
MODELS = st.builds(model, st.integers(0, 99), st.integers(0, 3), st.sampled_from([4, 5, 8]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("law1")


class TestLaw1:
    @given(state=MODELS, forms=st.tuples(FORMS, FORMS))
    def test_nothing_differs_from_itself(
        self, folder: Path, state: State, forms: tuple[str, str]
    ) -> None:
        a, b = (written(state, form, folder, "ab"[i]) for i, form in enumerate(forms))
        report = diff(a, b)
        assert report.same
        assert (report.equal, report.not_compared) == (len(state), 0)
        report = diff(a, b, Options(shapes=True))
        assert report.same
        assert (report.equal, report.not_compared) == (0, len(state))

    @given(
        state=MODELS,
        edits=st.lists(
            st.tuples(st.sampled_from([*EDITS, "tune", "fuse"]), st.integers(0, 50)), max_size=6
        ),
        forms=st.tuples(FORMS, FORMS),
    )
    def test_what_was_planted_is_found(
        self, folder: Path, state: State, edits: list[tuple[str, int]], forms: tuple[str, str]
    ) -> None:
        planted = edited(state, edits)
        a = written(state, forms[0], folder, "a")
        b = written(planted.state, forms[1], folder, "b")
        report = diff(a, b)
        assert set(report.only_a) == planted.only_a
        assert set(report.only_b) == planted.only_b
        assert {one.name for one in report.shape} == planted.shape
        assert {one.name for one in report.dtype} == planted.dtype
        assert {one.name for one in report.values} == planted.values
        assert {(one.a, one.b) for one in report.renamed} == planted.renamed
        assert {
            (one.whole, one.parts, one.axis, one.transposed) for one in report.fused
        } == planted.fused
        assert {one.name for one in report.shape if one.transposed} == {
            name for name, _ in planted.transposed
        }
        assert {frozenset(names) for names in report.ties.only_b} == planted.ties
        assert not report.ties.only_a
        assert report.same == (planted.state.keys() == state.keys() and not any(planted[3:]))
        assert not report.ambiguous
        mirrored(report, diff(b, a))


def mirrored(one: DiffReport, other: DiffReport) -> None:
    """Assert that both tell the same from either side."""
    assert one.same == other.same
    assert one.equal == other.equal
    assert one.not_compared == other.not_compared
    assert set(one.only_a) == set(other.only_b)
    assert set(one.only_b) == set(other.only_a)
    assert {(s.name, s.a, s.b, s.transposed) for s in one.shape} == {
        (s.name, s.b, s.a, s.transposed) for s in other.shape
    }
    assert {tuple(d) for d in one.dtype} == {(d.name, d.b, d.a) for d in other.dtype}
    assert {(r.a, r.b) for r in one.renamed} == {(r.b, r.a) for r in other.renamed}
    assert {f[:3] for f in one.fused} == {f[:3] for f in other.fused}
    assert set(one.ties.only_a) == set(other.ties.only_b)
    assert set(one.transposed) == {(t.b, t.a) for t in other.transposed}
    called = {renamed.a: renamed.b for renamed in one.renamed}
    for mine, theirs in zip(
        sorted(one.values, key=lambda change: called.get(change.name, change.name)),
        sorted(other.values, key=lambda change: change.name),
        strict=True,
    ):
        assert mine.metrics is not None
        assert theirs.metrics is not None
        assert called.get(mine.name, mine.name) == theirs.name
        assert mine.metrics.changed == theirs.metrics.changed
        assert mine.metrics.max_abs == theirs.metrics.max_abs
        assert mine.metrics.l2 == pytest.approx(theirs.metrics.l2, rel=1e-12)
        assert mine.metrics.cosine == pytest.approx(theirs.metrics.cosine, abs=1e-12)
