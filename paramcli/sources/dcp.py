"""Directories of torch.distributed.checkpoint: `.metadata` says what is in the `.distcp` files.

torch reads `.metadata` with plain `pickle.load`, which would run whatever a crafted one asks for;
here the pickle machine reads it. Layout: `torch/distributed/checkpoint/metadata.py`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from paramcli.errors import SourceError
from paramcli.files import is_remote, open_file
from paramcli.files.folders import names_in, size_of
from paramcli.sources.dcp_values import Chunk, ChunkTable, apart
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import Dict, Record
from paramcli.sources.pickles.rebuild import dtype_of, number, numbers
from paramcli.sources.pickles.safety import judge
from paramcli.tensors import Storage, TensorInfo, row_major

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.files import File
    from paramcli.sources import Request

__all__ = ["BESIDE", "BESIDE_VERSION", "open_dcp"]

BESIDE, BESIDE_VERSION = "paramcli.json", 1
"""A file of our own, which torch passes over: `{"version": 1, "names": […], "ties": {name: name},
"metadata": {text: text}}`. Tied names have equal bytes, each its own."""
_MAX_BESIDE = 100_000_000

_MODULE = "torch.distributed.checkpoint.metadata"
_UNDERSTOOD = (
    r"torch\.distributed\.checkpoint\.(metadata|filesystem|planner)\._?[A-Z]\w*"
    r"|pathlib\.(_local\.)?\w*Path"
)


def open_dcp(file: File, request: Request) -> Checkpoint:
    """Open a directory by its `.metadata`. Raises SourceError where its chunks do not add up."""
    machine = Machine(file.read(0, file.size), file.path)
    root = machine.run()
    table = ChunkTable(os.path.dirname(file.path) or os.curdir)
    try:
        facts = _fields(root, f"{_MODULE}.Metadata")
        tree = _tree(facts, table)
        _find_chunks(facts.get("storage_data"), table.directory, table)
    except ValueError as error:
        raise SourceError(f"damaged .metadata: {error}", path=file.path) from None
    base = _with_beside(from_tree(tree, request, file=file.path, form="dcp"), table.directory)
    judged = judge(machine, refused="it is a distributed checkpoint, for torch.distributed")
    ours = [name for name in judged.inert if re.fullmatch(_UNDERSTOOD, name)]
    return replace(
        base,
        producer="torch.distributed.checkpoint",
        pickle=judged._replace(
            understood=(*judged.understood, *ours),
            inert=tuple(name for name in judged.inert if name not in ours),
        ),
        locate=table.locate,
        unpack=table.unpack,
    )


def _with_beside(base: Checkpoint, directory: str) -> Checkpoint:
    """Put names in order and tie them, as the file beside says. It must be of these names."""
    path = os.path.join(directory, BESIDE)
    if size_of(path) is None if not is_remote(directory) else BESIDE not in names_in(directory):
        return base
    with open_file(path) as file:
        if file.size > _MAX_BESIDE:
            raise SourceError(f"{BESIDE} of {file.size:,} bytes", path=path)
        try:
            told = json.loads(file.read(0, file.size))
            names, ties, metadata = told["names"], told["ties"], told["metadata"]
            known = told["version"] == BESIDE_VERSION
        except (ValueError, RecursionError, TypeError, KeyError):
            raise SourceError(f"{BESIDE} cannot be read", path=path) from None
    by_name = {info.name: info for info in base}
    if (
        not known
        or not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or not _texts(ties)
        or not _texts(metadata)
    ):
        raise SourceError(f"{BESIDE} is of no known version", path=path)
    for name, kept in ties.items():
        one, other = by_name.get(name), by_name.get(kept)
        if one is not None and other is not None:
            if one[1:4] != other[1:4]:
                raise SourceError(f"{BESIDE} ties {name!r} to {kept!r}, which differs", path=path)
            by_name[name] = one._replace(storage=other.storage)
    order = {name: place for place, name in enumerate(names)}
    entries = sorted(by_name.values(), key=lambda info: order.get(info.name, len(order)))
    return replace(base, entries=tuple(entries), metadata=metadata)


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _fields(record: object, path: str = "") -> dict[str, object]:
    """The attributes of a dataclass that was pickled, of the class `path` if that is given."""
    if type(record) is not Record or type(record.state) is not Dict:
        raise ValueError("something else stands where a record should")
    if path and record.path != path:
        raise ValueError(f"it is a {record.path}, not a {path}")
    return {name: value for name, value in _pairs(record.state) if type(name) is str}


def _pairs(node: object) -> list[tuple[object, object]]:
    if type(node) is not Dict:
        raise ValueError("a dictionary is wanted where something else stands")
    return list(zip(node.pairs[::2], node.pairs[1::2], strict=True))


def _tree(facts: dict[str, object], table: ChunkTable) -> Dict:
    """Nest the flat names again by the paths that the planner kept, where it kept them."""
    paths: dict[str, tuple[object, ...]] = {}
    if type(facts.get("planner_data")) is Dict:
        paths = {
            name: path
            for name, path in _pairs(facts["planner_data"])
            if type(name) is str and type(path) is tuple and path
        }
    root = Dict([])
    branches: dict[tuple[str, ...], Dict] = {(): root}
    for name, stored in _pairs(facts.get("state_dict_metadata")):
        if type(name) is not str or type(stored) is not Record:
            raise ValueError("an entry without a name")
        steps = tuple(str(step) for step in paths.get(name, (name,)) if type(step) in (str, int))
        is_tensor = stored.path == f"{_MODULE}.TensorStorageMetadata"
        leaf = _tensor(name, stored, table) if is_tensor else stored
        node = root
        for depth, step in enumerate(steps[:-1], 1):
            child = branches.get(steps[:depth])
            if child is None:
                child = branches[steps[:depth]] = Dict([])
                node.pairs += (step, child)
            node = child
        node.pairs += (steps[-1] if steps else name, leaf)
    return root


def _tensor(name: str, stored: Record, table: ChunkTable) -> TensorInfo:
    facts = _fields(stored)
    properties = facts.get("properties")
    if (
        type(properties) is not Record
        or type(properties.state) is not tuple
        or not properties.state
    ):
        raise ValueError(f"{name!r} has no element type")
    dtype = dtype_of(properties.state[0])
    size = numbers(facts.get("size"))
    chunks = facts.get("chunks")
    if type(chunks) is not list:
        raise ValueError(f"{name!r} has no chunks")
    count = 0
    for chunk in chunks:
        bounds = _fields(chunk)
        offsets, sizes = numbers(bounds.get("offsets")), numbers(bounds.get("sizes"))
        if len(offsets) != len(size) or len(sizes) != len(size):
            raise ValueError(f"{name!r} has a chunk of another rank")
        inside, volume = True, 1
        for start, extent, whole in zip(offsets, sizes, size, strict=True):
            inside &= start + extent <= whole
            volume *= extent
        if not inside:
            raise ValueError(f"{name!r} has a chunk outside of it")
        count += volume
        table.boxes.setdefault(name, {})[offsets] = sizes
    made = TensorInfo(name, dtype, size, row_major(size), 0, Storage("", 0, 0))
    if count != made.numel or not apart(table.boxes.get(name, {}), len(chunks)):
        raise ValueError(f"the chunks of {name!r} do not cover it once")
    made = made._replace(storage=Storage(table.directory, name, made.nbytes))
    table.tensors[name] = made
    return made


def _find_chunks(storage_data: object, directory: str, table: ChunkTable) -> None:
    """Fill in where each chunk lies. Every one must be inside a file that is there."""
    file_sizes: dict[str, int] = {}
    for index, place in _pairs(storage_data):
        facts = _fields(place)
        file = facts.get("relative_path")
        if type(file) is not str or not _is_plain(file):
            raise ValueError(f"it names {file!r}, which is not a plain file beside it")
        if file not in file_sizes:
            size = size_of(os.path.join(directory, file))
            if size is None:
                raise ValueError(f"the file {file!r} that it names is not there")
            file_sizes[file] = size
        offset, length = number(facts.get("offset")), number(facts.get("length"))
        if offset + length > file_sizes[file]:
            raise ValueError(f"the file {file!r} is shorter than it should be")
        which = _fields(index)
        name, start = which.get("fqn"), which.get("offset")
        if type(name) is str and name in table.tensors:
            sizes = table.boxes[name].get(numbers(start))
            if sizes is None:
                raise ValueError(f"{name!r} has a chunk that it does not describe")
            table.chunks.setdefault(name, []).append(
                Chunk(numbers(start), sizes, file, offset, length)
            )
    for name, boxes in table.boxes.items():
        if len(table.chunks.get(name, ())) < len(boxes):
            raise ValueError(f"a chunk of {name!r} is in no file")


def _is_plain(file: str) -> bool:
    return file not in ("", ".", "..") and not {"/", "\\", "\0"} & set(file)
