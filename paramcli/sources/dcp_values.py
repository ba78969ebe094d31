"""The values of a distributed checkpoint: chunks, each a torch.save archive inside a file.

Layout: `torch/distributed/checkpoint/filesystem.py` (`_write_item`, `read_data`).
"""

from __future__ import annotations

import contextlib
import math
import os
from bisect import bisect_left, bisect_right
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError
from paramcli.files import open_file
from paramcli.sources.archive import STORED, Archive
from paramcli.sources.torchzip import TorchArchive
from paramcli.tensors import Place, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.files import File
    from paramcli.tensors import Storage

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
        self._places: dict[Chunk, Place | None] = {}
        self._runs: dict[str, list[_Runs]] = {}
        self._whole: tuple[Chunk, bytes] | None = None

    def unpack(self, storage: Storage, start: int, target: memoryview) -> None:
        """Put a part of a tensor together from its chunks, which cover it once.

        Raises SourceError where one is not as .metadata says.
        """
        name = str(storage.key)
        info = self.tensors[name]
        if name not in self._runs:
            self._runs[name] = [_Runs(chunk, info) for chunk in self.chunks.get(name, ())]
        for runs in self._runs[name]:
            parts = list(runs.meeting(start, start + len(target)))
            if not parts:
                continue
            first, end = parts[0].source, parts[-1].source + parts[-1].nbytes
            content = memoryview(self._read(runs.chunk, info, first, end - first))
            for source, at, nbytes in parts:
                target[at - start :][:nbytes] = content[source - first :][:nbytes]

    def locate(self, storage: Storage) -> Place | None:
        """Where a tensor lies that is one chunk, in rows and as it is; None for any other."""
        name = str(storage.key)
        chunks = self.chunks.get(name, [])
        with contextlib.suppress(SourceError):  # said by whoever reads it
            if len(chunks) == 1:
                return self._located(chunks[0], name)
        return None

    def _located(self, chunk: Chunk, name: str) -> Place | None:
        if chunk not in self._places:
            self._places[chunk] = self._place(chunk, name)
        return self._places[chunk]

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

    def _read(self, chunk: Chunk, info: TensorInfo, start: int, size: int) -> bytes:
        """Return `size` bytes of a chunk from `start` on, its elements in row-major order."""
        place = self._located(chunk, info.name)
        if place is not None:
            with open_file(place.file) as file:
                return file.read(place.offset + start, size)
        if self._whole is None or self._whole[0] != chunk:
            self._whole = chunk, self._unpacked(chunk, info)
        return self._whole[1][start : start + size]

    def _unpacked(self, chunk: Chunk, info: TensorInfo) -> bytes:
        """Return a chunk that is compressed, or lies in its file in another order."""
        with open_file(os.path.join(self.directory, chunk.file)) as file:
            archive, piece = _opened(file, chunk, info)
            start, end = piece.extent
            content = archive.read(str(piece.storage.key))[start:end]
            return content if piece.contiguous else _row_major(content, piece)


def _opened(file: File, chunk: Chunk, info: TensorInfo) -> tuple[Archive, TensorInfo]:
    """Open the archive that holds a chunk, and the tensor in it, which must be the chunk's."""
    archive = Archive(file.section(chunk.offset, chunk.length, info.name))
    folder = next(iter(archive.names), "").partition("/")[0]
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


class _Part(NamedTuple):
    """Bytes that lie together in a chunk and in its tensor: where in each, and how many."""

    source: int
    target: int
    nbytes: int


class _Runs:
    """The stretches of a tensor that lie together in a chunk too, in the order of both.

    All are as long, and in the chunk one follows another.
    """

    def __init__(self, chunk: Chunk, info: TensorInfo) -> None:
        width, shape, rank = info.dtype.bits // 8, info.shape, len(info.shape)
        inner = rank
        while inner and chunk.sizes[inner - 1] == shape[inner - 1]:
            inner -= 1
        # Within the first dimension that is cut, a chunk is still one run.
        inner = max(inner - 1, 0)
        steps = [width * math.prod(shape[axis + 1 :]) for axis in range(rank)]
        self.chunk = chunk
        self._nbytes = width * math.prod(chunk.sizes[inner:])
        self._start = sum(at * step for at, step in zip(chunk.start, steps, strict=True))
        self._cut = list(zip(chunk.sizes[:inner], steps, strict=False))[::-1]
        self._count = math.prod(chunk.sizes[:inner])

    def _at(self, number: int) -> int:
        """Where in the tensor a run begins, in bytes."""
        found = self._start
        for size, step in self._cut:
            number, index = divmod(number, size)
            found += index * step
        return found

    def meeting(self, start: int, end: int) -> Iterator[_Part]:
        """Yield what the chunk holds of the tensor's bytes from `start` to `end`."""
        numbers, size = range(self._count), self._nbytes
        first = bisect_right(numbers, start - size, key=self._at)
        for number in numbers[first : bisect_left(numbers, end, lo=first, key=self._at)]:
            at = self._at(number)
            begin = max(at, start)
            yield _Part(number * size + begin - at, begin, min(at + size, end) - begin)


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
