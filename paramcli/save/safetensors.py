"""safetensors: a header that says where everything will lie, then the bytes in one sequence.

The header lists tensors in the checkpoint's order; their bytes go by width, widest first, so that
each begins at a multiple of its own. One tensor of those that share bytes is stored; the rest is
metadata, as `paramcli.sources.ties` reads it. Two writers of the same checkpoint agree in every
byte: metadata keys are sorted, where the reference writer orders them at random.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import UsageError
from paramcli.save.atomic import Draft
from paramcli.save.contents import Contents, Stretch, stretch
from paramcli.save.sharing import ELSEWHERE, Stored, stored_tensors
from paramcli.sources.safetensors import MAX_HEADER, SAFETENSORS_DTYPES
from paramcli.sources.ties import VIEWS, restore_removed, views_key
from paramcli.tensors import Storage, row_major

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.contents import Watch
    from paramcli.tensors import TensorInfo

__all__ = ["Plan", "plan", "save_safetensors"]

_NAMES = {dtype.name: name for name, dtype in SAFETENSORS_DTYPES.items()}


class Plan(NamedTuple):
    """A whole file: its header, and the bytes after it in their order."""

    header: bytes
    stretches: tuple[Stretch, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of tensors."""
        return sum(item.nbytes for item in self.stretches)

    def write(self, draft: Draft, contents: Contents) -> None:
        """Write the file."""
        draft.output.write(self.header)
        for item in self.stretches:
            contents.put(item, draft.output)
        contents.settle(draft.output)
        draft.output.flush()


def save_safetensors(
    checkpoint: Checkpoint,
    path: str,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write one file. Raises UsageError for what safetensors cannot hold, before writing."""
    names = [info.name for info in checkpoint]
    made = plan(checkpoint, stored_tensors(checkpoint), names, checkpoint.metadata)
    with (
        Contents(checkpoint, made.stretches, workers, watch) as contents,
        Draft(path, len(made.header) + made.nbytes, progress) as draft,
    ):
        made.write(draft, contents)


def _check(info: TensorInfo) -> None:
    if info.name == "__metadata__":
        raise UsageError("safetensors cannot hold a tensor named '__metadata__'", hint=ELSEWHERE)
    if info.dtype.name not in _NAMES:
        raise UsageError(
            f"{info.name!r} is {info.dtype.name}, which safetensors cannot hold", hint=ELSEWHERE
        )
    if info.numel * info.dtype.bits % 8:
        raise UsageError(f"{info.name!r} does not fill whole bytes, so safetensors cannot hold it")


def plan(
    checkpoint: Checkpoint,
    stored: Sequence[Stored],
    names: Sequence[str],
    metadata: Mapping[str, str],
) -> Plan:
    """Lay out a file of these tensors, whose names with those of their views are to be `names`."""
    for info, _ in stored:
        _check(info)
    if VIEWS in metadata:
        raise UsageError(f"the metadata key {VIEWS!r} is one that this program writes itself")
    placed: dict[str, TensorInfo] = {}
    offset = 0
    order = sorted(stored, key=lambda item: -item.info.dtype.bits)
    for info, _ in order:
        placed[info.name] = info._replace(storage=Storage("", offset, info.nbytes))
        offset += info.nbytes
    header: dict[str, object] = {}
    told = _told(stored, [placed[item.info.name] for item in stored], names, metadata)
    if told:
        header["__metadata__"] = told
    for info, _ in stored:
        begin = int(placed[info.name].storage.key)
        header[info.name] = {
            "dtype": _NAMES[info.dtype.name],
            "shape": info.shape,
            "data_offsets": (begin, begin + info.nbytes),
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise UsageError(
            f"a header of {len(text):,} bytes; safetensors allows {MAX_HEADER:,}",
            hint="write it in shards",
        )
    stretches = tuple(stretch(checkpoint, item.info) for item in order)
    return Plan(len(text).to_bytes(8, "little") + text, stretches)


def _told(
    stored: Sequence[Stored],
    placed: Sequence[TensorInfo],
    names: Sequence[str],
    metadata: Mapping[str, str],
) -> dict[str, str]:
    """Return the metadata with its ties, and with the key of our own where they do not suffice."""
    told = dict(metadata)
    views: dict[str, tuple[TensorInfo, TensorInfo]] = {}
    for info, others in stored:
        for other in others:
            if other.view != info.view:
                views[other.name] = other, info
            elif other.name not in metadata:
                told[other.name] = info.name
            else:  # its key says something else; what is stored lies in rows, however it lay
                plain = info._replace(stride=row_major(info.shape), offset=0, marks=())
                views[other.name] = plain, plain
    told = dict(sorted(told.items()))
    read = restore_removed(tuple(placed), told)
    if views or [info.name for info in read] != list(names):
        try:
            told[VIEWS] = views_key(names, views)
        except ValueError as error:
            raise UsageError(f"safetensors: {error}", hint=ELSEWHERE) from None
        told = dict(sorted(told.items()))
    return told
