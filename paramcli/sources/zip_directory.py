"""The directory of a zip archive, held against the header that each entry has before its data.

The directory and the headers are read as strictly as a trusted file deserves: what torch's reader
ignores, such as headers that disagree with the directory, is refused. Source: PKWARE's APPNOTE.TXT,
sections 4.3.7 to 4.3.16.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import CUT_SHORT, DAMAGED, SourceError
from paramcli.files import HeaderWindow
from paramcli.sources.zip_runs import read_run

if TYPE_CHECKING:
    from paramcli.files import File
    from paramcli.sources.zip_runs import Run

__all__ = ["DEFLATED", "STORED", "Directory", "Entry", "read_directory"]

_END = Struct("<4s4H2IH").unpack_from
_END64_LOCATOR = Struct("<4sIQI").unpack_from
_END64 = Struct("<4sQ2H2I4Q").unpack_from
# mark, (version), flags with method, time, date, checksum and sizes, name, extra, comment, offset
_CENTRAL = Struct("<4s4x8s3I3H8xI").unpack_from
_LOCAL = Struct("<4s2x8s12s2H").unpack_from
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8
_WIDE = 0xFFFFFFFF
"""What a 32-bit size or offset says when the number itself stands in a zip64 field."""
STORED, DEFLATED = 0, 8
_ZEROS = bytes(12)
ALIKE = 64
"""So many entries one after another with names of one length may begin a run of more."""


class Entry(NamedTuple):
    """One file of the archive: where its data starts, its sizes, method and checksum.

    Below 0 the offset is that of its own header, inverted, which has still to be looked at.
    """

    offset: int
    size: int
    stored: int
    method: int
    crc: int


class Directory:
    """Entries in columns, in the order of the directory; `names` maps each name to its place."""

    def __init__(self) -> None:
        self.ordered: list[str] = []
        self.names: dict[str, int] = {}
        self.offsets, self.sizes, self.stored = array("q"), array("Q"), array("Q")
        self.methods, self.checksums = bytearray(), array("Q")

    def __getitem__(self, place: int) -> Entry:
        return Entry(
            self.offsets[place], self.sizes[place], self.stored[place], self.methods[place],
            self.checksums[place],
        )  # fmt: skip

    def append(self, name: str, entry: Entry) -> None:
        """Add an entry."""
        self.ordered.append(name)
        self.offsets.append(entry.offset)
        self.sizes.append(entry.size)
        self.stored.append(entry.stored)
        self.methods.append(entry.method)
        self.checksums.append(entry.crc)

    def extend(self, run: Run) -> None:
        """Add the entries of a run, which are stored as they are."""
        self.ordered += run.names
        self.offsets.extend(run.offsets)
        self.sizes.extend(run.sizes)
        self.stored.extend(run.sizes)
        self.methods += bytes([STORED]) * len(run.names)
        self.checksums.extend(run.checksums)

    def look_at(self, file: File, name: str) -> Entry:
        """Return an entry; of a file on another machine its own header is read first."""
        place = self.names[name]
        entry = self[place]
        if entry.offset < 0:
            entry = _looked_at(file, name, entry)
            self.offsets[place] = entry.offset
        return entry


def read_directory(file: File) -> Directory:
    """Read the directory and hold every entry's own header against it.

    Of a file on another machine only the directory is read; see `looked_at`. Raises SourceError
    where the archive is damaged, or where two entries share a name or bytes.
    """
    count, size, start = _end(file)
    content = file.read(start, size)
    found = Directory()
    window = HeaderWindow(file, start // max(count, 1), 128)
    apart, free, pos, alike, width = True, 0, 0, 0, -1
    while len(found.ordered) < count:
        if alike >= ALIKE and not file.far:
            most = min(4 * alike, count - len(found.ordered))
            run = read_run(content, pos, most, window, start) if pos + 46 <= size else None
            alike = 0
            if run is not None:
                found.extend(run)
                apart &= run.first >= free
                free, pos, alike = run.end, run.position, max(ALIKE, len(run.names))
                continue
        name, entry, offset, end = _next(file, content, pos, start, window)
        found.append(name, entry)
        alike = alike + 1 if end - pos == width else 1
        apart &= offset >= free
        free = entry.offset + entry.stored
        width, pos = end - pos, end
    if pos != size:
        raise damaged(file, "the directory has another length than it states", start + pos)
    found.names = _numbered(file, found)
    if not apart and not file.far:
        _check_apart(file, found)
    return found


def _next(
    file: File, directory: bytes, pos: int, start: int, window: HeaderWindow
) -> tuple[str, Entry, int, int]:
    """Read the entry at `pos`: its name, itself, where its header lies, and the next one's place.

    `start` is where the directory lies in the file, and all entries end.
    """
    if pos + 46 > len(directory):
        raise damaged(file, "the directory is cut short", start + pos)
    mark, same, crc, stored, full, name_size, extra_size, comment, offset = _CENTRAL(directory, pos)
    name_end = pos + 46 + name_size
    raw = directory[pos + 46 : name_end]
    if mark != b"PK\1\2" or len(raw) < name_size:
        raise damaged(file, "the directory holds something that is no entry", start + pos)
    narrow, stated = (stored, full), directory[pos + 16 : pos + 28]
    end = name_end + extra_size
    if _WIDE in (offset, full, stored):
        full, stored, offset = _zip64(file, directory[name_end:end], full, stored, offset)
    name, method = _decoded(raw), _method(file, same, offset)
    if offset + 30 + name_size > start:
        raise damaged(file, f"the entry {name!r} cannot be where it says", offset)
    if file.far:
        data = ~offset
        if offset + 30 + name_size + stored > start:
            raise damaged(file, f"the entry {name!r} cannot be where it says", offset)
    else:
        at = window.reach(offset, 30 + name_size)
        local = window.content
        mark, local_same, sizes, local_name_size, local_extra_size = _LOCAL(local, at)
        if (
            mark != b"PK\3\4"
            or local_same != same
            or local_name_size != name_size
            or local[at + 30 : at + 30 + name_size] != raw
            # A writer that streams states checksum and sizes after the data, zeros before it.
            or not (sizes == stated or (same[0] & _DESCRIPTOR and sizes == _ZEROS)
                    or _wide(sizes, crc, narrow))
        ):  # fmt: skip
            raise damaged(file, f"the header of {name!r} contradicts the directory", offset)
        data = offset + 30 + name_size + local_extra_size
        if data + stored > start or (method == STORED and stored != full):
            raise damaged(file, "an entry reaches past its end", offset)
    return name, Entry(data, full, stored, method, crc), offset, end + comment


def _numbered(file: File, found: Directory) -> dict[str, int]:
    """Map names to their places. Raises SourceError where two are the same."""
    names = found.ordered
    places = dict(zip(names, range(len(names)), strict=True))
    if len(places) < len(names):
        place, name = next((i, name) for i, name in enumerate(names) if places[name] != i)
        raise damaged(file, f"two entries are named {name!r}", abs(found.offsets[place]))
    return places


def _looked_at(file: File, name: str, entry: Entry) -> Entry:
    """Read an entry's own header, which must be of the same entry, and find its data."""
    offset = ~entry.offset
    content = file.up_to(offset, 30 + 4 * len(name))
    file.read(offset, 30)  # says what is wrong
    mark, same, sizes, name_size, extra_size = _LOCAL(content, 0)
    crc = int.from_bytes(sizes[:4], "little")
    data = offset + 30 + name_size + extra_size
    if (
        mark != b"PK\3\4"
        or _decoded(content[30 : 30 + name_size]) != name
        or _method(file, same, offset) != entry.method
        or crc not in (0, entry.crc)
    ):
        raise damaged(file, f"the header of {name!r} contradicts the directory", offset)
    if data + entry.stored > file.size or (entry.method == STORED and entry.stored != entry.size):
        raise damaged(file, "an entry reaches past its end", offset)
    return entry._replace(offset=data)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")  # what a name is in where it does not say UTF-8


def _check_apart(file: File, found: Directory) -> None:
    """No entry lies over another's data."""
    free = 0
    for offset, stored in sorted(zip(found.offsets, found.stored, strict=True)):
        if offset < free:
            raise damaged(file, "an entry lies over another", offset)
        free = offset + stored


def _wide(sizes: bytes, crc: int, narrow: tuple[int, int]) -> bool:
    """Whether only sizes differ, and those because they stand in a zip64 field on one side."""
    local = [int.from_bytes(sizes[at : at + 4], "little") for at in (0, 4, 8)]
    return local[0] in (crc, 0) and (_WIDE in local[1:] or _WIDE in narrow)


def _method(file: File, same: bytes, offset: int) -> int:
    """The compression method in the fields that directory and header share."""
    if same[0] & _ENCRYPTED:
        raise SourceError("the archive is encrypted", path=file.path, hint="decrypt it first")
    method = same[2] | same[3] << 8
    if method not in (STORED, DEFLATED):
        raise damaged(file, f"compression method {method} is not one of torch's", offset)
    return method


def _end(file: File) -> tuple[int, int, int]:
    """Find the end record: the directory's entries, size in bytes and position."""
    tail_start = max(0, file.size - 65_557)
    tail = file.read(tail_start, file.size - tail_start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise SourceError(
            "a zip archive without its end", path=file.path, offset=file.size, hint=CUT_SHORT
        )
    _, disk, first_disk, here, count, size, start, comment = _END(tail, at)
    if at + 22 + comment != len(tail):
        raise damaged(file, "bytes stand after the archive's end", tail_start + at + 22 + comment)
    end = tail_start + at
    if tail[at - 20 : at - 16] == b"PK\6\7":
        _, disk, position, disks = _END64_LOCATOR(tail, at - 20)
        record = file.read(position, 56)
        mark, length, _, _, disk, first_disk, here, count, size, start = _END64(record)
        if mark != b"PK\6\6" or disks > 1 or position + 12 + length != end - 20:
            raise damaged(file, "the zip64 end record is not where it should be", position)
        end = position
    if disk or first_disk or here != count:
        raise damaged(file, "an archive over several disks", end)
    if start + size != end:
        raise damaged(file, "the directory does not lie just before the archive's end", end)
    return count, size, start


def _zip64(file: File, extra: bytes, full: int, stored: int, offset: int) -> tuple[int, int, int]:
    """Read the wide sizes of an entry's zip64 extra field (id 1)."""
    pos = 0
    while pos + 4 <= len(extra):
        kind, size = extra[pos] | extra[pos + 1] << 8, extra[pos + 2] | extra[pos + 3] << 8
        if kind == 1:
            wide = extra[pos + 4 : pos + 4 + size]
            values = [int.from_bytes(wide[i : i + 8], "little") for i in range(0, len(wide) - 7, 8)]
            values.reverse()
            try:
                return tuple(  # type: ignore[return-value]
                    values.pop() if narrow == _WIDE else narrow for narrow in (full, stored, offset)
                )
            except IndexError:
                break
        pos += 4 + size
    raise damaged(file, "an entry lacks its zip64 sizes", None)


def damaged(file: File, problem: str, offset: int | None) -> SourceError:
    return SourceError(
        f"damaged zip archive: {problem}", path=file.path, offset=offset, hint=DAMAGED
    )
