"""Where a tensor's elements lie: stretches of a file that one worker looks at on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paramcli.files import open_file
from paramcli.files.mapped import mapped
from paramcli.numeric.gather import Gathered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

    Raw = NDArray[np.uint8]

__all__ = ["BLOCK", "CHUNK", "Block", "chunks", "gathered", "placed"]

CHUNK = 3 << 18
"""Most bytes that are looked at together: they stay in the cache of a core. A multiple of three,
since four numbers of six bits fill three bytes."""
_MAPPED = 1 << 23
"""Bytes that are mapped together."""
_NUMBER = 8
"""Bytes of the largest number."""
BLOCK = 64 * CHUNK
"""Most bytes of a block: the unit of work, and of merging, whatever the number of workers."""


class Block(NamedTuple):
    """Elements of one tensor, one after another from byte `offset` on of `file`, or of `data`.

    `swapped` says that they are big-endian, `whole` that there is no other block of the tensor.
    """

    file: str
    offset: int
    nbytes: int
    dtype: str
    swapped: bool
    whole: bool
    data: memoryview | Gathered | None = None


def placed(checkpoint: Checkpoint, info: TensorInfo, size: int | None = None) -> list[Block] | None:
    """Cut a tensor into blocks of `size` bytes, by default as large as blocks are.

    None where its elements do not lie one after another; see `gathered`.
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
    """Cut a tensor into blocks that are put together from where their elements lie.

    Raises SourceError where it repeats few bytes without end.
    """
    found = Gathered(checkpoint, info)
    size = size or BLOCK
    swapped = checkpoint.byteorder == "big" and info.dtype.bits > 8
    return [
        Block(
            "", at, min(size, found.nbytes - at), info.dtype.name, swapped, found.nbytes <= size,
            found,
        )
        for at in range(0, found.nbytes, size)
    ]  # fmt: skip


def chunks(
    block: Block, size: int | None = None, buffer: bytearray | memoryview | None = None
) -> Iterator[Raw]:
    """Yield a block by chunks of `size` bytes, each of which may be gone when the next one comes.

    What is read is read into `buffer`, where one of that size is given.
    """
    size = size or CHUNK
    for piece in _pieces(block, size, buffer):
        raw = np.frombuffer(piece, np.uint8)
        if len(raw) <= size:
            yield raw
        else:
            yield from (raw[at : at + size] for at in range(0, len(raw), size))


def _pieces(block: Block, size: int, buffer: bytearray | memoryview | None) -> Iterator[memoryview]:
    """Yield a block as it comes: whole if it is in memory, else some chunks at a time, or one.

    What is mapped begins where a number may: those that do not are slow to compute with.
    """
    if isinstance(block.data, memoryview):
        yield block.data
    elif block.data is not None:
        yield from block.data.pieces(block.offset, block.offset + block.nbytes, size)
    else:
        with open_file(block.file) as file:
            file.expect(block.offset, block.nbytes)
            in_step = not (file.start + block.offset) % _NUMBER
            room = memoryview(buffer or bytearray(min(size, block.nbytes)))[:size]
            step = max(1, _MAPPED // size) * size
            for begin in range(0, block.nbytes, step):
                end = min(begin + step, block.nbytes)
                whole = mapped(file, block.offset + begin, end - begin) if in_step else None
                if whole is not None:
                    yield whole
                    continue
                for done in range(begin, end, size):
                    piece = room[: end - done]
                    file.fill(piece, block.offset + done)
                    yield piece
