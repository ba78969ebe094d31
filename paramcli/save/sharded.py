"""A directory of safetensors shards and their index, which appears last.

Shards become visible under their names only when all of them are whole on the disk. Should the
writer be killed between the first name and the index, the index is still a draft that names them,
and the next save to the same directory removes them.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from paramcli import ranks
from paramcli.errors import UsageError
from paramcli.save.atomic import Draft, abandoned, drafts, sweep, sync_directory
from paramcli.save.contents import Contents
from paramcli.save.output import failing
from paramcli.save.safetensors import plan
from paramcli.save.sharing import stored_tensors
from paramcli.sources.sharded import NAMES
from paramcli.sources.ties import restore_removed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.contents import Watch
    from paramcli.save.safetensors import Plan
    from paramcli.save.sharing import Stored

__all__ = ["save_sharded"]

_INDEX = "model.safetensors.index.json"


def save_sharded(  # noqa: PLR0913 - what is written, where, and who is told
    checkpoint: Checkpoint,
    directory: str,
    shard_size: int,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write shards of at most `shard_size` bytes of tensors, or of one tensor that is larger.

    The directory is made, or empty. Raises UsageError where it holds anything.
    """
    if not checkpoint.entries:
        raise UsageError("there are no tensors to put into shards")
    metadata = {key: text for key, text in checkpoint.metadata.items() if key != "total_size"}
    parts = _parted(stored_tensors(checkpoint), shard_size)
    names = [f"model-{n:05d}-of-{len(parts):05d}.safetensors" for n in range(1, len(parts) + 1)]
    plans = [_shard(checkpoint, part, metadata) for part in parts]
    index = _index(checkpoint, dict(zip(names, parts, strict=True)), metadata)
    stretches = [item for made in plans for item in made.stretches]
    with (
        _emptied(directory) as shown,
        Contents(checkpoint, stretches, workers, watch) as contents,
        contextlib.ExitStack() as unfinished,
    ):
        made: list[Draft] = []
        for name, shard in zip(names, plans, strict=True):
            path = os.path.join(directory, name)
            draft = Draft(path, len(shard.header) + shard.nbytes, progress)
            unfinished.callback(draft.discard)
            shard.write(draft, contents)
            draft.finish()
            made.append(draft)
        last = Draft(os.path.join(directory, _INDEX))
        unfinished.callback(last.discard)
        last.output.write(index)
        last.finish()
        sync_directory(directory)
        for draft in made:
            shown.append(draft.path)
            draft.publish()
        sync_directory(directory)
        last.publish()
        sync_directory(directory)


def _parted(stored: Sequence[Stored], shard_size: int) -> list[list[Stored]]:
    """Fill one shard after another, in order."""
    parts: list[list[Stored]] = [[]]
    room = shard_size
    for item in stored:
        if item.info.nbytes > room and parts[-1]:
            parts.append([])
            room = shard_size
        parts[-1].append(item)
        room -= item.info.nbytes
    return parts


def _shard(checkpoint: Checkpoint, part: Sequence[Stored], metadata: Mapping[str, str]) -> Plan:
    held = {view.name for item in part for view in (item.info, *item.others)}
    names = [info.name for info in checkpoint if info.name in held]
    return plan(checkpoint, part, names, metadata)


def _index(
    checkpoint: Checkpoint, shards: Mapping[str, Sequence[Stored]], metadata: Mapping[str, str]
) -> bytes:
    """Write the index: which shard has each stored tensor, and the order where that is another."""
    facts: dict[str, object] = {
        "total_size": sum(item.info.nbytes for part in shards.values() for item in part)
    }
    weight_map = {item.info.name: shard for shard, part in shards.items() for item in part}
    names = [info.name for info in checkpoint]
    place = {name: index for index, name in enumerate(names)}
    read_as = [item.info for part in shards.values() for item in part]
    for part in shards.values():
        views = [view for item in part for view in item.others]
        read_as += sorted(views, key=lambda view: place[view.name])
    read = restore_removed(tuple(read_as), metadata)
    if [info.name for info in read] != names:
        facts[NAMES] = names
    index = {"metadata": facts, "weight_map": weight_map}
    return (json.dumps(index, ensure_ascii=False, indent=2) + "\n").encode()


@contextlib.contextmanager
def _emptied(directory: str) -> Iterator[list[str]]:
    """Make the directory, or take an empty one. Yields the list of what is put into it by name.

    That is removed after a failure, unless the index is there already.
    """
    fresh = ranks.alone(lambda: _prepared(directory))
    shown: list[str] = []
    try:
        yield shown
    except BaseException:
        if not os.path.lexists(os.path.join(directory, _INDEX)):
            with contextlib.suppress(OSError):
                for path in filter(os.path.lexists, shown if ranks.rank() == 0 else ()):
                    os.unlink(path)
                if fresh and ranks.rank() == 0:
                    os.rmdir(directory)
        raise


def _prepared(directory: str) -> bool:
    """Make the directory, or clean an empty one; return whether it is new."""
    if not os.path.isdir(directory):
        with failing(directory):
            os.mkdir(directory)
        return True
    _sweep(directory)
    with failing(directory):
        held = sorted(os.listdir(directory))
    if held:
        raise UsageError(
            f"{directory} is not empty: it holds {held[0]}",
            hint="name a directory that is empty or not there yet",
        )
    return False


def _sweep(directory: str) -> None:
    """Remove what killed writers left: drafts, and shards whose index never was published."""
    index = os.path.join(directory, _INDEX)
    if os.path.lexists(index):
        return
    for path in drafts(directory, _INDEX):
        if abandoned(path):
            with contextlib.suppress(OSError, ValueError, KeyError), open(path, "rb") as file:
                for name in sorted(set(json.load(file)["weight_map"].values())):
                    os.unlink(os.path.join(directory, os.path.basename(name)))
            os.unlink(path)
    sweep(directory)
