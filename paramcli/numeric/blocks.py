"""Where a tensor's elements lie: stretches of a file that one worker reads on its own.

Bytes are read into a buffer rather than mapped: as fast from the page cache, and a file that
shrinks meanwhile gives an error, where a mapping would kill the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from paramcli.errors import SourceError
from paramcli.files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint, Place, TensorInfo

    Raw = NDArray[np.uint8]

__all__ = ["BLOCK", "CHUNK", "Block", "chunks", "gather", "gathered", "placed"]

CHUNK = 3 << 18
"""Most bytes that are looked at together: they stay in the cache of a core. A multiple of three,
since four numbers of six bits fill three bytes."""
BLOCK = 64 * CHUNK
"""Most bytes of a block: the unit of work, and of merging, whatever the number of workers."""
REPEATED = 1 << 28
"""Most bytes that are made of fewer: a file of a kilobyte can expand one number without end."""


class Block(NamedTuple):
    """Elements of one tensor, one after another in `file`, or in `data` where that is not None.

    `swapped` says that they are big-endian, `whole` that there is no other block of the tensor.
    """

    file: str
    offset: int
    nbytes: int
    dtype: str
    swapped: bool
    whole: bool
    data: memoryview | None = None


def placed(checkpoint: Checkpoint, info: TensorInfo, size: int | None = None) -> list[Block] | None:
    """Cut a tensor into blocks of `size` bytes, by default as large as blocks are.

    None where its bytes must first be gathered or unpacked.
    """
    size = size or BLOCK
    place = checkpoint.locate(info.storage)
    if place is None or info.marks or not info.dense:
        return None
    start, end = info.extent
    swapped = checkpoint.byteorder == "big" and info.dtype.bits > 8
    return [
        Block(
            place.file,
            place.offset + at,
            min(size, end - at),
            info.dtype.name,
            swapped,
            end - start <= size,
        )
        for at in range(start, end, size)
    ]


def gathered(checkpoint: Checkpoint, info: TensorInfo, size: int | None = None) -> list[Block]:
    """Cut a tensor that skips, repeats or packs its elements into blocks held in memory.

    Raises SourceError where the target holds no bytes for it.
    """
    swapped = checkpoint.byteorder == "big" and info.dtype.bits > 8
    content = memoryview(gather(checkpoint, info))
    size = size or BLOCK
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return [
        Block("", 0, len(piece), info.dtype.name, swapped, len(pieces) == 1, piece)
        for piece in pieces
    ]


def gather(checkpoint: Checkpoint, info: TensorInfo) -> bytes | bytearray:
    """Return a tensor's elements in row-major order, read by its strides.

    Raises SourceError where the target holds no bytes for it, or few that it repeats without end.
    """
    start, end = info.extent
    if end == start or info.numel == 0:
        return b""
    if info.nbytes > max(REPEATED, 2 * (end - start)):
        raise SourceError(
            f"{info.name!r} repeats {end - start:,} bytes to {info.nbytes:,}, too many to read",
            path=checkpoint.origin,
        )
    place = checkpoint.locate(info.storage)
    content: bytes | bytearray
    if place is None:
        content = checkpoint.read(info.storage)[start:end]
    else:
        content = _read(place, start, end - start)
    bits = info.dtype.bits
    if bits < 8:
        content = _of_packed(content, info)
    elif not info.contiguous:
        elements = np.frombuffer(content, np.dtype((np.void, bits // 8)))
        steps = [step * bits // 8 for step in info.stride]
        content = as_strided(elements, info.shape, steps, writeable=False).tobytes()
    return _unmarked(content, info, checkpoint.byteorder)


def _of_packed(content: bytes | bytearray, info: TensorInfo) -> bytes:
    """Pack the elements anew, as they need not begin where a byte does."""
    bits = info.dtype.bits
    first = info.offset * bits % 8
    each = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[first:]
    steps = [step * bits for step in info.stride]
    picked = as_strided(each, (*info.shape, bits), (*steps, 1), writeable=False)
    return np.packbits(picked, bitorder="little").tobytes()


def _unmarked(content: bytes | bytearray, info: TensorInfo, byteorder: str) -> bytes | bytearray:
    """Carry out what is only marked: turn the signs of all numbers, or of imaginary parts."""
    if not info.marks:
        return content
    parts = 2 if info.dtype.name.startswith("complex") else 1
    width = info.dtype.bits // 8 // parts
    turned = bytearray(content)
    each = np.frombuffer(turned, np.uint8).reshape(-1, parts, width)
    signs = each[..., -1 if byteorder == "little" else 0]
    if "neg" in info.marks:
        signs ^= 0x80
    if "conj" in info.marks:
        signs[:, 1] ^= 0x80
    return turned


def chunks(block: Block, size: int | None = None) -> Iterator[Raw]:
    """Yield a block by chunks of `size` bytes, in one buffer that is used again and again."""
    size = size or CHUNK
    if block.data is not None:
        whole = np.frombuffer(block.data, np.uint8)
        yield from (whole[at : at + size] for at in range(0, block.nbytes, size))
        return
    buffer = np.empty(min(size, block.nbytes), np.uint8)
    with open_file(block.file) as file:
        file.expect(block.offset, block.nbytes)
        for done in range(0, block.nbytes, size):
            chunk = buffer[: block.nbytes - done]
            file.fill(memoryview(chunk.data), block.offset + done)
            yield chunk


def _read(place: Place, start: int, size: int) -> bytearray:
    content = bytearray(size)
    with open_file(place.file) as file:
        file.fill(memoryview(content), place.offset + start)
    return content
