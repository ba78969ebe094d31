"""Groups beside those that accelerate and safetensors find: where they are right, and are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import _find_shared_tensors, load_model, save_model
from torch import nn

import paramcli
from paramcli.save import save
from paramcli.sharing import share
from paramcli.sources.module_tree import survey
from tests import tied_modules, torch_objects
from tests.tied_modules import planted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = ["sample_models.shared_mlp:SharedMLP", "sample_models.tiny_gpt:TinyGPT",
           "sample_models.lenet:LeNet"]  # fmt: skip


def ours(module: nn.Module) -> set[frozenset[str]]:
    entries = survey(module, values=True).entries
    return {frozenset(group.names) for group in share(entries)}


def theirs(module: nn.Module) -> set[frozenset[str]]:
    found = _find_shared_tensors(module.state_dict())
    return {frozenset(names) for names in found if len(names) > 1}


@pytest.fixture(scope="module")
def accelerate() -> Callable[[nn.Module], set[frozenset[str]]]:
    """Give accelerate's finder, whose import takes longer than all tests here that do without."""
    from accelerate.utils import find_tied_parameters

    def find(module: nn.Module) -> set[frozenset[str]]:
        return {frozenset(names) for names in find_tied_parameters(module)}

    return find


def built(target: str) -> nn.Module:
    from paramcli.sources import Request
    from paramcli.sources.module import built_module

    with built_module(Request(target)) as module:
        made: nn.Module = module
    return made


@pytest.mark.parametrize("target", SAMPLES)
def test_samples(target: str) -> None:
    assert ours(built(target)) == theirs(built(target))


@pytest.mark.parametrize("target", SAMPLES)
def test_samples_beside_accelerate(target: str, accelerate: Any) -> None:
    assert ours(built(target)) == accelerate(built(target))


@given(seed=st.integers(0, 1 << 32))
def test_planted_ties(seed: int) -> None:
    module, ties = planted(seed)
    assert ours(module) == theirs(module) == ties


def test_planted_ties_beside_accelerate(accelerate: Any) -> None:
    for seed in range(200):
        module, ties = planted(seed)
        assert ours(module) == ties
        assert accelerate(module) == ties


def test_accelerate_misses_one_storage_under_two_parameters(accelerate: Any) -> None:
    module = tied_modules.DataTie()
    assert accelerate(module) == set()
    assert ours(module) == theirs(module) == {frozenset({"a.weight", "b.weight"})}


def test_safetensors_fails_on_nested_views() -> None:
    """Views sorted by their start are compared with the last end alone, so a third falls out."""
    base = torch.arange(100.0)
    module = nn.Module()
    for name, view in {"whole": base, "a": base[10:20], "b": base[50:60]}.items():
        module.register_buffer(name, view)
    assert ours(module) == {frozenset({"whole", "a", "b"})}
    assert theirs(module) != ours(module)


def test_safetensors_cannot_load_a_shared_batch_norm(tmp_path: Path) -> None:
    """It drops one name of a counter when it saves, and wants another when it loads."""

    class Shared(nn.Sequential):
        def __init__(self) -> None:
            norm = nn.BatchNorm1d(4)
            super().__init__(norm, nn.Linear(4, 4), norm)

    model = Shared()
    path = tmp_path / "theirs.safetensors"
    save_model(model, str(path))
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        load_model(Shared(), path)
    assert ours(model) >= {frozenset({"0.num_batches_tracked", "2.num_batches_tracked"})}
    assert {frozenset(group.names) for group in paramcli.open(str(path)).groups()} == ours(model)
    torch_objects.save(model.state_dict(), tmp_path / "model.pt")
    save(paramcli.open(str(tmp_path / "model.pt")), tmp_path / "ours.safetensors")
    found = paramcli.open(str(tmp_path / "ours.safetensors"))
    assert {frozenset(group.names) for group in found.groups()} == ours(model)


def test_safetensors_sees_nothing_on_meta() -> None:
    with torch.device("meta"):
        module = tied_modules.Embedded()
    entries = survey(module, values=False).entries
    assert theirs(module) == set()
    assert [group.names for group in share(entries)] == [("embed.weight", "head.weight")]
    unlike = nn.Module()
    for name in "ab":
        unlike.register_buffer(name, torch.empty(3, device="meta"))
    assert not ours(unlike)


def test_files_agree(tmp_path: Path) -> None:
    """A state dict saved and opened has the groups that safetensors finds in it."""
    for seed in range(20):
        module, ties = planted(seed)
        path = torch_objects.save(module.state_dict(), tmp_path / "model.pt")
        assert {frozenset(group.names) for group in paramcli.open(path).groups()} == ties
