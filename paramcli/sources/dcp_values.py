"""The values of a distributed checkpoint: chunks, each a torch.save archive inside a file.

Layout: `torch/distributed/checkpoint/filesystem.py` (`_write_item`, `read_data`).
"""

from __future__ import annotations

import contextlib
import math
import os
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from paramcli.checkpoint import Place, TensorInfo
from paramcli.errors import SourceError
from paramcli.files import open_file
from paramcli.sources.archive import STORED, Archive
from paramcli.sources.torchzip import TorchArchive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.checkpoint import Storage
    from paramcli.files import File

__all__ = ["Chunk", "ChunkTable", "apart"]

_MAX_COMPARED = 1_000_000


class Chunk(NamedTuple):
    """A box of a tensor, by its first element and its sizes, and the stretch of a file it is in."""

    start: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    offset: int
    length: int


class ChunkTable:
    """The chunks of each tensor, by name."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.tensors: dict[str, TensorInfo] = {}
        self.boxes: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {}
        """Of each tensor the sizes of its chunks, by their first element."""
        self.chunks: dict[str, list[Chunk]] = {}
        self._places: dict[str, Place | None] = {}

    def unpack(self, storage: Storage) -> bytes:
        """Put a tensor together from its chunks. Raises SourceError where one does not fit."""
        name = str(storage.key)
        info = self.tensors[name]
        whole = bytearray(storage.nbytes)
        width = info.dtype.bits // 8
        for chunk in self.chunks.get(name, ()):
            content = self._read(chunk, info)
            for source, target, length in _runs(chunk, info.shape):
                piece = content[source * width : (source + length) * width]
                whole[target * width : (target + length) * width] = piece
        return bytes(whole)

    def locate(self, storage: Storage) -> Place | None:
        """Where a tensor lies that is one chunk, in rows and as it is; None for any other."""
        name = str(storage.key)
        if name not in self._places:
            chunks = self.chunks.get(name, [])
            self._places[name] = None
            with contextlib.suppress(SourceError):  # said by whoever reads it
                if len(chunks) == 1:
                    self._places[name] = self._place(chunks[0], name)
        return self._places[name]

    def _place(self, chunk: Chunk, name: str) -> Place | None:
        with open_file(os.path.join(self.directory, chunk.file)) as file:
            archive, piece = _opened(file, chunk, self.tensors[name])
            entry = archive.entry(str(piece.storage.key))
            if entry is None or entry.method != STORED or not piece.contiguous:
                return None
            start, end = piece.extent
            if end > entry.size:
                return None
            return Place(file.disk_path, archive.file.start + entry.offset + start)

    def _read(self, chunk: Chunk, info: TensorInfo) -> bytes:
        """Return a chunk's elements in row-major order."""
        with open_file(os.path.join(self.directory, chunk.file)) as file:
            archive, piece = _opened(file, chunk, info)
            start, end = piece.extent
            content = archive.read(str(piece.storage.key))[start:end]
            return content if piece.contiguous else _row_major(content, piece)


def _opened(file: File, chunk: Chunk, info: TensorInfo) -> tuple[Archive, TensorInfo]:
    """Open the archive that holds a chunk, and the tensor in it, which must be the chunk's."""
    archive = Archive(file.section(chunk.offset, chunk.length, info.name))
    folder = next(iter(archive.entries), "").partition("/")[0]
    piece, _ = TorchArchive(archive, folder).run()
    if (
        type(piece) is not TensorInfo
        or (piece.dtype, piece.shape) != (info.dtype, chunk.sizes)
        or piece.layout != "strided"
    ):
        raise SourceError(
            f"a chunk of {info.name!r} is not the tensor that .metadata says", path=file.path
        )
    return archive, piece


def _row_major(content: bytes, piece: TensorInfo) -> bytes:
    """Lay the elements of a view one after another, without NumPy, which `list` does without."""
    width = piece.dtype.bits // 8
    rows = []
    for index in product(*map(range, piece.shape)):
        at = width * sum(i * step for i, step in zip(index, piece.stride, strict=True))
        rows.append(content[at : at + width])
    return b"".join(rows)


def _runs(chunk: Chunk, shape: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield stretches that lie together in chunk and tensor: element of each, and how many."""
    rank = len(shape)
    inner = rank
    while inner and chunk.sizes[inner - 1] == shape[inner - 1]:
        inner -= 1
    inner = max(inner - 1, 0)  # within the first dimension that is cut, a chunk is still one run
    length = math.prod(chunk.sizes[inner:])
    steps = [math.prod(shape[axis + 1 :]) for axis in range(rank)]
    base = sum(start * step for start, step in zip(chunk.start, steps, strict=True))
    for number, index in enumerate(product(*map(range, chunk.sizes[:inner]))):
        offset = sum(at * step for at, step in zip(index, steps, strict=False))
        yield number * length, base + offset, length


def apart(boxes: dict[tuple[int, ...], tuple[int, ...]], count: int) -> bool:
    """Whether `count` chunks are as many boxes, none of which meets another."""
    compared = 0
    behind: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for start, sizes in sorted(boxes.items()):
        # Only boxes that reach as far as this one begins in the first dimension can meet it.
        behind = [box for box in behind if not start or box[0][0] + box[1][0] > start[0]]
        compared += len(behind)
        if compared > _MAX_COMPARED or any(_meet(box, (start, sizes)) for box in behind):
            return False
        behind.append((start, sizes))
    return len(boxes) == count


def _meet(
    a: tuple[tuple[int, ...], tuple[int, ...]], b: tuple[tuple[int, ...], tuple[int, ...]]
) -> bool:
    return all(
        first < other + size and other < first + extent
        for first, extent, other, size in zip(*a, *b, strict=True)
    )
