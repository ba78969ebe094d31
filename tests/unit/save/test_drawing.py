"""Computed bytes are drawn once each, whoever draws them; checksums of pieces make the whole's."""

from __future__ import annotations

import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.save import drawing
from paramcli.save.checksums import joined
from paramcli.save.contents import Stretch
from paramcli.save.drawing import Drawn, drawn
from paramcli.tensors import Storage


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_checksums_are_joined(parts: list[bytes]) -> None:
    crc = 0
    for part in parts:
        crc = joined(crc, zlib.crc32(part), len(part))
    assert crc == zlib.crc32(b"".join(parts))


def test_a_checksum_before_a_long_run() -> None:
    long = bytes(1 << 20)
    assert joined(zlib.crc32(b"x"), zlib.crc32(long), len(long)) == zlib.crc32(b"x" + long)


def counting(storage: Storage, offset: int, out: memoryview) -> None:
    """Draw a storage whose bytes count up from its key."""
    out[:] = bytes((int(storage.key) + offset + at) % 251 for at in range(len(out)))


def of(sizes: list[int], start: int = 0) -> list[Stretch]:
    return [
        Stretch(Storage("drawn", key, start + size), start, size) for key, size in enumerate(sizes)
    ]


@given(
    sizes=st.lists(st.integers(0, 300), max_size=12),
    start=st.integers(0, 9),
    piece=st.integers(1, 90),
)
def test_every_byte_is_drawn_once_and_in_order(sizes: list[int], start: int, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drawing, "PIECE", piece)
        patched.setattr(drawing, "_MANY", 5)
        found = list(drawn(counting, of(sizes, start), lambda _, content: bytes(content), 1))
    whole: dict[int, bytes] = {}
    for (number, at, nbytes), content in found:
        assert at == len(whole.get(number, b""))
        assert nbytes == len(content) <= piece
        whole[number] = whole.get(number, b"") + content
    assert whole == {
        key: bytes((key + start + at) % 251 for at in range(size))
        for key, size in enumerate(sizes)
        if size
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_workers_share_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PIECE", 16)
    stretches = of([1000, 0, 24, 16])

    def use(_: Drawn, content: memoryview) -> tuple[bytes, int]:
        return bytes(content), os.getpid()

    alone = [(piece, *seen) for piece, seen in drawn(counting, stretches, use, 1)]
    shared = [(piece, *seen) for piece, seen in drawn(counting, stretches, use, 3)]
    assert [one[:2] for one in shared] == [one[:2] for one in alone]
    assert {one[2] for one in alone} == {os.getpid()}
    assert os.getpid() not in {one[2] for one in shared}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_what_is_made_as_a_whole_is_one_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PIECE", 16)
    stretches = of([200, 300, 20, 300])
    whole = {stretches[1].storage, stretches[3].storage}

    def use(piece: Drawn, _: memoryview) -> tuple[int, int]:
        return piece.stretch, os.getpid()

    found = [seen for _, seen in drawn(counting, stretches, use, 3, whole=whole)]
    assert [number for number, _ in found] == [0] * 13 + [1] * 19 + [2] * 2 + [3] * 19
    for number in (1, 3):
        assert len({worker for one, worker in found if one == number}) == 1
