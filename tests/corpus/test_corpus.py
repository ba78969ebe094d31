"""Real files from other projects: what they hold, and what torch and safetensors say of them."""

from __future__ import annotations

import csv
import hashlib
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import paramcli
from paramcli.errors import SourceError
from tests import torch_objects

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
MANIFEST = CORPUS / "MANIFEST.tsv"

pytestmark = pytest.mark.skipif(not MANIFEST.is_file(), reason=f"there is no {MANIFEST}")


def rows() -> list[dict[str, str]]:
    if not MANIFEST.is_file():
        return []
    with MANIFEST.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def named(row: dict[str, str]) -> str:
    return row["file"]


EVERY = rows()
COUNTED = [row for row in EVERY if row["tensors"].isdigit()]


def checked(row: dict[str, str]) -> str:
    """Return the path of a file, if it is the one that the manifest means."""
    path = CORPUS / row["file"]
    content = path.read_bytes()
    assert len(content) == int(row["size"])
    assert hashlib.sha256(content).hexdigest() == row["sha256"]
    return str(path)


def test_the_corpus_is_not_empty() -> None:
    formats = {row["format"] for row in COUNTED}
    assert {"torch-zip", "torch-legacy", "torchscript", "safetensors"} <= formats
    assert len(EVERY) > 80


@pytest.mark.parametrize("row", COUNTED, ids=named)
def test_number_of_tensors(row: dict[str, str]) -> None:
    checkpoint = paramcli.open(checked(row), everything=True)
    assert checkpoint.format == row["format"]
    assert len(checkpoint) == int(row["tensors"])
    assert not checkpoint.problems


@pytest.mark.parametrize(
    "row", [row for row in COUNTED if row["oracle"] == "weights_only=True"], ids=named
)
def test_agrees_with_torch(row: dict[str, str]) -> None:
    path = checked(row)
    checkpoint = paramcli.open(path, everything=True)
    tensors = list(torch_objects.leaves(torch_objects.load(path, weights_only=True)))
    assert torch_objects.listed(checkpoint.entries) == torch_objects.described(tensors)
    assert checkpoint.pickle is not None
    assert not checkpoint.pickle.refused
    by_name = dict(zip((info.name for info in checkpoint), tensors, strict=True))
    for info, content in torch_objects.stored_bytes(checkpoint):
        assert content == torch_objects.raw_bytes(by_name[info.name][1])


@pytest.mark.parametrize("row", [row for row in EVERY if row["format"] == "safetensors"], ids=named)
def test_agrees_with_safetensors(row: dict[str, str]) -> None:
    path = checked(row)
    checkpoint = paramcli.open(path)
    with safe_open(path, "pt") as file:
        assert sorted(info.name for info in checkpoint) == sorted(file.keys())
        assert dict(checkpoint.metadata) == (file.metadata() or {})
        for info, content in torch_objects.stored_bytes(checkpoint):
            tensor = file.get_tensor(info.name)
            assert info.dtype.name == str(tensor.dtype).removeprefix("torch.")
            assert (info.shape, info.stride) == (tuple(tensor.shape), tensor.stride())
            assert content == torch_objects.raw_bytes(tensor.clone())


@pytest.mark.parametrize("row", [row for row in EVERY if row["format"] == "torchscript"], ids=named)
def test_agrees_with_torchscript(row: dict[str, str]) -> None:
    path = checked(row)
    checkpoint = paramcli.open(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    assert [(info.name, info.shape) for info in checkpoint] == [
        (name, tuple(tensor.shape)) for name, tensor in state.items()
    ]
    for info, content in torch_objects.stored_bytes(checkpoint):
        assert content == torch_objects.raw_bytes(state[info.name])


@pytest.mark.parametrize("row", [row for row in EVERY if row["file"].startswith("tar/")], ids=named)
def test_tar_files(row: dict[str, str]) -> None:
    """torch reads none of these under weights_only; the names in them say what they hold."""
    path = checked(row)
    checkpoint = paramcli.open(path)
    assert checkpoint.format == "torch-tar"
    assert len(checkpoint) > 0
    assert len(list(torch_objects.stored_bytes(checkpoint))) == len(checkpoint)
    expected = Path(path).stem.rpartition("_tar_")[2]
    if expected in ("float32", "float64", "int64"):
        assert {info.dtype.name for info in checkpoint} == {expected}


@pytest.mark.parametrize("row", [row for row in EVERY if "broken" in row["file"]], ids=named)
def test_broken_files(row: dict[str, str]) -> None:
    with pytest.raises(SourceError):
        paramcli.open(checked(row))


def test_every_file_opens_or_is_known_to_be_broken() -> None:
    refused = []
    for row in EVERY:
        try:
            paramcli.open(checked(row)).groups()
        except SourceError:
            refused.append(row["file"])
    assert all("broken" in name for name in refused), refused
