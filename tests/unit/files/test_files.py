"""Only regular files are read, only where they have bytes, and never past their end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.errors import SourceError
from paramcli.files import File, HeaderWindow

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[File]:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(CONTENT)
    with File(str(path)) as file:
        yield file


def test_read_gives_the_bytes_that_are_there(file: File) -> None:
    assert file.size == len(CONTENT)
    assert file.read(3, 5) == CONTENT[3:8]
    assert file.read(len(CONTENT), 0) == b""
    assert file.head(10) == CONTENT[:10]
    assert file.head(1 << 40) == CONTENT
    assert file.up_to(1_000, 1 << 40) == CONTENT[1_000:]


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1_025), (1_024, 1), (1_025, 0), (1 << 70, 1), (-1, 2), (0, -1)]
)
def test_read_never_passes_the_end(file: File, offset: int, size: int) -> None:
    with pytest.raises(SourceError, match="ends before byte"):
        file.read(offset, size)


def test_section_is_a_file_of_its_own(file: File) -> None:
    section = file.section(100, 50, "inner")
    nested = section.section(10, 5, "deep")
    assert section.read(0, 50) == CONTENT[100:150]
    assert nested.read(0, 5) == CONTENT[110:115]
    assert nested.path.endswith("!inner!deep")
    assert nested.disk_path == file.path
    assert nested.start == 110
    with pytest.raises(SourceError):
        section.read(49, 2)


@given(
    places=st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 24)), max_size=20),
    typical=st.sampled_from([1, 100, 1 << 20]),
)
def test_header_window_is_the_file(places: list[tuple[int, int]], typical: int, file: File) -> None:
    window = HeaderWindow(file, typical, 16)
    for offset, size in places:
        at = window.reach(offset, size)
        assert window.content[at : at + size] == CONTENT[offset : offset + size]


def test_header_window_ends_with_the_file(file: File) -> None:
    with pytest.raises(SourceError):
        HeaderWindow(file, 1, 16).reach(len(CONTENT) - 4, 8)


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with File(str(path)) as file:
        os.truncate(path, 10)
        with pytest.raises(SourceError, match="shrank"):
            file.read(0, 100)


def test_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceError, match="not a regular file"):
        paramcli.open(tmp_path / "fifo")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices_are_refused(device: str) -> None:
    with pytest.raises(SourceError, match="not a regular file"):
        paramcli.open(device)


def test_symlinks_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SourceError, match="circle"):
        paramcli.open(tmp_path / "a")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(SourceError, match="no such file"):
        paramcli.open(tmp_path / "dangling")
    sample = Path(__file__).parents[3] / "sample_models" / "files" / "model.pt"
    (tmp_path / "link").symlink_to(sample)
    link = paramcli.open(tmp_path / "link")
    assert len(link) == len(paramcli.open(sample)) > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_what_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(CONTENT)
    path.chmod(0)
    with pytest.raises(SourceError, match="permission denied") as caught:
        paramcli.open(path)
    assert "permission" in str(caught.value.hint)
