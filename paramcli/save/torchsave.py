"""torch.save's zip format, without torch: storages are shared by key, views keep their strides.

Metadata, which torch.save has no place for, stands in an entry of our own that torch passes over.
Layout: `torch/serialization.py` (`_save`, `_load`) and `caffe2/serialize/inline_container.cc`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.save.archive import ArchiveWriter
from paramcli.save.atomic import Draft
from paramcli.save.contents import Contents, Stretch, swap_width
from paramcli.save.pickling import UNTYPED, StoredTensor, state_dict
from paramcli.sources.pickles.rebuild import STORAGE_DTYPES
from paramcli.sources.torchzip import METADATA, metadata_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.contents import Watch
    from paramcli.tensors import Storage, TensorInfo

__all__ = ["save_torch"]

_FOLDER = "archive"
_CLASSES = {
    dtype.name: path
    for path, dtype in STORAGE_DTYPES.items()
    if path.startswith("torch.") and path.count(".") == 1 and not path.startswith("torch.Untyped")
}
_LACKING = ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")
"""Element types that safetensors has and torch has not."""


def save_torch(
    checkpoint: Checkpoint,
    path: str,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a state dict that `torch.load(weights_only=True)` reads, mapped or not."""
    for info in checkpoint:
        if info.dtype.name in _LACKING:
            raise UsageError(
                f"{info.name!r} is {info.dtype.name}, which torch.save cannot hold",
                hint="write a .safetensors file instead",
            )
    views: dict[Storage, list[TensorInfo]] = {}
    for info in checkpoint:
        views.setdefault(info.storage, []).append(info)
    tensors = state_dict(_stored(checkpoint, views))
    stretches = [
        Stretch(storage, 0, storage.nbytes, _width(checkpoint, storage, found))
        for storage, found in views.items()
    ]
    with (
        Contents(checkpoint, stretches, workers, watch) as contents,
        Draft(path, sum(item.nbytes for item in stretches), progress) as draft,
    ):
        archive = ArchiveWriter(draft.output, _FOLDER)
        archive.add("data.pkl", tensors)
        archive.add("byteorder", b"little")
        if checkpoint.metadata:
            archive.add(METADATA, metadata_text(checkpoint.metadata))
        for key, item in enumerate(stretches):
            entry = archive.begin(f"data/{key}", item.nbytes)
            contents.put(item, draft.output, partial(archive.sum, entry))
        contents.settle(draft.output)
        archive.add("version", b"3\n")
        archive.add(".data/serialization_id", archive.fingerprint.encode())
        archive.finish()


def _width(checkpoint: Checkpoint, storage: Storage, views: Sequence[TensorInfo]) -> int:
    return swap_width(storage, views) if checkpoint.byteorder == "big" else 1


def _stored(checkpoint: Checkpoint, views: dict[Storage, list[TensorInfo]]) -> list[StoredTensor]:
    """Give every storage a key, and the class of its elements where they are all of one."""
    kinds: dict[Storage, tuple[str, str, int]] = {}
    for key, (storage, found) in enumerate(views.items()):
        dtypes = {info.dtype for info in found}
        dtype = dtypes.pop()
        cls = _CLASSES.get(dtype.name)
        if dtypes or cls is None or storage.nbytes * 8 % dtype.bits:
            kinds[storage] = str(key), UNTYPED, storage.nbytes
        else:
            kinds[storage] = str(key), cls, storage.nbytes * 8 // dtype.bits
    return [StoredTensor(info, *kinds[info.storage]) for info in checkpoint]
