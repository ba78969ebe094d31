"""Runs of entries read by columns are what the ordinary way reads, one by one."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import SourceError
from paramcli.files import File
from paramcli.sources import zip_directory, zip_runs
from paramcli.sources.archive import Archive
from tests.handmade import written

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.files import HeaderWindow
    from paramcli.sources.zip_directory import Entry

COUNT = 400
ORDINARY = 1 << 40


def archive_of(names: list[str], *, streamed: bool = False, padded: bool = False) -> bytes:
    """An archive whose entries hold 0 to 6 bytes; `padded` as torch aligns what it writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(name, (1980 + number % 3, 1, 1, 0, 0, 0))
            if padded:
                info.extra = struct.pack("<HH", 0x4246, number % 5) + bytes(number % 5)
            with archive.open(info, "w") as entry:
                entry.write(bytes(number % 7))
    made = buffer.getvalue()
    if padded:  # in the headers alone, as torch has it
        made = without_extras(made)
    if streamed:
        made = without_sizes(made)
    return made


def without_extras(made: bytes) -> bytes:
    """Take the extra fields out of the directory."""
    start = made.index(b"PK\1\2")
    end = made.rindex(b"PK\5\6")
    entries, pos = [], start
    while pos < end:
        width, extra = struct.unpack_from("<2H", made, pos + 28)
        name_end = pos + 46 + width
        entries.append(made[pos : pos + 30] + bytes(2) + made[pos + 32 : name_end])
        pos = name_end + extra
    directory = b"".join(entries)
    tail = bytearray(made[end:])
    struct.pack_into("<I", tail, 12, len(directory))
    return made[:start] + directory + bytes(tail)


def without_sizes(made: bytes) -> bytes:
    """Zero checksum and sizes in each entry's own header, which says that they come later."""
    found = bytearray(made)
    pos = made.index(b"PK\1\2")
    while found[pos : pos + 4] == b"PK\1\2":
        width, extra, comment = struct.unpack_from("<3H", found, pos + 28)
        (offset,) = struct.unpack_from("<I", found, pos + 42)
        found[pos + 8] |= 8
        found[offset + 6] |= 8
        found[offset + 14 : offset + 26] = bytes(12)
        pos += 46 + width + extra + comment
    return bytes(found)


def read(content: bytes, path: Path) -> list[tuple[str, Entry | None]] | None:
    """What the directory says, None where the archive is refused."""
    with File(written(path, content)) as file:
        try:
            archive = Archive(file)
        except SourceError:
            return None
        return [(name, archive.entry(name)) for name in archive.names]


def both_ways(content: bytes, path: Path) -> list[tuple[str, Entry | None]] | None:
    found = read(content, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zip_directory, "ALIKE", ORDINARY)
        assert read(content, path) == found
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zip") / "file"


FORMS = {
    "numbers": [f"model/data/{i}" for i in range(COUNT)],
    "sorted": sorted(f"model/data/{i}" for i in range(COUNT)),
    "accents": [f"modèle/{i:04}" for i in range(COUNT)],
    "others between": [f"m/{i:03}" if i % 150 else f"m/version{i}" for i in range(COUNT)],
}
VARIANTS = {"plain": {}, "streamed": {"streamed": True}, "padded": {"padded": True}}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("form", FORMS)
def test_both_ways_read_the_same(form: str, variant: str, path: Path) -> None:
    content = archive_of(FORMS[form], **VARIANTS[variant])
    found = both_ways(content, path)
    assert found is not None
    assert [name for name, _ in found] == FORMS[form]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info, (_, entry) in zip(archive.infolist(), found, strict=True):
            assert entry is not None
            assert (entry.size, entry.crc) == (info.file_size, info.CRC)
            data = content[entry.offset : entry.offset + entry.size]
            assert data == bytes(info.file_size)


def test_runs_are_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[zip_runs.Run | None] = []

    def counted(*args: object) -> zip_runs.Run | None:
        runs.append(zip_runs.read_run(*args))  # type: ignore[arg-type]
        return runs[-1]

    monkeypatch.setattr(zip_directory, "read_run", counted)
    assert read(archive_of(FORMS["numbers"], streamed=True, padded=True), path) is not None
    in_runs = sum(len(run.names) for run in runs if run is not None)
    assert (
        in_runs == COUNT - 10 - zip_directory.ALIKE
    )  # names of two digits, but the first, and of three


LOCAL_FIELDS = range(30 + len("m/000"))
CENTRAL_FIELDS = range(46 + len("m/000"))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("at", CENTRAL_FIELDS)
def test_any_byte_of_the_directory_changed(at: int, streamed: bool, path: Path) -> None:  # noqa: FBT001
    """In the middle of a run, at its end, and in all of its entries."""
    names = [f"m/{i:03}" for i in range(COUNT)]
    good = archive_of(names, streamed=streamed)
    start, stride = good.index(b"PK\1\2"), len(CENTRAL_FIELDS)
    for which in ([200], [COUNT - 1], range(64, COUNT)):
        content = bytearray(good)
        for number in which:
            content[start + number * stride + at] ^= 1 + 2 * at % 255
        both_ways(bytes(content), path)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("at", LOCAL_FIELDS)
def test_any_byte_of_a_header_changed(at: int, streamed: bool, path: Path) -> None:  # noqa: FBT001
    good = archive_of([f"m/{i:03}" for i in range(COUNT)], streamed=streamed)
    offsets = [i for i in range(len(good)) if good.startswith(b"PK\3\4", i)]
    for which in ([200], [COUNT - 1], range(64, COUNT)):
        content = bytearray(good)
        for number in which:
            content[offsets[number] + at] ^= 4
        found = both_ways(bytes(content), path)
        read_by_nobody = at in (4, 5)  # the version that is needed to extract it
        moved = at in (28, 29)  # a longer extra field, which may reach into what follows
        assert read_by_nobody or moved or found is None


@given(seed=st.integers(0, 1 << 30), edits=st.integers(1, 4))
def test_mutations_come_out_alike(seed: int, edits: int, path: Path) -> None:
    dice = random.Random(seed)
    variant = VARIANTS[dice.choice([*VARIANTS])]
    content = bytearray(archive_of([f"m/{i:03}" for i in range(150)], **variant))
    for _ in range(edits):
        content[dice.randrange(len(content))] = dice.randrange(256)
    both_ways(bytes(content), path)


def test_a_name_twice_in_a_run(path: Path) -> None:
    names = [f"m/{i:03}" for i in range(COUNT)]
    content = archive_of(names).replace(b"m/300", b"m/299")
    assert both_ways(content, path) is None


def test_short_runs_are_not_looked_for_in_all_of_the_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def watched(
        directory: bytes, pos: int, most: int, window: HeaderWindow, limit: int
    ) -> zip_runs.Run | None:
        looked.append(most)
        return zip_runs.read_run(directory, pos, most, window, limit)

    monkeypatch.setattr(zip_directory, "read_run", watched)
    names = [f"m/{i:04}" if i < 100 or i // 20 % 2 else f"m/{i:05}" for i in range(3_000)]
    found = read(archive_of(names), path)
    assert found is not None
    assert [name for name, _ in found] == names
    assert len(looked) > 100
    assert sum(looked) < 16 * len(names)
