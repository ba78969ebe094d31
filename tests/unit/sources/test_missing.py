"""Targets that are no path on this disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import paramcli
from paramcli.errors import SourceError, UsageError


@pytest.mark.parametrize("target", ["", "a\0b", "\0"])
def test_what_no_path_can_be(target: str) -> None:
    with pytest.raises(UsageError):
        paramcli.open(target)


@pytest.mark.parametrize("target", ["ftp://host/x.pt", "azure://x"])
def test_addresses_of_other_kinds(target: str) -> None:
    with pytest.raises(UsageError) as caught:
        paramcli.open(target)
    assert "https" in str(caught.value.hint)


def test_typo_is_helped(tmp_path: Path) -> None:
    for name in ("model.pt", "modal.pt", "other.bin"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match="no such file") as caught:
        paramcli.open(tmp_path / "modle.pt")
    hint = str(caught.value.hint)
    assert str(tmp_path / "model.pt") in hint
    assert "other.bin" not in hint


def test_typo_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        paramcli.open("modle.pt")
    assert caught.value.hint == "did you mean model.pt?"


def test_nothing_alike(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        paramcli.open(tmp_path / "model.pt")
    assert caught.value.hint is None


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        paramcli.open(tmp_path / "nowhere" / "model.pt")
    assert "no directory" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["x" * 5_000, "\ud800", "名前" * 200])
def test_names_that_no_disk_takes(name: str) -> None:
    with pytest.raises(SourceError):
        paramcli.open(name)


def test_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(SourceError, match="empty file"):
        paramcli.open("~/model.pt")
    with pytest.raises(SourceError) as caught:
        paramcli.open(Path("~/modle.pt"))
    assert str(tmp_path / "model.pt") in str(caught.value.hint)


def test_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError):
        paramcli.open(tmp_path / "file" / "model.pt")
