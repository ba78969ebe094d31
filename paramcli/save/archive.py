"""Zip archives of stored entries, as torch.save lays them out: data begins at multiples of 64.

The same content gives the same bytes, since no clock is asked. Source: PKWARE's APPNOTE.TXT,
sections 4.3.7 to 4.3.16; `caffe2/serialize/inline_container.cc` of PyTorch for the padding.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramcli.save.output import Output

__all__ = ["ArchiveWriter"]

ALIGNMENT = 64
WIDE, MANY = 0xFFFFFFFF, 0xFFFF
"""What the usual fields say of sizes and offsets, and of counts, that stand in a zip64 field."""
WIDE_FROM, MANY_FROM = WIDE, MANY
"""The least that do."""
_NEW_YEAR_1980 = 0x21
# mark, version, flags, method, time, date, checksum, sizes, length of name and of extra fields
_LOCAL = Struct("<4s5H3I2H").pack
# mark, versions, the same, length of comment, disk, attributes, offset
_CENTRAL = Struct("<4s6H3I5H2I").pack
_END64 = Struct("<4sQ2H2I4Q").pack
_LOCATOR64 = Struct("<4sIQI").pack
_END = Struct("<4s4H2IH").pack
_CRC_AT = 14


class _Entry(NamedTuple):
    name: bytes
    size: int
    offset: int
    crc: int


class ArchiveWriter:
    """Writes entries below one `folder` into an output that is at its first byte."""

    def __init__(self, output: Output, folder: str) -> None:
        self._output = output
        self._folder = folder
        self._entries: list[_Entry] = []

    @property
    def fingerprint(self) -> str:
        """Forty digits that names and contents so far determine, like torch's serialization id."""
        names = zlib.crc32(b"\n".join(entry.name for entry in self._entries))
        contents = zlib.crc32(b"".join(entry.crc.to_bytes(4, "little") for entry in self._entries))
        return f"{names:020d}{contents:020d}"

    def add(self, name: str, content: bytes) -> None:
        """Write an entry."""
        entry = self.begin(name, len(content))
        self._output.write(content)
        self.sum(entry, zlib.crc32(content))

    def begin(self, name: str, size: int) -> int:
        """Begin an entry of `size` bytes, which must follow; return its number."""
        output, path = self._output, f"{self._folder}/{name}".encode()
        start = output.position
        wide = size >= WIDE_FROM
        extra = _zip64(size, size) if wide else b""
        before = start + 30 + len(path) + len(extra) + 4
        padding = -before % ALIGNMENT
        extra += b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
        stated = WIDE if wide else size
        output.write(
            _LOCAL(
                b"PK\3\4", _version(wide=wide), 0, 0, 0, _NEW_YEAR_1980, 0, stated, stated,
                len(path), len(extra),
            ) + path + extra
        )  # fmt: skip
        self._entries.append(_Entry(path, size, start, 0))
        return len(self._entries) - 1

    def sum(self, entry: int, crc: int) -> None:
        """State the CRC-32 of an entry, when its bytes have gone by."""
        self._entries[entry] = self._entries[entry]._replace(crc=crc)
        self._output.patch(self._entries[entry].offset + _CRC_AT, crc.to_bytes(4, "little"))

    def finish(self) -> None:
        """Write the directory."""
        output = self._output
        start = output.position
        for entry in self._entries:
            output.write(_central(entry))
        end = output.position
        count, size = len(self._entries), end - start
        wide = count >= MANY_FROM or start >= WIDE_FROM or size >= WIDE_FROM
        if wide:
            output.write(_END64(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start))
            output.write(_LOCATOR64(b"PK\6\7", 0, end, 1))
            count, size, start = MANY, WIDE, WIDE
        output.write(_END(b"PK\5\6", 0, 0, count, count, size, start, 0))


def _central(entry: _Entry) -> bytes:
    wide = entry.size >= WIDE_FROM
    values: tuple[int, ...] = (entry.size, entry.size) if wide else ()
    offset = entry.offset
    if offset >= WIDE_FROM:
        values, offset = (*values, offset), WIDE
    extra = _zip64(*values) if values else b""
    stated = WIDE if wide else entry.size
    version = _version(wide=bool(values))
    return (
        _CENTRAL(
            b"PK\1\2", version, version, 0, 0, 0, _NEW_YEAR_1980, entry.crc, stated, stated,
            len(entry.name), len(extra), 0, 0, 0, 0, offset,
        ) + entry.name + extra
    )  # fmt: skip


def _zip64(*values: int) -> bytes:
    content = b"".join(value.to_bytes(8, "little") for value in values)
    return b"\1\0" + len(content).to_bytes(2, "little") + content


def _version(*, wide: bool) -> int:
    """Version of the format that a reader must know, times ten."""
    return 45 if wide else 20
