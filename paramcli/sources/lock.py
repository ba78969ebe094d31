"""A lock opened as a checkpoint without bytes: sizes that nothing gives are left open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint
from paramcli.errors import SourceError
from paramcli.lock.reader import read_lock
from paramcli.tensors import DTYPES, Storage, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.files import File
    from paramcli.lock import Dims, Lock
    from paramcli.sources import Request

__all__ = ["open_lock"]

_LARGEST = 64 << 20


def open_lock(file: File, request: Request) -> Checkpoint:
    """Open a lock. Raises LockError, which says at which place of which line, and SourceError."""
    if file.size > _LARGEST:
        raise SourceError(f"a lock of more than {_LARGEST >> 20} MiB", path=file.path)
    try:
        text = file.head(file.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = "a lock that is not UTF-8"
        raise SourceError(message, path=file.path, offset=error.start) from None
    lock = read_lock(text, file.path, DTYPES)
    entries = tuple(_entries(lock))
    unknown = sum(info.open for info in entries)
    verb = "has" if unknown == 1 else "have"
    note = f"{unknown:,} of {len(entries):,} tensors {verb} an open shape: totals are without them"
    return Checkpoint(
        origin=request.target, format="lock", entries=entries, lock=lock,
        values=tuple(_values(lock)), notes=(note,) if unknown else (),
    )  # fmt: skip


def _entries(lock: Lock) -> Iterator[TensorInfo]:
    """Yield each line as a tensor; tied ones view one storage."""
    sizes = {name: size.value for name, size in lock.dims.items()}
    tied = {name: f"tied.{n}" for n, group in enumerate(lock.rules.tied) for name in group.names}
    known: dict[tuple[str, str], tuple[int, TensorInfo]] = {}
    largest: dict[str, int] = {}
    for line in lock.lines if tied else ():
        if line.name in tied:
            key = tied[line.name]
            largest[key] = max(largest.get(key, 0), _like(line.dtype, line.dims, sizes)[0])
    for name, dtype, dims, _ in lock.lines:
        what = dtype, dims.text
        if what not in known:
            known[what] = _like(dtype, dims, sizes)
        nbytes, info = known[what]
        storage = Storage("", name, nbytes)
        if name in tied:
            storage = Storage("", tied[name], largest[tied[name]])
        yield TensorInfo(name, *info[1:5], storage, "tensor", info.layout, (), info.facts)


def _like(dtype: str, dims: Dims, sizes: dict[str, int]) -> tuple[int, TensorInfo]:
    """Return the bytes of a tensor with these dims, and the tensor without name and storage."""
    shape = tuple(-1 if size is None else size for size in dims.shape(sizes))
    is_open = -1 in shape
    stride = tuple(0 if is_open else math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    facts = () if dims.literal else (("dims", dims.text),)
    layout = "open" if is_open else "strided"
    info = TensorInfo(
        "", DTYPES[dtype], shape, stride, 0, Storage("", "", 0), layout=layout, facts=facts
    )
    return (1 if is_open else info.nbytes), info


def _values(lock: Lock) -> Iterator[tuple[str, object]]:
    """Yield what `show` says of a lock besides its tensors."""
    for name, size in lock.dims.items():
        yield f"dims.{name}", size.value
    rules = lock.rules
    yield "rules.extra", rules.extra
    for rule in ("count_max", "bytes_max", "dtype", "finite"):
        if rule in rules.lines:
            value = getattr(rules, rule)
            yield f"rules.{rule}", list(value) if rule == "dtype" else value
    if rules.tied:
        yield "rules.tied", len(rules.tied)
