"""Ties made and undone: what is refused and why, and what the outputs hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, nn

import paramcli
from paramcli.errors import SourceError, UsageError
from paramcli.save import save
from paramcli.verbs.tie import like, tie, untie
from tests import torch_objects
from tests.tied_modules import Embedded

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint


def opened(tmp_path: Path, **state: Tensor) -> Checkpoint:
    named = {name.replace("_", "."): tensor for name, tensor in state.items()}
    return paramcli.open(torch_objects.save(named, tmp_path / "source.pt"))


def lost(tmp_path: Path) -> tuple[nn.Module, Checkpoint]:
    """A model, and its weights as a save that lost the tie leaves them."""
    model = Embedded()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "lost.safetensors", {"format": "pt"})
    return model, paramcli.open(str(tmp_path / "lost.safetensors"))


def test_torch_shares_the_storage(tmp_path: Path) -> None:
    model, source = lost(tmp_path)
    save(tie(source, ["embed.weight", "head.weight"]).checkpoint, tmp_path / "tied.pt")
    state = torch.load(tmp_path / "tied.pt", weights_only=True)
    assert state["embed.weight"].data_ptr() == state["head.weight"].data_ptr()
    assert torch.equal(state["embed.weight"], model.get_parameter("embed.weight"))
    save(source, tmp_path / "apart.pt")
    sizes = [(tmp_path / f"{name}.pt").stat().st_size for name in ("tied", "apart")]
    assert sizes[0] < sizes[1] - state["head.weight"].nbytes


def test_safetensors_keeps_one_copy(tmp_path: Path) -> None:
    model, source = lost(tmp_path)
    save(tie(source, ["embed.weight", "head.weight"]).checkpoint, tmp_path / "tied.safetensors")
    assert list(load_file(tmp_path / "tied.safetensors")) == ["embed.weight"]
    fresh = Embedded()
    assert not any(load_model(fresh, tmp_path / "tied.safetensors"))
    assert fresh.head.weight is fresh.embed.weight
    assert torch.equal(fresh.embed.weight, model.get_parameter("embed.weight"))
    assert paramcli.open(str(tmp_path / "tied.safetensors")).metadata["format"] == "pt"


def test_shards_name_the_kept_copy(tmp_path: Path) -> None:
    _, source = lost(tmp_path)
    done = tie(source, ["head.weight", "embed.weight"], winner="embed.weight")
    save(done.checkpoint, tmp_path / "shards", shard_size=100)
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    assert list(index["weight_map"]) == ["embed.weight"]
    found = paramcli.open(str(tmp_path / "shards"))
    assert [group.names for group in found.groups()] == [("embed.weight", "head.weight")]
    assert not found.problems


def test_as_transformers_loads_it(tmp_path: Path) -> None:
    """A loader that takes what is there and then ties by itself finds the kept name."""
    model, source = lost(tmp_path)
    save(tie(source, ["embed.weight", "head.weight"]).checkpoint, tmp_path / "tied.safetensors")
    fresh = Embedded()
    missing, unexpected = fresh.load_state_dict(
        load_file(tmp_path / "tied.safetensors"), strict=False
    )
    assert (missing, unexpected) == (["head.weight"], [])
    fresh.head.weight = fresh.embed.weight
    tokens = torch.arange(5)
    assert torch.equal(fresh(tokens), model(tokens))


def test_the_winners_bytes_stand(tmp_path: Path) -> None:
    source = opened(tmp_path, a=torch.zeros(4), b=torch.ones(4))
    for winner, value in ((None, 0.0), ("a", 0.0), ("b", 1.0)):
        done = tie(source, ["a", "b"], winner=winner, force=True)
        save(done.checkpoint, tmp_path / "out.pt")
        state = torch.load(tmp_path / "out.pt", weights_only=True)
        assert state["a"].data_ptr() == state["b"].data_ptr()
        assert state["a"].tolist() == [value] * 4
        assert list(state) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "turned"], r"turned is \[3, 2\] and a \[2, 3\].*--like puts transposes on"),
        (["a", "short"], r"short is \[2\] and a \[2, 3\], so they cannot be tied$"),
        (["a", "int"], "int is int32 and a float32"),
        (["a", "other"], "their values differ in 2 of 6 elements, by at most 3$"),
        (["a", "nan"], "differ in 1 of 6 elements, by at most 0, 1 of them not finite"),
        (["head", "tail"], r"tail and head overlap in bytes 12 to 24"),
        (["a", "nowhere"], "there is no tensor 'nowhere'"),
        (["a", "a"], "a cannot be tied to itself alone"),
    ],
)
def test_refusals_show_the_difference(tmp_path: Path, names: list[str], message: str) -> None:
    a = torch.arange(6.0).reshape(2, 3)
    other, nan, line = a.clone(), a.clone(), torch.arange(9.0)
    other[0, 0], other[1, 1], nan[0, 1] = 3, 5, torch.nan
    source = opened(
        tmp_path, a=a, turned=a.t().contiguous(), short=torch.zeros(2), int=a.int(), other=other,
        nan=nan, head=line[:6], tail=line[3:],
    )  # fmt: skip
    with pytest.raises(UsageError, match=message):
        tie(source, names)


def test_no_values_to_compare() -> None:
    source = paramcli.open("sample_models.lenet:LeNet")
    names = ["conv.0.bias", "conv.0.bias"]
    with pytest.raises(UsageError):
        tie(source, names)
    model = paramcli.open("tests.tied_modules:Twice")
    with pytest.raises(SourceError, match="have no values to compare"):
        tie(model, ["0.weight", "1.weight"])
    done = tie(model, ["0.weight", "1.weight"], force=True)
    assert next(group.names for group in done.checkpoint.groups()) == ("0.weight", "1.weight")


def test_a_winner_must_be_named(tmp_path: Path) -> None:
    source = opened(tmp_path, a=torch.zeros(4), b=torch.zeros(4), c=torch.zeros(4))
    with pytest.raises(UsageError, match="--winner c is none of a, b"):
        tie(source, ["a", "b"], winner="c")


def test_untie_gives_bytes_of_their_own(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    source = opened(tmp_path, a=whole, b=whole, t=whole.t(), row=whole[1], c=torch.zeros(2))
    done = untie(source, ["*"])
    assert done.changes[0].names == ("b", "t", "row")
    for name in ("out.pt", "out.safetensors"):
        save(done.checkpoint, tmp_path / name)
        found = paramcli.open(str(tmp_path / name))
        assert not found.groups()
        assert [info.name for info in found] == ["a", "b", "t", "row", "c"]
    state = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(state["t"], whole.t())
    assert torch.equal(state["row"], whole[1])
    assert len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == 5
    held = load_file(tmp_path / "out.safetensors")
    assert torch.equal(held["t"], whole.t())


def test_untie_one_of_three(tmp_path: Path) -> None:
    weight = torch.arange(12.0)
    source = opened(tmp_path, a=weight, b=weight, c=weight)
    done = untie(source, ["a"])
    assert [group.names for group in done.checkpoint.groups()] == [("b", "c")]
    with pytest.raises(UsageError, match="picks no name that shares"):
        untie(done.checkpoint, ["a"])


def test_like_a_class(tmp_path: Path) -> None:
    _, source = lost(tmp_path)
    other = paramcli.open("tests.tied_modules:Embedded")
    done = like(source, other)
    assert [group.names for group in done.checkpoint.groups()] == [("embed.weight", "head.weight")]
    assert not like(done.checkpoint, other).changes


def test_like_adds_a_name_that_was_left_out(tmp_path: Path) -> None:
    """A head that a save dropped without a word comes back as a tie."""
    model = Embedded()
    save_file({"embed.weight": model.embed.weight}, tmp_path / "short.safetensors")
    source = paramcli.open(str(tmp_path / "short.safetensors"))
    done = like(source, paramcli.open("tests.tied_modules:Embedded"))
    assert [change.kind for change in done.changes] == ["added"]
    save(done.checkpoint, tmp_path / "out.safetensors")
    assert not any(load_model(Embedded(), tmp_path / "out.safetensors"))


def test_like_lays_transposes(tmp_path: Path) -> None:
    weight = torch.randn(6, 4)
    source = opened(tmp_path, enc_weight=weight, dec_weight=weight.t().contiguous())
    done = like(source, paramcli.open("tests.tied_modules:Transposed"))
    save(done.checkpoint, tmp_path / "out.pt")
    state = torch.load(tmp_path / "out.pt", weights_only=True)
    assert state["enc.weight"].data_ptr() == state["dec.weight"].data_ptr()
    assert torch.equal(state["dec.weight"], weight.t())
    differing = opened(tmp_path, enc_weight=weight, dec_weight=torch.randn(4, 6))
    with pytest.raises(UsageError, match="their values differ in 24 of 24"):
        like(differing, paramcli.open("tests.tied_modules:Transposed"))


def test_like_refuses_other_sizes(tmp_path: Path) -> None:
    source = opened(tmp_path, embed_weight=torch.randn(7, 4))
    with pytest.raises(UsageError, match=r"embed.weight is \[7, 4\]"):
        like(source, paramcli.open("tests.tied_modules:Embedded"))
    with pytest.raises(UsageError, match="has no name of"):
        like(opened(tmp_path, x=torch.zeros(2)), paramcli.open("tests.tied_modules:Embedded"))
