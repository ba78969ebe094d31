"""Where a tensor's elements lie: stretches of a file that one worker reads on its own.

Bytes are read into a buffer rather than mapped: as fast from the page cache, and a file that
shrinks meanwhile gives an error, where a mapping would kill the process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paramcli.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint, TensorInfo

    Raw = NDArray[np.uint8]

__all__ = ["BLOCK", "CHUNK", "Block", "chunks", "gather", "gathered", "placed"]

CHUNK = 3 << 18
"""Most bytes that are looked at together: they stay in the cache of a core. A multiple of three,
since four numbers of six bits fill three bytes."""
BLOCK = 64 * CHUNK
"""Most bytes of a block: the unit of work, and of merging, whatever the number of workers."""


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
    data: bytes | None = None


def placed(checkpoint: Checkpoint, info: TensorInfo) -> list[Block] | None:
    """Cut a tensor into blocks, None where its bytes must first be gathered or unpacked."""
    place = checkpoint.locate(info.storage)
    if place is None or not is_dense(info):
        return None
    start, end = info.extent
    swapped = checkpoint.byteorder == "big" and info.dtype.bits > 8
    return [
        Block(
            place.file,
            place.offset + at,
            min(BLOCK, end - at),
            info.dtype.name,
            swapped,
            end - start <= BLOCK,
        )
        for at in range(start, end, BLOCK)
    ]


def gathered(checkpoint: Checkpoint, info: TensorInfo) -> list[Block]:
    """Cut a tensor that skips, repeats or packs its elements into blocks held in memory.

    Raises SourceError where the target holds no bytes for it.
    """
    swapped = checkpoint.byteorder == "big" and info.dtype.bits > 8
    content = gather(checkpoint, info)
    pieces = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    return [
        Block("", 0, len(piece), info.dtype.name, swapped, len(pieces) == 1, piece)
        for piece in pieces
    ]


def is_dense(info: TensorInfo) -> bool:
    """Whether the elements fill one stretch of bytes once, in whatever order."""
    start, end = info.extent
    if end - start != info.dtype.nbytes(info.numel):
        return False
    expected = 1
    for step, size in sorted(zip(info.stride, info.shape, strict=True)):
        if size != 1 and step != expected:
            return 0 in info.shape
        expected *= size
    return True


def gather(checkpoint: Checkpoint, info: TensorInfo) -> bytes:
    """Return a tensor's elements in row-major order, read by its strides."""
    start, end = info.extent
    if end == start or info.numel == 0:
        return b""
    place = checkpoint.locate(info.storage)
    if place is None:
        content = checkpoint.read(info.storage)[start:end]
    else:
        content = _read(place.file, place.offset + start, end - start)
    if info.contiguous:
        return content
    width = info.dtype.bits // 8
    strided = np.lib.stride_tricks.as_strided(
        np.frombuffer(content, np.dtype((np.void, width))),
        info.shape, [step * width for step in info.stride], writeable=False,
    )  # fmt: skip
    return strided.tobytes()


def chunks(block: Block) -> Iterator[Raw]:
    """Yield the bytes of a block by chunks, in one buffer that is used again and again."""
    if block.data is not None:
        whole = np.frombuffer(block.data, np.uint8)
        yield from (whole[at : at + CHUNK] for at in range(0, block.nbytes, CHUNK))
        return
    buffer = np.empty(min(CHUNK, block.nbytes), np.uint8)
    descriptor = os.open(block.file, os.O_RDONLY)
    try:
        for done in range(0, block.nbytes, CHUNK):
            chunk = buffer[: block.nbytes - done]
            _fill(descriptor, memoryview(chunk.data), block.offset + done, block.file)
            yield chunk
    finally:
        os.close(descriptor)


def _read(path: str, offset: int, size: int) -> bytes:
    content = bytearray(size)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _fill(descriptor, memoryview(content), offset, path)
    finally:
        os.close(descriptor)
    return bytes(content)


def _fill(descriptor: int, target: memoryview, offset: int, path: str) -> None:
    done = 0
    while done < len(target):
        got = os.preadv(descriptor, [target[done:]], offset + done)
        if not got:
            raise SourceError("the file shrank while it was read", path=path, offset=offset + done)
        done += got
