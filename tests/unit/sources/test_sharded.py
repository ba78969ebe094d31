"""An index and its shards: what it may name, and what is said where they disagree."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

import paramcli
from paramcli.errors import SourceError
from tests.torch_objects import save

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a directory of two shards and a good index."""
    save_file({"a": torch.zeros(2), "b": torch.ones(3)}, tmp_path / FIRST)
    save_file({"c": torch.zeros(4, 2)}, tmp_path / SECOND, {"format": "pt"})
    write_index(tmp_path, {"a": FIRST, "b": FIRST, "c": SECOND})
    return tmp_path


def write_index(folder: Path, weight_map: object, **more: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map, **more}))


def refusal(target: Path) -> str:
    with pytest.raises(SourceError) as caught:
        paramcli.open(target)
    return f"{caught.value}\n{caught.value.hint or ''}"


@pytest.mark.parametrize("target", [".", INDEX])
def test_shards_are_one_checkpoint(target: str, folder: Path) -> None:
    checkpoint = paramcli.open(folder / target)
    assert [info.name for info in checkpoint] == ["a", "b", "c"]
    assert checkpoint.format == "sharded-safetensors"
    assert checkpoint.metadata == {"format": "pt"}
    assert not checkpoint.problems
    assert not checkpoint.groups()
    for info in checkpoint:
        place = checkpoint.locate(info.storage)
        assert place is not None
        assert place.file == str(folder / target).removesuffix(INDEX).rstrip("/") + "/" + (
            SECOND if info.name == "c" else FIRST
        )


@pytest.mark.parametrize("target", [INDEX, f"./{INDEX}", "."])
def test_index_in_the_current_directory(
    target: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert len(paramcli.open(target)) == 3


def test_order_is_that_of_the_index(folder: Path) -> None:
    write_index(folder, {"c": SECOND, "b": FIRST, "a": FIRST})
    assert [info.name for info in paramcli.open(folder)] == ["c", "b", "a"]


def test_stated_size(folder: Path) -> None:
    """It is told as it stands there: writers often get it wrong."""
    write_index(folder, {"a": FIRST, "b": FIRST, "c": SECOND}, metadata={"total_size": 999})
    assert paramcli.open(folder).metadata["total_size"] == "999"


@pytest.mark.parametrize("metadata", [None, 3, [], {"total_size": "x"}, {"total_size": None}])
def test_odd_metadata(metadata: object, folder: Path) -> None:
    write_index(folder, {"a": FIRST, "b": FIRST, "c": SECOND}, metadata=metadata)
    assert "total_size" not in paramcli.open(folder).metadata


def test_missing_shard(folder: Path) -> None:
    (folder / SECOND).unlink()
    message = refusal(folder)
    assert SECOND in message
    assert "download" in message


def test_shard_that_is_a_pointer(folder: Path) -> None:
    (folder / SECOND).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    message = refusal(folder)
    assert SECOND in message
    assert "git lfs pull" in message


@pytest.mark.parametrize(
    "shard",
    ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ".", "", "a\\b", "a\0b"],
)
def test_shard_elsewhere(shard: str, folder: Path) -> None:
    """An index reads no file but those beside it."""
    save_file({"a": torch.zeros(2)}, folder.parent / "x.safetensors")
    write_index(folder, {"a": shard})
    assert "not a plain file beside it" in refusal(folder)


@pytest.mark.parametrize("shard", [None, 3, ["x"], {"file": FIRST}])
def test_shard_that_is_no_name(shard: object, folder: Path) -> None:
    write_index(folder, {"a": shard})
    assert "no file" in refusal(folder)


def test_index_that_names_itself(folder: Path) -> None:
    write_index(folder, {"a": INDEX})
    refusal(folder)


def test_index_that_names_another(folder: Path) -> None:
    other = folder / "other.safetensors.index.json"
    other.write_text(json.dumps({"weight_map": {"a": FIRST}}))
    write_index(folder, {"a": other.name})
    assert "index itself" in refusal(folder)


def test_two_indexes_that_name_each_other(folder: Path) -> None:
    (folder / "b.json").write_text(json.dumps({"weight_map": {"a": INDEX}}))
    write_index(folder, {"a": "b.json"})
    refusal(folder)


def test_shard_that_is_a_directory(folder: Path) -> None:
    (folder / "sub").mkdir()
    write_index(folder, {"a": "sub"})
    assert "not a regular file" in refusal(folder)


PROBLEMS = {
    "a name that no shard has": ({"a": FIRST, "b": FIRST, "c": SECOND, "d": SECOND}, "no shard: d"),
    "a name in another shard": ({"a": FIRST, "b": SECOND, "c": SECOND}, "index says: b"),
    "a name that is not listed": ({"a": FIRST, "c": SECOND}, "not in the index: b"),
    "a shard that is not named": ({"a": FIRST, "b": FIRST}, f"does not name: {SECOND}"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_disagreement_is_told(case: str, folder: Path) -> None:
    weight_map, expected = PROBLEMS[case]
    write_index(folder, weight_map)
    problems = paramcli.open(folder).problems
    assert any(problem.endswith(expected) for problem in problems), problems


def test_names_that_are_absent_are_not_listed(folder: Path) -> None:
    write_index(folder, {"a": FIRST, "x": FIRST})
    assert [info.name for info in paramcli.open(folder)] == ["a", "b"]


def test_name_in_two_shards(folder: Path) -> None:
    """The one that the index names is listed, once."""
    save_file({"a": torch.zeros(9), "c": torch.zeros(4, 2)}, folder / SECOND)
    checkpoint = paramcli.open(folder)
    assert checkpoint.problems == ("1 in more than one shard: a",)
    assert [info.shape for info in checkpoint if info.name == "a"] == [(2,)]


def test_long_problems_are_cut(folder: Path) -> None:
    write_index(folder, {"a": FIRST, "b": FIRST, "c": SECOND, **{f"x{n}": FIRST for n in range(9)}})
    assert paramcli.open(folder).problems == ("9 in the index, but in no shard: x0, x1, x2, …",)


def test_name_removed_for_a_tie_is_no_problem(folder: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.ones(3)}, folder / FIRST, {"tied": "a"})
    checkpoint = paramcli.open(folder)
    assert not checkpoint.problems
    assert [group.names for group in checkpoint.groups()] == [("a", "tied")]


def test_shards_of_torch_save(tmp_path: Path) -> None:
    names = {f"pytorch_model-0000{n}-of-00002.bin": f"w{n}" for n in (1, 2)}
    for shard, name in names.items():
        save({name: torch.zeros(2)}, tmp_path / shard)
    index = {"weight_map": {name: shard for shard, name in names.items()}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    checkpoint = paramcli.open(tmp_path)
    assert checkpoint.format == "sharded-torch"
    assert [info.name for info in checkpoint] == ["w1", "w2"]
    assert checkpoint.pickle is not None
    assert len({info.storage for info in checkpoint}) == 2


def test_pickles_of_all_shards_are_judged(tmp_path: Path) -> None:
    """What the last one alone asks for is told, and what they have in common is told once."""
    shards = [{"model": {f"w{n}": torch.zeros(2)}, "epoch": n} for n in range(3)]
    shards[2]["args"] = Namespace(lr=1)
    for number, shard in enumerate(shards):
        save(shard, tmp_path / f"{number}.bin")
    index = {"weight_map": {f"w{n}": f"{n}.bin" for n in range(3)}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    checkpoint = paramcli.open(tmp_path)
    assert [info.name for info in checkpoint] == ["w0", "w1", "w2"]
    assert checkpoint.notes == ("picked 'model'",)
    assert checkpoint.pickle is not None
    assert checkpoint.pickle.inert == ("argparse.Namespace",)
    assert len(set(checkpoint.pickle.understood)) == len(checkpoint.pickle.understood) == 3
    assert "argparse.Namespace" in checkpoint.pickle.refused


@pytest.mark.parametrize(
    "text",
    [
        "{", "{}", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": 3}', '{"a": "b"}',
        '{"weight_map": {"a": "x", "a": "y"}}', "{" * 100_000, '{"a":' * 100_000,
        '{"x": ' + "9" * 5_000 + "}",
    ],
)  # fmt: skip
def test_json_that_is_no_index(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    refusal(tmp_path / "x.json")


# --- directories ---------------------------------------------------------------------------------


def test_empty_directory(tmp_path: Path) -> None:
    assert "without a checkpoint" in refusal(tmp_path)


def test_directory_of_one_file(tmp_path: Path) -> None:
    save({"w": torch.zeros(2)}, tmp_path / "epoch=3.ckpt")
    (tmp_path / "README.md").write_text("hello")
    assert [info.name for info in paramcli.open(tmp_path)] == ["w"]


def test_directory_of_several_files(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt", "c.pt", "d.pt"):
        save({"w": torch.zeros(2)}, tmp_path / name)
    message = refusal(tmp_path)
    assert "4 checkpoints" in message
    assert "a.pt, b.pt, c.pt, …" in message


def test_shards_without_an_index(folder: Path) -> None:
    """Their names say which there are, and which is missing."""
    whole = paramcli.open(folder)
    (folder / INDEX).unlink()
    found = paramcli.open(folder)
    assert {info.name for info in found} == {info.name for info in whole}
    assert found.format == "sharded-safetensors"
    assert any("no index: these are the 2 shards" in note for note in found.notes)
    (folder / "notes.txt").write_text("not a shard")
    assert len(paramcli.open(folder)) == len(whole)
    next(folder.glob("*-00002-of-*")).unlink()
    assert "model-00002-of-00002.safetensors: the others' names count it in" in refusal(folder)


def test_numbered_files_that_are_no_set(tmp_path: Path) -> None:
    for name in ("a-00001-of-00002.pt", "b-00001-of-00002.pt"):
        save({"w": torch.zeros(2)}, tmp_path / name)
    assert "2 checkpoints" in refusal(tmp_path)
    for name in ("a-00000-of-00002.pt", "a-00001-of-00002.pt"):
        (tmp_path / "c").mkdir(exist_ok=True)
        save({name: torch.zeros(2)}, tmp_path / "c" / name)
    assert len(paramcli.open(tmp_path / "c")) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model.safetensors", "pytorch_model.bin"),
        ("pytorch_model.bin", "optimizer.pt"),
        ("adapter_model.safetensors", "training_args.bin"),
        ("model.safetensors", "model-00001-of-00001.safetensors"),
    ],
)
def test_directory_of_a_model(first: str, second: str, tmp_path: Path) -> None:
    """A model directory has its weights under a name that all libraries know."""
    for name, tensor in ((first, "first"), (second, "second")):
        if name.endswith(".safetensors"):
            save_file({tensor: torch.zeros(2)}, tmp_path / name)
        else:
            save({tensor: torch.zeros(2)}, tmp_path / name)
    assert [info.name for info in paramcli.open(tmp_path)] == ["first"]
