"""Law 3: names, dtypes, shapes, strides, offsets and sharing are those that torch loads."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import paramcli
from paramcli.sources.pickles.calls import TensorCalls
from tests import torch_objects

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.sources.pickles.calls import Run

FEW = settings(max_examples=settings().max_examples // 10)
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("law3") / "model.pt"


def opened_slowly(target: str) -> Checkpoint:
    """Open a file opcode by opcode, no run of tensors read in one step."""
    with patch.object(TensorCalls, "read", lambda *_: None):
        return paramcli.open(target, everything=True)


def assert_agrees(target: str, *, weights_only: bool) -> Checkpoint:
    """Assert that a file holds what torch says, its bytes included, read fast or slowly."""
    checkpoint = paramcli.open(target, everything=True)
    tensors = list(torch_objects.leaves(torch_objects.load(target, weights_only=weights_only)))
    assert torch_objects.listed(checkpoint.entries) == torch_objects.described(tensors)
    by_name = {info.name: tensor for info, (_, tensor) in zip(checkpoint, tensors, strict=True)}
    for info, content in torch_objects.stored_bytes(checkpoint):
        assert content == torch_objects.raw_bytes(by_name[info.name])
    assert opened_slowly(target).entries == checkpoint.entries
    return checkpoint


def torch_refuses(target: str) -> bool:
    try:
        torch_objects.load(target, weights_only=True)
    except Exception:  # noqa: BLE001 - any refusal counts
        return True
    return False


@FORMATS
@given(data=st.data())
def test_any_object(data: st.DataObject, path: Path, *, zipped: bool) -> None:
    obj = data.draw(torch_objects.objects(zipped=zipped))
    target = torch_objects.save(obj, path, zipped=zipped)
    checkpoint = assert_agrees(target, weights_only=True)
    assert checkpoint.pickle is not None
    assert not checkpoint.pickle.refused
    assert not checkpoint.pickle.inert


@FORMATS
@given(data=st.data(), protocol=st.sampled_from([1, 3, 4, 5]))
def test_any_protocol(data: st.DataObject, protocol: int, path: Path, *, zipped: bool) -> None:
    """What weights_only refuses is said beforehand, and listed all the same."""
    obj = data.draw(torch_objects.objects(zipped=zipped))
    target = torch_objects.save(obj, path, zipped=zipped, protocol=protocol)
    checkpoint = assert_agrees(target, weights_only=False)
    assert checkpoint.pickle is not None
    assert bool(checkpoint.pickle.refused) is torch_refuses(target)


@FORMATS
@FEW
@given(seed=st.integers(0, 1 << 32), protocol=st.sampled_from([2, 2, 2, 4]))
@pytest.mark.parametrize("count", [50, 300, 1_100, 2_100])
def test_many_tensors(count: int, seed: int, protocol: int, path: Path, *, zipped: bool) -> None:
    """Beyond slot 256 the memo is written by another opcode; beyond 1,000 items comes a batch."""
    obj = torch_objects.crowd(count, seed)
    target = torch_objects.save(obj, path, zipped=zipped, protocol=protocol)
    assert_agrees(target, weights_only=protocol == 2)


@FORMATS
@pytest.mark.parametrize("count", [300, 2_100])
def test_many_tensors_take_the_fast_way(count: int, path: Path, *, zipped: bool) -> None:
    """The comparison above compares two ways only if runs are found: here nearly all is one."""
    runs: list[Run] = []
    read = TensorCalls.read

    def counted(*args: object) -> Run | None:
        run = read(*args)  # type: ignore[arg-type]
        if run is not None:
            runs.append(run)
        return run

    target = torch_objects.save(torch_objects.crowd(count, 0), path, zipped=zipped)
    with patch.object(TensorCalls, "read", counted):
        paramcli.open(target)
    assert sum(len(run.names) for run in runs) > count / 2


@FORMATS
@FEW
@given(data=st.data(), root=st.sampled_from(["list", "tuple", "nested"]))
def test_many_tensors_outside_a_dictionary(
    data: st.DataObject, root: str, path: Path, *, zipped: bool
) -> None:
    """Names and tensors in turn, but in no dictionary: no run may be read there."""
    state = torch_objects.crowd(60, data.draw(st.integers(0, 1 << 32)))
    flat = [part for pair in state.items() for part in pair]
    obj = {"list": flat, "tuple": tuple(flat), "nested": [{"a": state}, tuple(flat)]}[root]
    target = torch_objects.save(obj, path, zipped=zipped)
    assert_agrees(target, weights_only=True)


@given(data=st.data())
def test_refusals_are_torchs_own(data: st.DataObject, path: Path) -> None:
    """A file of plain objects beside tensors is refused by weights_only just when we say so."""
    extra = data.draw(
        st.sampled_from(
            [{1, 2}, frozenset([1]), bytearray(b"x"), b"bytes", 1 + 2j, slice(1), range(3), ...]
        )
    )  # fmt: skip
    target = torch_objects.save({"w": torch_objects.crowd(2, 0), "extra": extra}, path)
    checkpoint = assert_agrees(target, weights_only=False)
    assert checkpoint.pickle is not None
    assert bool(checkpoint.pickle.refused) is torch_refuses(target)


@given(data=st.data())
def test_a_key_lists_what_stands_there(data: st.DataObject, path: Path) -> None:
    """`key="root"` gives the tensors below it, under their names from there on."""
    obj = data.draw(torch_objects.objects())
    assert isinstance(obj, dict)
    tensors = list(torch_objects.leaves(obj["root"]))
    assume(tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = torch_objects.save(obj, path)
    expected = torch_objects.described(
        list(torch_objects.leaves(torch_objects.load(target, weights_only=True)["root"]))
    )
    assert torch_objects.listed(paramcli.open(target, key="root").entries) == expected
