"""Files are known by their content; what is no checkpoint is called by its name."""

from __future__ import annotations

import gzip
import importlib.metadata
import pickle
import sys
from collections import OrderedDict
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import paramcli
from paramcli.checkpoint import Checkpoint
from paramcli.errors import SourceError
from paramcli.files import File
from paramcli.sources import Request, sniff
from tests.handmade import written
from tests.sample_files import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOREIGN = {
    "empty": (b"", "empty file"),
    "one byte": (b"x", "too short"),
    "three dots": (b"...", "too short"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull",
    ),
    "GGUF": (b"GGUF\3\0\0\0" + bytes(100), "GGUF"),
    "gzip": (gzip.compress(b"hello"), "gunzip"),
    "bzip2": (b"BZh91AY&SY" + bytes(10), "bunzip2"),
    "xz": (b"\xfd7zXZ\0" + bytes(10), "unxz"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + bytes(10), "unzstd"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(10), "HDF5"),
    "NumPy": (b"\x93NUMPY\1\0" + bytes(100), "NumPy array"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x051.13" + bytes(50), "ONNX"),
    "ONNX of 2018": (b"\x08\x03\x12\x07pytorch\x1a\x030.4" + bytes(50), "ONNX"),
    "ONNX without a producer": (b"\x08\x0d\x3a\x90\1" + bytes(50), "ONNX"),
    "tar.gz": (gzip.compress(bytes(512)), "tar -xzf"),
    **{
        f"pickle of protocol {protocol}: {type(value).__name__}": (
            pickle.dumps(value, protocol=protocol), "pickle.load runs whatever is in it",
        )
        for protocol in range(6)
        for value in ({"w": np.zeros(20)}, [np.zeros(20)], OrderedDict(w=torch.zeros(20)))
    },
    "web page": (b"<!DOCTYPE html>\n<html><body>Log in</body></html>", "web page"),
    "web page after spaces": (b"\n\n  <HTML>", "web page"),
    "XML": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
    "empty zip": (b"PK\5\6" + bytes(18), "empty zip"),
    "text": (b"import torch\n\nclass Net:\n    pass\n", "text file"),
    "text in another alphabet": ("# модель\n".encode() * 500, "text file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(10), "picture"),
    "zeros": (bytes(5_000), "zeros"),
    "noise": (bytes(range(256)), "not a checkpoint of any kind"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_what_it_is_instead(case: str, refused: Callable[[bytes], str]) -> None:
    content, words = FOREIGN[case]
    assert words in refused(content)


def test_numpys_own_file(tmp_path: Path, refused: Callable[[bytes], str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "NumPy array" in refused((tmp_path / "x.npy").read_bytes())


@pytest.mark.parametrize(
    ("name", "kind"),
    {
        "zip": "zip", "legacy": "legacy", "tar": "tar", "script": "zip", "old script": "zip",
        "bundle": "zip", "export": "zip", "package": "zip", "safetensors": "safetensors",
    }.items(),
)  # fmt: skip
def test_sniffing(name: str, kind: str, tmp_path: Path) -> None:
    with File(written(tmp_path / "file", files()[name])) as file:
        assert sniff(file) == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x80", "legacy"),
        (b"\x80\x02", "legacy"),
        (b"\x80\x06", "foreign"),
        (b"L119547037146038801333356L\n.", "legacy"),
        (b'{"weight_map": {}}', "index"),
        (b" \n{", "index"),
        (b"PK\3\4", "zip"),
        (b"\2\0\0\0\0\0\0\0{}", "safetensors"),
        (b"\2\0\0\0\0\0\0\0[]", "foreign"),
        (b"\xff" * 8 + b"{}", "foreign"),
        (b"", "foreign"),
        (bytes(257) + b"ustar", "tar"),
    ],
)
def test_sniffing_first_bytes(content: bytes, kind: str, tmp_path: Path) -> None:
    with File(written(tmp_path / "file", content)) as file:
        assert sniff(file) == kind


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Install a source by an entry point of the group that the documentation names."""
    module = ModuleType("some_plugin")
    monkeypatch.setitem(sys.modules, "some_plugin", module)
    points = [SimpleNamespace(value="some_plugin:open_it")]

    def entry_points(*, group: str) -> list[SimpleNamespace]:
        return points if group == "paramcli.sources" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return module


def test_an_installed_source_may_know_it(plugin: ModuleType, tmp_path: Path) -> None:
    target = written(tmp_path / "file", b"MINE and nobody else's")
    made = Checkpoint(origin=target, format="mine", entries=())
    asked: list[object] = []

    def open_it(file: File, request: object) -> Checkpoint | None:
        asked.append(request)
        return made if file.head(4) == b"MINE" else None

    plugin.open_it = open_it  # type: ignore[attr-defined]
    assert paramcli.open(target, key="x") is made
    assert asked == [Request(target, key="x")]
    with pytest.raises(SourceError, match="text file"):
        paramcli.open(written(tmp_path / "other", b"not MINE at all"))
