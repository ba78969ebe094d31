"""Checkpoints in several files: an index beside its shards, and the directories that hold them.

Layout: `huggingface_hub/serialization/_base.py` (`weight_map` from names to shard files).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint, Pickle
from paramcli.errors import SourceError, a_few
from paramcli.files import is_remote
from paramcli.files.folders import names_in
from paramcli.sources.ties import restore_removed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paramcli.files import File
    from paramcli.sources import Request
    from paramcli.tensors import Place, Storage, TensorInfo

__all__ = ["NAMES", "SUFFIXES", "main_file", "numbered", "open_index", "open_numbered"]

MAX_INDEX = 256 << 20
_BRACKETS = 1_000
"""Arrays and objects that an index may hold, and one more for every 8 characters, since names may
have brackets too: the parser makes objects of them that are 40 times as large."""
NAMES = "paramcli.names"
"""Where an index keeps every name in order, those without bytes of their own included. It stands in
its metadata where `weight_map` and the ties of the shards would give another order."""

_WEIGHTS = (
    "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json",
    "pytorch_model.bin", "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors", "adapter_model.safetensors", "adapter_model.bin",
    "consolidated.safetensors", "consolidated.00.pth",
)  # fmt: skip
"""What a model directory calls its weights, the first that is there counting."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".th")
_NUMBERED = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})(\.[a-z]+)").fullmatch


def main_file(directory: str, names: Sequence[str]) -> str:
    """Name the file of a model directory that holds or lists its weights, of all that it holds.

    Raises SourceError where there is none, or several and none that is clearly the model's.
    """
    for name in _WEIGHTS:
        if name in names:
            return name
    found = [name for name in names if name.endswith(".index.json")] or [
        name for name in names if name.endswith(SUFFIXES)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise SourceError(
            "a directory without a checkpoint in it", path=directory,
            hint=f"what ends in {', '.join(SUFFIXES)}, an index or a .metadata would be one",
        )  # fmt: skip
    raise SourceError(
        f"a directory with {len(found)} checkpoints", path=directory,
        hint=f"name one: {a_few(found)}",
    )  # fmt: skip


def numbered(names: Sequence[str]) -> list[str]:
    """Name the shards of a directory without an index, where their own names tell which there are.

    Empty where they do not, or where there is anything else that could be meant.
    """
    found = [name for name in names if name.endswith((*SUFFIXES, ".index.json"))]
    parts = [match for match in map(_NUMBERED, found) if match]
    if len(parts) < len(found) or len({match.group(1, 3, 4) for match in parts}) != 1:
        return []
    stem, _, total, suffix = parts[0].groups()
    if int(total) < 2:
        return []
    first = 0 if any(int(match[2]) == 0 for match in parts) else 1
    return [f"{stem}-{first + place:05d}-of-{total}{suffix}" for place in range(int(total))]


def open_index(file: File, request: Request, open_shard: Callable[[str], Checkpoint]) -> Checkpoint:
    """Open the shards that an index names, and hold the index against what they hold."""
    weight_map, stated, order = _index(file)
    directory = os.path.dirname(file.path) or os.curdir
    names = list(dict.fromkeys(weight_map.values()))
    wanted = f"the index {os.path.basename(file.path)} names it"
    shards = _opened(directory, names, wanted, request, open_shard)
    found = _together(directory, weight_map, shards, order, request)
    return replace(found, metadata={**found.metadata, "total_size": stated}) if stated else found


def open_numbered(
    directory: str,
    names: Sequence[str],
    request: Request,
    open_shard: Callable[[str], Checkpoint],
) -> Checkpoint:
    """Open the shards of these names, which no index lists."""
    shards = _opened(directory, names, "the others' names count it in", request, open_shard)
    held = {info.name: name for name, shard in shards.items() for info in shard.entries}
    found = _together(directory, held, shards, None, request)
    note = f"there is no index: these are the {len(shards)} shards by their names"
    return replace(found, notes=(note, *found.notes))


def _together(
    directory: str,
    weight_map: dict[str, str],
    shards: dict[str, Checkpoint],
    order: dict[str, int] | None,
    request: Request,
) -> Checkpoint:
    """Make one checkpoint of shards, its tensors in an order if there is one."""
    entries = _merged(weight_map, shards)
    kinds = {checkpoint.format for checkpoint in shards.values()}
    metadata = {key: value for shard in shards.values() for key, value in shard.metadata.items()}
    if order is None:
        # A tie that a shard's metadata states may be with a tensor of another shard.
        entries = restore_removed(entries, metadata)
    else:
        last = len(order)
        entries = tuple(sorted(entries, key=lambda info: order.get(info.name, last)))
    by_file = {
        info.storage.file: checkpoint for checkpoint in shards.values() for info in checkpoint
    }

    def locate(storage: Storage) -> Place | None:
        return by_file[storage.file].locate(storage)

    def unpack(storage: Storage, start: int, target: memoryview) -> None:
        by_file[storage.file].unpack(storage, start, target)

    return Checkpoint(
        origin=request.target,
        format="sharded-safetensors" if kinds <= {"safetensors"} else "sharded-torch",
        entries=entries,
        metadata=metadata,
        notes=tuple(dict.fromkeys(note for shard in shards.values() for note in shard.notes)),
        pickle=_joined([shard.pickle for shard in shards.values() if shard.pickle]),
        problems=tuple(_problems(weight_map, entries, directory, shards)),
        locate=locate,
        unpack=unpack,
    )


def _joined(pickles: list[Pickle]) -> Pickle | None:
    """What the pickles of all shards asked for together; None where there is none."""
    if not pickles:
        return None
    return Pickle(
        tuple(dict.fromkeys(name for pickle in pickles for name in pickle.understood)),
        tuple(dict.fromkeys(name for pickle in pickles for name in pickle.inert)),
        next((pickle.refused for pickle in pickles if pickle.refused), ""),
    )


def _opened(
    directory: str,
    names: Sequence[str],
    wanted: str,
    request: Request,
    open_shard: Callable[[str], Checkpoint],
) -> dict[str, Checkpoint]:
    """Open all shards; those of another machine several at a time. `wanted` says who misses one."""
    paths = [os.path.join(directory, name) for name in names]
    if is_remote(directory):
        from concurrent.futures import ThreadPoolExecutor

        from paramcli.files.remote import CONNECTIONS

        found = {}
        with ThreadPoolExecutor(CONNECTIONS) as executor:
            for name, shard in zip(names, executor.map(open_shard, paths), strict=True):
                found[name] = shard
                if request.watch is not None:
                    request.watch(1, len(paths))
        return found
    for path in paths:
        if not os.path.lexists(path):
            raise SourceError(
                f"{wanted}, but it is not there", path=path, hint="download the missing shard"
            )
    return dict(zip(names, map(open_shard, paths), strict=True))


def _index(file: File) -> tuple[dict[str, str], str | None, dict[str, int] | None]:
    """Read an index: shard file by tensor name, the total size that it states, and the order."""
    if file.size > MAX_INDEX:
        raise SourceError(f"an index of {file.size:,} bytes", path=file.path)
    try:
        text = file.read(0, file.size).decode()
        if text.count("[") + text.count("{") > _BRACKETS + len(text) // 8:
            raise ValueError("more arrays and objects than an index has")  # noqa: TRY301
        index = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the index cannot be read: {error}", path=file.path) from None
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(
            "JSON, but no index of a sharded checkpoint: no weight_map names a tensor",
            path=file.path,
        )
    if not set(map(type, weight_map.values())) <= {str}:
        name = next(name for name, shard in weight_map.items() if type(shard) is not str)
        raise SourceError(f"the index puts {name!r} in something that is no file", path=file.path)
    for shard in set(weight_map.values()):
        if shard in ("", ".", "..") or "/" in shard or "\\" in shard or "\0" in shard:
            raise SourceError(
                f"the index names {shard!r}, which is not a plain file beside it", path=file.path
            )
    metadata = index.get("metadata")
    stated = metadata.get("total_size") if isinstance(metadata, dict) else None
    order = metadata.get(NAMES) if isinstance(metadata, dict) else None
    if order is not None and (
        type(order) is not list or not all(type(name) is str for name in order)
    ):
        raise SourceError(f"the index's {NAMES!r} is no list of names", path=file.path)
    return (
        weight_map,
        str(stated) if type(stated) in (int, float) else None,
        None if order is None else {name: place for place, name in enumerate(order)},
    )


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _merged(weight_map: dict[str, str], shards: dict[str, Checkpoint]) -> tuple[TensorInfo, ...]:
    """All tensors, first those of the index in its order, each from the shard that it names."""
    found: dict[str, TensorInfo] = {}
    for name, shard in shards.items():
        mine = {info.name: info for info in shard.entries}
        for twice in found.keys() & mine.keys():
            if weight_map.get(twice) != name:
                del mine[twice]
        found |= mine
    listed = [found.pop(name) for name in weight_map if name in found]
    return (*listed, *found.values())


def _problems(
    weight_map: dict[str, str],
    entries: Sequence[TensorInfo],
    directory: str,
    shards: dict[str, Checkpoint],
) -> list[str]:
    """How the index and its shards disagree, a line for each kind of disagreement."""
    unused = [
        name for name in ([] if is_remote(directory) else names_in(directory))
        if name not in shards and "-of-" in name and name.endswith((".safetensors", ".bin"))
    ]  # fmt: skip
    problems = [("shards that the index does not name", unused)]
    held = {info.name: name for name, shard in shards.items() for info in shard.entries}
    if held != weight_map or len(held) < sum(len(shard.entries) for shard in shards.values()):
        problems = [*_disagreements(weight_map, entries, shards), *problems]
    return [f"{len(names):,} {what}: {a_few(names)}" for what, names in problems if names]


def _disagreements(
    weight_map: dict[str, str], entries: Sequence[TensorInfo], shards: dict[str, Checkpoint]
) -> list[tuple[str, list[str]]]:
    where: dict[str, list[str]] = {}
    for name, shard in shards.items():
        for info in shard.entries:
            where.setdefault(info.name, []).append(name)
    found = {info.name: info for info in entries}
    # A name that was dropped for a tie has its bytes under another, and the index leaves it out.
    stored = {found[name].storage for name in weight_map if name in found}
    return [
        ("in the index, but in no shard", [name for name in weight_map if name not in found]),
        ("in another shard than the index says",
         [name for name in weight_map if name in where and weight_map[name] not in where[name]]),
        ("in more than one shard", [name for name, places in where.items() if len(places) > 1]),
        ("in a shard, but not in the index",
         [name for name in where if name not in weight_map and found[name].storage not in stored]),
    ]  # fmt: skip
