"""Zip archives are read as they are, or refused where two parts of one disagree."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.errors import SourceError
from paramcli.files import File
from paramcli.sources.archive import Archive
from tests.handmade import torch_zip, written, zipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

GOOD = torch_zip({"a": 1})
DIRECTORY = GOOD.index(b"PK\1\2")
END = GOOD.index(b"PK\5\6")


def patched(at: int, form: str, value: int, content: bytes = GOOD) -> bytes:
    """Overwrite one number of an archive."""
    size = struct.calcsize(form)
    return content[:at] + struct.pack(form, value) + content[at + size :]


def read_all(content: bytes, path: Path) -> dict[str, bytes]:
    with File(written(path, content)) as file:
        archive = Archive(file)
        return {name: archive.read(name) for name in archive.names}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zip") / "file"


class Unseekable(io.RawIOBase):
    """What makes `zipfile` write sizes after the data, as it does to a pipe."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self.content += piece
        return len(piece)


@given(
    entries=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=8),
        st.tuples(
            st.binary(max_size=100), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
            st.booleans(),
        ),
    ),
    comment=st.binary(max_size=10),
    streamed=st.booleans(),
)  # fmt: skip
def test_what_zipfile_writes_is_read(
    entries: dict[str, tuple[bytes, int, bool]], comment: bytes, path: Path, *, streamed: bool
) -> None:
    """Stored and deflated entries, zip64 ones, comments, sizes that follow the data."""
    stream = Unseekable()
    buffer = io.BytesIO()
    with zipfile.ZipFile(stream if streamed else buffer, "w") as archive:
        archive.comment = comment.replace(b"PK", b"")
        for name, (content, compression, wide) in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=wide) as entry:
                entry.write(content)
    made = stream.content if streamed else buffer.getvalue()
    assert read_all(made, path) == {name: content for name, (content, _, _) in entries.items()}


def test_zip64_end_record(path: Path) -> None:
    """An end record of all ones sends the reader to the wide one before it."""
    count, size, start = struct.unpack_from("<HII", GOOD, END + 10)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, END, 1)
    ones = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)
    made = GOOD[:END] + wide + locator + ones
    assert read_all(made, path) == read_all(GOOD, path)
    with pytest.raises(SourceError):
        read_all(GOOD[:END] + wide + patched(8, "<Q", 1, locator) + ones, path)
    with pytest.raises(SourceError):
        read_all(GOOD[:END] + wide + patched(8, "<Q", 1 << 63, locator) + ones, path)
    for length in (0, 43, 45, 1 << 63):  # of the record, which ends where the locator begins
        with pytest.raises(SourceError, match="zip64"):
            read_all(GOOD[:END] + patched(4, "<Q", length, wide) + locator + ones, path)


def test_zip64_sizes_and_offset(path: Path) -> None:
    """Sizes and offset of all ones in the directory stand in its extra field."""
    made = zipped({"a": b"abc"})
    at, end = made.index(b"PK\1\2"), made.index(b"PK\5\6")

    def widened(extra: bytes) -> bytes:
        head = made[at : at + 20] + b"\xff" * 8 + made[at + 28 : at + 30]
        tail = made[at + 32 : at + 42] + b"\xff" * 4 + b"a" + extra
        entry = head + struct.pack("<H", len(extra)) + tail
        return made[:at] + entry + patched(12, "<I", len(entry), made[end:])

    other = struct.pack("<2H3s", 0x7075, 3, b"any")
    assert read_all(widened(other + struct.pack("<2H3Q", 1, 24, 3, 3, 0)), path) == {"a": b"abc"}
    with pytest.raises(SourceError, match="zip64"):
        read_all(widened(struct.pack("<2H2Q", 1, 16, 3, 3)), path)


LOCAL = {
    "mark": (0, "<I", 0), "flags": (6, "<H", 0x800), "method": (8, "<H", 8),
    "checksum": (14, "<I", 1), "stored size": (18, "<I", 1), "size": (22, "<I", 1),
    "name length": (26, "<H", 3), "name": (30, "<B", ord("A")), "extra length": (28, "<H", 60_000),
}  # fmt: skip


@pytest.mark.parametrize("field", LOCAL)
def test_local_header_that_disagrees(field: str, refused: Callable[..., str]) -> None:
    """torch reads what the directory says and other readers what the header says."""
    assert "damaged zip" in refused(patched(*LOCAL[field])) or field == "mark"


CENTRAL = {
    "mark": (0, "<I", 0), "method": (10, "<H", 8), "checksum": (16, "<I", 1),
    "stored size": (20, "<I", 1), "size": (24, "<I", 1 << 30), "name": (46, "<B", ord("A")),
    "extra length": (30, "<H", 1), "offset": (42, "<I", 1), "far offset": (42, "<I", 1 << 30),
}  # fmt: skip


@pytest.mark.parametrize("field", CENTRAL)
def test_directory_that_disagrees(field: str, refused: Callable[..., str]) -> None:
    at, form, value = CENTRAL[field]
    assert "damaged zip" in refused(patched(DIRECTORY + at, form, value))


ENDS = {
    "disk": (4, "<H", 1), "entries here": (8, "<H", 1), "entries": (8, "<2H", 9),
    "size": (12, "<I", 1), "offset": (16, "<I", 1), "far offset": (16, "<I", 1 << 30),
    "comment": (20, "<H", 1),
}  # fmt: skip


@pytest.mark.parametrize("field", ENDS)
def test_end_that_disagrees(field: str, refused: Callable[..., str]) -> None:
    at, form, value = ENDS[field]
    numbers = (value, value) if form == "<2H" else (value,)
    made = GOOD[: END + at] + struct.pack(form, *numbers) + GOOD[END + at + struct.calcsize(form) :]
    assert "zip" in refused(made)


@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_bytes_after_the_end(size: int, refused: Callable[..., str]) -> None:
    assert "end" in refused(GOOD + bytes(size))


def test_two_archives_in_one(refused: Callable[..., str]) -> None:
    """Some readers count offsets from the file's first byte, and some back from the directory."""
    assert "zip" in refused(torch_zip({"a": 1}) + torch_zip({"a": 2}))


def test_wrong_checksum(refused: Callable[..., str]) -> None:
    """torch reads such a pickle without a word."""
    at = GOOD.index(b"X\1\0\0\0a")
    assert "checksum" in refused(patched(at + 5, "<B", ord("b")))


def test_encryption(refused: Callable[..., str]) -> None:
    made = patched(6, "<H", 1)
    assert "encrypted" in refused(patched(DIRECTORY + 8, "<H", 1, made))


def test_unknown_compression(refused: Callable[..., str]) -> None:
    assert "compression" in refused(zipped({"a/data.pkl": b"N."}, compression=zipfile.ZIP_BZIP2))


def test_deflated_pickle_is_read(opened: Callable[..., Checkpoint]) -> None:
    entries = {"a/data.pkl": b"\x80\x02}X\1\0\0\0xK\5s."}
    assert opened(zipped(entries, compression=zipfile.ZIP_DEFLATED)).values == (("x", 5),)


def test_bomb(refused: Callable[..., str]) -> None:
    """A pickle that inflates a thousandfold is refused before it does."""
    bomb = zipped({"a/data.pkl": bytes(100_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    assert "inflates" in refused(bomb)


@pytest.mark.parametrize("stated", [49, 51])
def test_stated_size_of_what_inflates(stated: int, refused: Callable[..., str]) -> None:
    made = zipped({"a/data.pkl": bytes(50)}, compression=zipfile.ZIP_DEFLATED)
    made = patched(22, "<I", stated, made)
    made = patched(made.index(b"PK\1\2") + 24, "<I", stated, made)
    assert "size" in refused(made)


def test_garbage_that_should_inflate(refused: Callable[..., str]) -> None:
    made = zipped({"a/data.pkl": bytes(50)}, compression=zipfile.ZIP_DEFLATED)
    at = 30 + len("a/data.pkl")
    assert "inflate" in refused(made[:at] + b"\xff\xff" + made[at + 2 :])


def test_two_entries_of_one_name(refused: Callable[..., str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", b"N.")
    assert "two entries" in refused(buffer.getvalue())


def test_entries_that_lie_over_each_other(refused: Callable[..., str]) -> None:
    """Two names for one run of bytes make a small file say much."""
    made = zipped({"a/data.pkl": b"N.", "a/data.pk2": b"N."})
    first = made.index(b"PK\1\2")
    second = made.index(b"PK\1\2", first + 1)
    assert "damaged zip" in refused(patched(second + 42, "<I", 0, made))


def test_names_of_old_code_pages(path: Path) -> None:
    made = zipped({"ab": b"x"}).replace(b"ab", b"a\x81")
    assert read_all(made, path) == {"aü": b"x"}


@pytest.mark.skipif(
    not hasattr(torch.serialization, "set_crc32_options"),
    reason=f"torch {torch.__version__} always writes checksums",
)
def test_an_archive_that_states_no_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(6.0)}, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = paramcli.open(tmp_path / "model.pt")
    assert checkpoint.read(checkpoint["w"].storage) == torch.arange(6.0).numpy().tobytes()
    assert checkpoint.checksum(checkpoint["w"].storage) is None
