"""Runs of zip entries that are alike but for name, place, size and checksum: read by columns.

torch.save names the storages of a file 0, 1, 2, …, so thousands of entries have names of one length
and nothing else that varies in length. Each byte of such entries lies as far from the same byte of
the next, and a slice with that step compares it in all of them at the speed of C. What is not quite
so is no run, and takes the ordinary way, entry by entry.
"""

from __future__ import annotations

import sys
from array import array
from operator import add, le
from typing import TYPE_CHECKING, NamedTuple

from paramcli.sources.strides import fields

if TYPE_CHECKING:
    from paramcli.files import HeaderWindow

__all__ = ["Run", "read_run"]

_CENTRAL, _LOCAL = 46, 30
"""Bytes of an entry in the directory, and of its own header, without what varies in length."""
_MARK, _LOCAL_MARK = b"PK\1\2", b"PK\3\4"
_FIXED = (0, 1, 2, 3, 8, 9, 10, 11, 28, 29, 30, 31, 32, 33)
"""Bytes in the directory that no two entries of a run differ in: mark, flags, method, lengths."""
_SHORTEST = 16
_WIDE = 0xFFFFFFFF
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8


class Run(NamedTuple):
    """Entries that are stored as they are, one behind another: columns, and what comes after.

    `first` is where the first one's header lies in the file, `end` where the last one's data ends;
    `position` is that of the next entry in the directory.
    """

    names: list[str]
    offsets: array[int]
    sizes: array[int]
    checksums: array[int]
    first: int
    end: int
    position: int


def read_run(directory: bytes, pos: int, most: int, window: HeaderWindow, limit: int) -> Run | None:
    """Read the run of at most so many entries that begins at `pos`; None where there is none.

    All of it must lie before byte `limit` of the file, whose headers are read through `window`.
    """
    width = directory[pos + 28] | directory[pos + 29] << 8
    stride, head = _CENTRAL + width, _LOCAL + width
    block = directory[pos : pos + most * stride]
    lengths = block[28::stride]
    count = min(len(block) // stride, len(lengths) - len(lengths.lstrip(lengths[:1])))
    block = block[: count * stride]
    if count < _SHORTEST or not _plain(block, stride, count):
        return None
    offsets, sizes = _numbers(block, 42, stride, 4), _numbers(block, 24, stride, 4)
    if _WIDE in (max(offsets), max(sizes)) or not _same(block, 20, block, 24, 4, stride, stride):
        return None
    if offsets[-1] + head > limit or not all(map(le, offsets, offsets[1:])):
        return None
    headers = window.every(offsets, head)
    if not _agree(headers, head, block, stride, count):
        return None
    extra = _numbers(headers, 28, head, 2)
    starts = array("q", [offset + more + head for offset, more in zip(offsets, extra, strict=True)])
    ends = list(map(add, starts, sizes))
    names = _names(block, width, stride, count)
    if names is None or ends[-1] > limit or not all(map(le, ends, offsets[1:])):
        return None
    checksums = _numbers(block, 16, stride, 4)
    return Run(names, starts, sizes, checksums, offsets[0], ends[-1], pos + len(block))


def _plain(block: bytes, stride: int, count: int) -> bool:
    """Whether all entries are alike, and neither encrypted, compressed, nor with extra fields."""
    if not block.startswith(_MARK) or block[8] & _ENCRYPTED:
        return False
    if any(block[10:12]) or any(block[30:34]):
        return False
    return all(block[at::stride].count(block[at]) == count for at in _FIXED)


def _agree(headers: bytes, head: int, block: bytes, stride: int, count: int) -> bool:
    """Whether every entry's own header says the same as the directory."""
    if any(headers[at::head].count(byte) < count for at, byte in enumerate(_LOCAL_MARK)):
        return False
    apart = (head, stride)
    if not (
        _same(headers, 6, block, 8, 8, *apart)  # flags, method, time and date
        and _same(headers, 26, block, 28, 2, *apart)
        and _same(headers, _LOCAL, block, _CENTRAL, head - _LOCAL, *apart)  # the name
    ):
        return False
    if _same(headers, 14, block, 16, 12, *apart):
        return True
    # A writer that streams states checksum and sizes after the data, zeros before it.
    return bool(block[8] & _DESCRIPTOR) and not any(
        headers[at::head].count(0) < count for at in range(14, 26)
    )


def _same(  # noqa: PLR0913, PLR0917 - a place, twice
    one: bytes, at: int, other: bytes, there: int, width: int, step: int, stride: int
) -> bool:
    """Whether fields of `width` bytes are the same in every entry of both."""
    return all(one[at + i :: step] == other[there + i :: stride] for i in range(width))


def _numbers(data: bytes, at: int, stride: int, width: int) -> array[int]:
    """Little-endian numbers of `width` bytes that lie `stride` bytes apart."""
    numbers = array("Q", fields(data, at, stride, width, 8))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _names(block: bytes, width: int, stride: int, count: int) -> list[str] | None:
    joined = fields(block, _CENTRAL, stride, width, width + 1)  # with a NUL after each
    try:
        names = joined[:-1].decode().split("\0")
    except UnicodeDecodeError:
        return None
    return names if len(names) == count else None
