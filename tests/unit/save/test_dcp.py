"""Directories of torch.distributed.checkpoint: torch reads what is written, and so do we."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

import paramcli
from paramcli.checkpoint import Checkpoint
from paramcli.cli import main
from paramcli.errors import OutputError, SourceError, UsageError
from paramcli.numeric.gather import gather
from paramcli.save import save
from paramcli.sources.dcp import BESIDE
from paramcli.tensors import DTYPES, Storage, TensorInfo
from tests import torch_objects

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64",
]  # fmt: skip


def state() -> dict[str, torch.Tensor]:
    """Make tensors of every type, of no and many dimensions, empty, tied, and views."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 2, (48,), generator=generator, dtype=torch.uint8)
    found = {f"z.{kind}": raw.clone().view(getattr(torch, kind)) for kind in KINDS}
    found["a.scalar"] = torch.tensor(3.5)
    found["empty"] = torch.ones(0, 4)
    found["turned"] = torch.arange(12.0).reshape(3, 4).T
    found["tied.b"] = found["tied.a"] = torch.arange(6.0).reshape(2, 3)
    return found


def source(tmp_path: Path) -> Checkpoint:
    torch.save(state(), tmp_path / "source.pt")
    return replace(paramcli.open(tmp_path / "source.pt"), metadata={"b": "2", "a": "ü"})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    given = source(tmp_path)
    save(given, tmp_path / "dcp", to="dcp")
    found = paramcli.open(tmp_path / "dcp")
    assert found.format == "dcp"
    assert [info[:3] for info in found] == [info[:3] for info in given]
    assert dict(found.metadata) == {"a": "ü", "b": "2"}
    assert [group.names for group in found.groups()] == [("tied.b", "tied.a")]
    assert main(["diff", str(tmp_path / "source.pt"), str(tmp_path / "dcp")]) == 0


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_torch_reads_it(tmp_path: Path) -> None:
    save(source(tmp_path), tmp_path / "dcp", to="dcp")
    wanted = state()
    read: dict[str, Any] = {name: torch.zeros_like(tensor) for name, tensor in wanted.items()}
    load(read, storage_reader=FileSystemReader(tmp_path / "dcp"))
    for name, tensor in wanted.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].contiguous().view(-1).view(torch.uint8).tolist() == (
            tensor.contiguous().view(-1).view(torch.uint8).tolist()
        )


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    given = source(tmp_path)
    for name in ("a", "b"):
        save(given, tmp_path / name, to="dcp")
    for name in sorted(os.listdir(tmp_path / "a")):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_chunk_that_is_damaged_lies_nowhere(tmp_path: Path) -> None:
    """What is wrong with it is said by whoever reads it."""
    save(source(tmp_path), tmp_path / "dcp", to="dcp")
    data = tmp_path / "dcp" / "__0_0.distcp"
    data.write_bytes(bytes(data.stat().st_size))
    found = paramcli.open(tmp_path / "dcp")
    assert {found.locate(info.storage) for info in found} == {None}
    with pytest.raises(SourceError, match="a zip archive without its end"):
        found.read(found["tied.a"].storage)


def test_init_and_tie_write_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = "sample_models.tiny_gpt:TinyGPT"
    out, whole = str(tmp_path / "dcp"), str(tmp_path / "whole.safetensors")
    assert main(["init", target, "--scheme", "gpt2", "-o", out, "--to", "dcp"]) == 0
    drawn = capsys.readouterr().out
    assert main(["init", target, "--scheme", "gpt2", "-o", whole]) == 0
    assert drawn == capsys.readouterr().out
    assert main(["diff", out, whole]) == 0
    assert main(["init", "--verify", out]) == 0
    apart = str(tmp_path / "apart")
    assert main(["tie", out, "--untie", "*", "-o", apart, "--to", "dcp"]) == 0
    assert not paramcli.open(apart).groups()


@pytest.mark.parametrize("options", [["--shard-size", "5GB"], ["--to", "zarr"]])
def test_what_contradicts(tmp_path: Path, options: list[str]) -> None:
    argv = ["init", "sample_models.lenet:LeNet", "--to", "dcp", "-o", str(tmp_path / "x")]
    assert main([*argv, *options]) == 2
    assert os.listdir(tmp_path) == []


def drawn(*, fail: bool = False) -> Checkpoint:
    def draw(_: Storage, __: int, target: memoryview) -> None:
        if fail:
            raise ZeroDivisionError
        target[:] = bytes(len(target))

    entry = TensorInfo("w", DTYPES["uint8"], (9,), (1,), 0, Storage("", 0, 9))
    return Checkpoint(origin="made", format="module", entries=(entry,), draw=draw)


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with pytest.raises(UsageError, match="is there already"):
            save(drawn(), tmp_path / name, to="dcp")
    (tmp_path / "empty").mkdir()
    save(drawn(), tmp_path / "empty", to="dcp")
    assert len(paramcli.open(tmp_path / "empty")) == 1


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        save(drawn(fail=True), tmp_path / "dcp", to="dcp")
    assert os.listdir(tmp_path) == []

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left") as caught:
        save(drawn(), tmp_path / "dcp", to="dcp")
    assert "disk is full" in str(caught.value.hint)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".dcp.0123abcd.paramcli-draft"
    left.mkdir()
    (left / "being-written").touch()
    (left / "__0_0.distcp").touch()
    save(drawn(), tmp_path / "dcp", to="dcp")
    assert os.listdir(tmp_path) == ["dcp"]


@pytest.mark.parametrize(
    "told",
    [
        b"", b"[]", b"{}", b'{"version": 1}', b"\xff", b"[" * 100_000,
        b'{"version": 2, "names": [], "ties": {}, "metadata": {}}',
        b'{"version": 1, "names": [1], "ties": {}, "metadata": {}}',
        b'{"version": 1, "names": [], "ties": {"tied.a": "a.scalar"}, "metadata": {}}',
        b'{"version": 1, "names": [], "ties": [], "metadata": {}}',
        b'{"version": 1, "names": [], "ties": {}, "metadata": {"a": 1}}',
    ],
)  # fmt: skip
def test_a_damaged_file_beside(tmp_path: Path, told: bytes) -> None:
    save(source(tmp_path), tmp_path / "dcp", to="dcp")
    (tmp_path / "dcp" / BESIDE).write_bytes(told)
    with pytest.raises(SourceError, match=BESIDE):
        paramcli.open(tmp_path / "dcp")


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_plain_shards_are_what_torch_reads_in_safetensors(tmp_path: Path) -> None:
    """torch.distributed.checkpoint's own reader of safetensors takes what --shard-size wrote."""
    storage = pytest.importorskip(
        "torch.distributed.checkpoint.hf_storage", reason=f"torch {torch.__version__} has none"
    )
    out = tmp_path / "shards"
    code = main(["init", "sample_models.tiny_gpt:TinyGPT", "--scheme", "gpt2",
                 "--shard-size", "60KB", "-o", str(out)])  # fmt: skip
    assert code == 0
    assert len(list(out.glob("*.safetensors"))) > 2
    found = paramcli.open(out)
    kept = {group.names[1:] for group in found.groups()}
    stored = [info for info in found if (info.name,) not in kept]
    assert len(stored) == len(found) - 1  # safetensors has one copy of what is tied
    state = {
        info.name: torch.zeros(info.shape, dtype=getattr(torch, info.dtype.name)) for info in stored
    }
    load(state, storage_reader=storage.HuggingFaceStorageReader(str(out)))
    for info in stored:
        assert torch_objects.raw_bytes(state[info.name]) == gather(found, info)
