"""Checkpoints written to disk, each in the format that the name of its file asks for.

A save is atomic: until it is whole and on the disk, what stood there before still does.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from paramcli import ranks
from paramcli.errors import UsageError
from paramcli.files import is_remote
from paramcli.sources.ties import without_ties

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.contents import Watch

__all__ = ["save"]

_SAFETENSORS = (".safetensors",)
_TORCH = (".pt", ".pth", ".bin", ".ckpt", ".th")


def save(  # noqa: C901, PLR0913 - each a decision of the caller's
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    shard_size: int | None = None,
    to: str | None = None,
    in_place: bool = False,
    workers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a checkpoint to `path`: safetensors or torch.save's zip, by its extension.

    With `shard_size` in bytes, `path` is a directory of safetensors shards, made or empty; with
    `to` "dcp", one of torch.distributed.checkpoint.
    `in_place` allows a target that the checkpoint itself is read from, if it holds nothing else.
    `workers` processes draw what is computed, as many as there are processors by default; the
    bytes are the same for any number. `watch` sees computed bytes as they are drawn. `progress`
    is called with the bytes written since it was called last. Metadata that maps one name to
    another is written anew from the ties there are.

    Raises UsageError for what the format cannot hold and for targets that may not be replaced,
    both before anything is written; SourceError where the checkpoint's bytes cannot be read; and
    OutputError where the system cannot write. After any exception nothing of the new is left.
    """
    path = os.path.expanduser(os.fspath(path))
    if is_remote(path):
        raise UsageError(f"{path} is read-only", hint="write to a file on this machine")
    extension = os.path.splitext(path)[1].lower()
    if to not in (None, "dcp"):
        raise UsageError(f"{to} is no format to write", hint="dcp, or an extension of the output")
    if to is not None and shard_size is not None:
        raise UsageError("--to dcp and --shard-size ask for two formats", hint="give one of them")
    if extension not in _SAFETENSORS + _TORCH and shard_size is None and to is None:
        raise UsageError(
            f"{path}: {extension or 'a name without extension'} is no format to write",
            hint=f"name it {', '.join(_SAFETENSORS + _TORCH)}, or ask for a directory: "
            "--shard-size 5GB, --to dcp",
        )
    _check_names(checkpoint)
    _check_layouts(checkpoint)
    if _is_read(checkpoint, path):
        _check_replaced(checkpoint, path, in_place=in_place)
    metadata = without_ties(checkpoint, checkpoint.metadata)
    checkpoint = replace(checkpoint, metadata=metadata)
    if to is not None:
        from paramcli.save.dcp import save_dcp

        ranks.alone(lambda: save_dcp(checkpoint, path, watch=watch, progress=progress))
    elif shard_size is not None:
        if extension in _SAFETENSORS + _TORCH or os.path.isfile(path):
            raise UsageError(f"{path} names a file", hint="shards go into a directory: name one")
        if shard_size < 1:
            raise UsageError(f"shards of {shard_size} bytes", hint="give a size such as 5GB")
        from paramcli.save.sharded import save_sharded

        save_sharded(checkpoint, path, shard_size, workers=workers, watch=watch, progress=progress)
    elif extension in _SAFETENSORS:
        from paramcli.save.safetensors import save_safetensors

        save_safetensors(checkpoint, path, workers=workers, watch=watch, progress=progress)
    else:
        from paramcli.save.torchsave import save_torch

        save_torch(checkpoint, path, workers=workers, watch=watch, progress=progress)


def _check_names(checkpoint: Checkpoint) -> None:
    seen: set[str] = set()
    for info in checkpoint:
        if info.name in seen:
            raise UsageError(f"two tensors are named {info.name!r}")
        seen.add(info.name)
    for text in (*seen, *checkpoint.metadata, *checkpoint.metadata.values()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{text!r} holds half of a character, which no file can",
                hint="rename it before you save",
            ) from None


def _check_layouts(checkpoint: Checkpoint) -> None:
    for info in checkpoint:
        if info.layout != "strided":
            raise UsageError(
                f"{info.name!r} is {info.layout.replace('_', ' ')}; only plain tensors are written",
                hint="leave it out, or make it dense first",
            )


def _is_read(checkpoint: Checkpoint, path: str) -> bool:
    """Whether a target is one of the files that the checkpoint is read from."""
    try:
        target = os.stat(path)
    except OSError:
        return False
    storages = {info.storage for info in checkpoint}
    files = {checkpoint.origin, *(storage.file for storage in storages)}
    if checkpoint.draw is None:
        files |= {place.file for place in map(checkpoint.locate, storages) if place}
    return any(os.path.samestat(os.stat(file), target) for file in filter(os.path.isfile, files))


def _check_replaced(checkpoint: Checkpoint, path: str, *, in_place: bool) -> None:
    if not in_place:
        raise UsageError(
            f"{path} is what is read", hint="write to another file, or give --in-place"
        )
    if checkpoint.key is not None or checkpoint.values:
        raise UsageError(
            f"{path} holds more than these tensors, and that would be lost",
            hint="write to another file",
        )
