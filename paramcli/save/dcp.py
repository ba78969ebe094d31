"""A directory of torch.distributed.checkpoint, written by torch's own planner, a tensor at a time.

The planner sees tensors of the meta device; bytes are read or drawn when it asks for an item's. As
torch does, each tied name has bytes of its own. What the format has no place for (the order of
names, ties, metadata) stands in a file of ours, which torch passes over. The directory is made
under another name and renamed when it is whole; nothing in it depends on clock or chance.
"""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING

from paramcli.errors import OutputError, UsageError
from paramcli.save.atomic import Hold, sync_directory
from paramcli.save.contents import Contents, stretch
from paramcli.save.output import failing
from paramcli.save.sharing import ELSEWHERE
from paramcli.sources.dcp import BESIDE, BESIDE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.distributed.checkpoint.planner import WriteItem

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.contents import Watch
    from paramcli.tensors import TensorInfo

__all__ = ["save_dcp"]


def save_dcp(
    checkpoint: Checkpoint,
    directory: str,
    *,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a directory, made or empty. At most one tensor is in memory.

    Raises UsageError where it holds anything, and for an element type that torch has not.
    """
    import torch

    for info in checkpoint:
        if not hasattr(torch, info.dtype.name):
            raise UsageError(f"{info.name!r} is {info.dtype.name}, which torch has not")
    if os.path.lexists(directory) and (not os.path.isdir(directory) or os.listdir(directory)):
        raise UsageError(
            f"{directory} is there already", hint="name a directory that is empty or not there yet"
        )
    stretches = [stretch(checkpoint, info) for info in checkpoint]
    with (
        Contents(checkpoint, stretches, 1, watch) as contents,
        Hold(directory) as draft,
        failing(directory),
    ):
        _write(checkpoint, draft, contents, progress)
        with open(os.path.join(draft, BESIDE), "wb") as file:
            file.write(_beside(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        sync_directory(draft)


def _write(
    checkpoint: Checkpoint,
    directory: str,
    contents: Contents,
    progress: Callable[[int], None] | None,
) -> None:
    """Have torch write its files."""
    import torch
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.metadata import StorageMeta
    from torch.distributed.checkpoint.state_dict_saver import save

    infos = {info.name: info for info in checkpoint}
    failures: list[Exception] = []

    class Planner(DefaultSavePlanner):
        """Gives an item's bytes when they are asked for."""

        def resolve_data(self, write_item: WriteItem) -> Tensor:
            try:
                found = _tensor(infos[write_item.index.fqn], contents)
            except Exception as error:
                failures.append(error)
                raise
            if progress is not None:
                progress(found.nbytes)
            return found

    class Writer(FileSystemWriter):
        """Says nothing of when and where it wrote."""

        def storage_meta(self) -> StorageMeta:
            return StorageMeta()

    state = {
        info.name: torch.empty(info.shape, dtype=getattr(torch, info.dtype.name), device="meta")
        for info in checkpoint
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is one process alone
            alone = _alone(save)
            save(state, storage_writer=Writer(directory), planner=Planner(), **alone)
    except CheckpointException as error:  # which is no Exception
        if failures:
            raise failures[0] from None
        causes = [wrapped[0] for wrapped in error.failures.values()]
        raise next(
            (cause for cause in causes if isinstance(cause, OSError)),
            OutputError(f"torch cannot write it: {causes[0]}", path=directory, hint=ELSEWHERE),
        ) from None


def _alone(save: Callable[..., object]) -> dict[str, bool]:
    """Say that there is one process. Old torch takes no word for it, and looks for others."""
    from inspect import signature

    import torch.distributed

    if "no_dist" in signature(save).parameters:
        return {"no_dist": True}
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise UsageError(
            f"torch {torch.__version__} cannot write DCP from one rank alone",
            hint="upgrade torch, or write it without torchrun",
        )
    return {}


def _tensor(info: TensorInfo, contents: Contents) -> Tensor:
    import torch

    dtype = getattr(torch, info.dtype.name)
    content = contents.whole(info)
    if not content:
        return torch.empty(info.shape, dtype=dtype)
    return torch.frombuffer(content, dtype=torch.uint8).view(dtype).reshape(info.shape)


def _beside(checkpoint: Checkpoint) -> bytes:
    names = [info.name for info in checkpoint]
    first: dict[tuple[object, ...], str] = {}
    ties = {
        info.name: first[info.view]
        for info in checkpoint
        if first.setdefault(info.view, info.name) != info.name
    }
    told = {
        "version": BESIDE_VERSION,
        "names": names,
        "ties": ties,
        "metadata": dict(sorted(checkpoint.metadata.items())),
    }
    return (json.dumps(told, ensure_ascii=False, indent=1) + "\n").encode()
