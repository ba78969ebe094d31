"""Directories of torch.distributed.checkpoint in safetensors: a file or more of each rank.

The header of each says, under one key of its metadata, where in the whole tensors its own pieces
begin. Layout: `torch/distributed/checkpoint/hf_storage.py` (`HuggingFaceStorageWriter`).
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint
from paramcli.errors import SourceError
from paramcli.files import open_file
from paramcli.files.folders import names_in
from paramcli.sources.dcp_values import Chunk, ChunkTable, apart
from paramcli.sources.safetensors import read_header
from paramcli.tensors import Place, Storage, row_major

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.files import File
    from paramcli.sources import Request

__all__ = ["are_shards", "open_shards"]

SHARDING = "DCP_SHARDING_INFO"
_NAME = re.compile(r"shard-\d+-.*\.safetensors")


def are_shards(names: Sequence[str]) -> bool:
    """Whether these names of a directory are those of such files, of more than one rank."""
    return len({name.split("-")[1] for name in names if _NAME.fullmatch(name)}) > 1


class _Pieces(ChunkTable):
    """Chunks whose elements lie in their files as they are."""

    def _place(self, chunk: Chunk, name: str) -> Place | None:
        del name
        return Place(os.path.join(self.directory, chunk.file), chunk.offset)


def open_shards(file: File, request: Request) -> Checkpoint:
    """Open the directory that a shard lies in. Raises SourceError where pieces do not add up."""
    table = _Pieces(os.path.dirname(file.path) or os.curdir)
    metadata: dict[str, str] = {}
    for name in filter(_NAME.fullmatch, names_in(table.directory)):
        metadata |= _add(table, name)
    for name, chunks in table.chunks.items():
        _whole(table, name, chunks)
    return Checkpoint(
        origin=request.target,
        format="dcp",
        producer="torch.distributed.checkpoint, in safetensors",
        entries=tuple(table.tensors.values()),
        metadata=metadata,
        locate=table.locate,
        unpack=table.unpack,
    )


def _add(table: _Pieces, name: str) -> dict[str, str]:
    """Add the pieces of one file; return what else its metadata says."""
    path = os.path.join(table.directory, name)
    with open_file(path) as file:
        header = read_header(file)
    metadata = dict(header.metadata)
    try:
        told = json.loads(metadata.pop(SHARDING, "null"))
        starts = {one: tuple(map(int, told[one]["saved_offsets"])) for one in told}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SourceError(f"its metadata {SHARDING!r} cannot be read", path=path) from None
    for info in header.entries:
        start = starts.get(info.name)
        if start is None or len(start) != len(info.shape) or min(start, default=0) < 0:
            raise SourceError(f"it does not say where its piece of {info.name!r} begins", path=path)
        known = table.tensors.setdefault(info.name, info)
        if known.dtype != info.dtype or len(known.shape) != len(info.shape):
            raise SourceError(f"its piece of {info.name!r} is not of the others' kind", path=path)
        offset = header.data_start + int(info.storage.key)
        chunk = Chunk(start, info.shape, name, offset, info.nbytes)
        if start not in table.boxes.setdefault(info.name, {}):  # what is replicated comes again
            table.boxes[info.name][start] = info.shape
            table.chunks.setdefault(info.name, []).append(chunk)
    return metadata


def _whole(table: _Pieces, name: str, chunks: list[Chunk]) -> None:
    """Find the shape of a tensor, which its pieces must fill once."""
    info = table.tensors[name]
    ends = (tuple(a + b for a, b in zip(one.start, one.sizes, strict=True)) for one in chunks)
    shape = tuple(max(column) for column in zip(*ends, strict=True))
    made = info._replace(shape=shape, stride=row_major(shape), offset=0)
    if sum(one.length for one in chunks) != made.nbytes or not apart(
        table.boxes[name], len(chunks)
    ):
        raise SourceError(
            f"the pieces of {name!r} do not cover it once", path=table.directory,
            hint="a shard may be missing",
        )  # fmt: skip
    table.tensors[name] = made._replace(storage=Storage(table.directory, name, made.nbytes))
