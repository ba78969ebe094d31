"""Law 6: `tie` is idempotent and grows nothing; `untie`, then `tie`, gives the same file again.

With it law 2 for what `tie` writes: opened again, it is what was asked for.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from itertools import combinations
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.errors import UsageError
from paramcli.numeric.gather import gather
from paramcli.save import save
from paramcli.verbs.tie import like, report, tie, untie
from tests import torch_objects
from tests.property.test_law2_save_and_open import assert_same, opened, sharing, states, touched

if TYPE_CHECKING:
    from torch import Tensor

    from paramcli.checkpoint import Checkpoint

FORMATS = pytest.mark.parametrize("form", ["out.pt", "out.safetensors"])
pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support")


def tieable(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Pairs that `tie` takes by force: one shape and type, no bytes in common but all."""
    pairs = []
    for a, b in combinations(checkpoint, 2):
        if (a.dtype, a.shape) == (b.dtype, b.shape):
            try:
                tie(checkpoint, [a.name, b.name], force=True)
            except UsageError:
                continue
            pairs.append((a.name, b.name))
    return pairs


def written(checkpoint: Checkpoint, folder: str, name: str) -> bytes | None:
    """The file that a checkpoint makes, None where the format does not hold it."""
    path = os.path.join(folder, name)
    try:
        save(checkpoint, path)
    except UsageError:
        return None
    with open(path, "rb") as file:
        return file.read()


def unique_bytes(checkpoint: Checkpoint) -> int:
    """Bytes that any name touches."""
    return len({(info.storage, byte) for info in checkpoint for byte in touched(info)})


@given(state=states(), data=st.data())
def test_idempotent_and_never_larger(state: OrderedDict[str, Tensor], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        source = opened(state, folder)
        pairs = tieable(source)
        if not pairs:
            return
        names = data.draw(st.sampled_from(pairs))
        winner = data.draw(st.sampled_from(names))
        once, changes = tie(source, names, winner=winner, force=True)
        again, more = tie(once, names, winner=winner, force=True)
        assert again.entries == once.entries
        assert not more
        assert bool(changes) is (source[names[0]].view != source[names[1]].view)
        assert unique_bytes(once) <= unique_bytes(source)
        assert once[names[0]].view == once[names[1]].view
        kept = gather(source, source[winner])
        for info in source:
            expected = kept if info.name in names else gather(source, info)
            assert gather(once, once[info.name]) == expected


@given(state=states())
def test_groups_save_what_the_totals_say(state: OrderedDict[str, Tensor]) -> None:
    with TemporaryDirectory() as folder:
        found = report(opened(state, folder))
        assert sum(group.saved for group in found.groups) == found.saved
        for group in found.groups:
            assert (group.form == "same") is (group.relation == "same")
            assert group.evidence


@FORMATS
@given(state=states(), data=st.data())
def test_what_is_written_is_what_was_asked(
    state: OrderedDict[str, Tensor], data: st.DataObject, form: str
) -> None:
    with TemporaryDirectory() as folder:
        source = opened(state, folder)
        pairs = tieable(source)
        if not pairs:
            return
        done = tie(source, data.draw(st.sampled_from(pairs)), force=True).checkpoint
        if written(done, folder, form) is not None:
            assert_same(paramcli.open(os.path.join(folder, form)), done)


@FORMATS
@given(state=states())
def test_untie_leaves_nothing_shared(state: OrderedDict[str, Tensor], form: str) -> None:
    with TemporaryDirectory() as folder:
        source = opened(state, folder)
        if not source.groups():
            return
        done = untie(source, ["*"]).checkpoint
        assert not done.groups()
        assert [info[:3] for info in done] == [info[:3] for info in source]
        for info in source:
            assert gather(done, done[info.name]) == gather(source, info)
        if written(done, folder, form) is not None:
            found = paramcli.open(os.path.join(folder, form))
            assert_same(found, done)
            assert sharing(found) == {(info.name, info.name) for info in source if info.numel}


@FORMATS
@given(
    shape=st.sampled_from([(3,), (2, 3), (4, 1, 2), ()]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    count=st.integers(2, 4),
    turned=st.booleans(),
)
def test_untie_and_tie_give_the_file_back(
    shape: tuple[int, ...], dtype: torch.dtype, count: int, form: str, *, turned: bool
) -> None:
    weight = torch.arange(torch.Size(shape).numel()).to(dtype).reshape(shape)
    weight = weight.permute([*reversed(range(len(shape)))]) if turned else weight
    state = OrderedDict((f"n{number}", weight) for number in range(count))
    state["alone"] = weight.clone()
    with TemporaryDirectory() as folder:
        source = opened(state, folder)
        names = [f"n{number}" for number in range(count)]
        tied = written(tie(source, names).checkpoint, folder, form)
        apart = untie(source, ["n*"]).checkpoint
        assert written(apart, folder, form) != tied
        loose = paramcli.open(os.path.join(folder, form))
        os.rename(os.path.join(folder, form), os.path.join(folder, f"loose-{form}"))
        path = os.path.join(folder, f"loose-{form}")
        assert not loose.groups()
        assert written(tie(apart, names).checkpoint, folder, form) == tied
        back = tie(paramcli.open(path), names).checkpoint
        assert written(back, folder, form) == tied
        assert like(paramcli.open(path), source).checkpoint.groups() == source.groups()


def test_shards_tie_across_files(tmp_path: os.PathLike[str]) -> None:
    """Names of two shards become one; each shard still says what it holds, and nothing dangles."""
    folder = os.fspath(tmp_path)
    state = {f"w{number}": torch.arange(16.0) + (number % 2) for number in range(6)}
    torch_objects.save(state, tmp_path / "source.pt")  # type: ignore[operator]
    save(paramcli.open(os.path.join(folder, "source.pt")), os.path.join(folder, "a"), shard_size=64)
    source = paramcli.open(os.path.join(folder, "a"))
    done = tie(source, ["w5", "w1", "w3"]).checkpoint
    save(done, os.path.join(folder, "b"), shard_size=64)
    found = paramcli.open(os.path.join(folder, "b"))
    assert_same(found, done)
    assert [group.names for group in found.groups()] == [("w1", "w3", "w5")]
    assert len([name for name in os.listdir(os.path.join(folder, "b")) if "-of-" in name]) == 4
