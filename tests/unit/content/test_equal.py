"""Stretches are the same where all their bytes are, however they lie and whoever compares them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.content import equal as room
from paramcli.content.equal import equal
from paramcli.content.places import Stretch
from paramcli.errors import SourceError
from paramcli.files import File, mapped

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("equal")


@given(data=st.data())
def test_each_pair_is_judged_by_its_own_bytes(folder: Path, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "WINDOW", data.draw(st.sampled_from([1, 3, 8, 64])))
        patch.setattr(room, "_SMALL_WORK", 0)
        patch.setattr(mapped, "LEAST", data.draw(st.sampled_from([1, 9])))
        sizes = data.draw(st.lists(st.integers(0, 40), max_size=8))
        gaps = data.draw(st.lists(st.integers(0, 9), min_size=len(sizes), max_size=len(sizes)))
        contents = [data.draw(st.binary(min_size=n, max_size=n)) for n in sizes]
        others = [
            bytes(data.draw(st.sampled_from([byte, byte, byte ^ 1])) for byte in content)
            for content in contents
        ]
        first, second = bytearray(), bytearray()
        pairs = []
        for content, other, gap in zip(contents, others, gaps, strict=True):
            first += bytes(gap)
            pairs.append(
                (
                    Stretch(str(folder / "a"), len(first), len(content)),
                    Stretch(str(folder / "b"), len(second), len(other)),
                )
            )
            first += content
            second += other
        (folder / "a").write_bytes(first)
        (folder / "b").write_bytes(second)
        order = data.draw(st.permutations(range(len(pairs))))
        done: list[int] = []
        found = equal(
            [pairs[i] for i in order],
            workers=data.draw(st.integers(1, 3)),
            progress=done.append,
        )
        assert found == [contents[i] == others[i] for i in order]
        assert sum(done) == sum(sizes)


@pytest.mark.parametrize("least", [0, 1 << 40])
@pytest.mark.parametrize("at", [0, room.WINDOW - 1, room.WINDOW, 5 * room.WINDOW + 6])
def test_one_byte_of_many_windows_is_seen(
    tmp_path: Path, at: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By workers that map, and by this process, which reads."""
    monkeypatch.setattr(room, "_SMALL_WORK", least)
    content = bytearray(5 * room.WINDOW + 7)
    (tmp_path / "a").write_bytes(content)
    content[at] = 1
    (tmp_path / "b").write_bytes(content)
    whole = [Stretch(str(tmp_path / name), 0, len(content)) for name in "ab"]
    assert equal([(whole[0], whole[1]), (whole[0], whole[0])], workers=2) == [False, True]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_file_that_ends_early_is_an_error(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_SMALL_WORK", 0)
    (tmp_path / "a").write_bytes(bytes(8 << 20))
    (tmp_path / "b").write_bytes(bytes(6 << 20))
    pair = (Stretch(str(tmp_path / "a"), 0, 8 << 20), Stretch(str(tmp_path / "b"), 0, 8 << 20))
    with pytest.raises(SourceError, match="shrank"):
        equal([pair], workers=workers)


def test_what_is_far_is_read_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(File, "far", True)
    monkeypatch.setattr(room, "WINDOW", 1 << 10)
    seen: set[tuple[int, int]] = set()
    fill = File.fill

    def noted(file: File, target: memoryview, offset: int) -> None:
        seen.add((os.getpid(), threading.get_ident()))
        fill(file, target, offset)

    monkeypatch.setattr(File, "fill", noted)
    (tmp_path / "a").write_bytes(bytes(1 << 16))
    (tmp_path / "b").write_bytes(bytes(1 << 16)[1:] + b"1")
    pair = (Stretch(str(tmp_path / "a"), 0, 1 << 16), Stretch(str(tmp_path / "b"), 0, 1 << 16))
    assert equal([pair, (pair[0], pair[0])], workers=1) == [False, True]
    assert {process for process, _ in seen} == {os.getpid()}
    assert threading.get_ident() not in {thread for _, thread in seen}
