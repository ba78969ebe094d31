"""Where the tensors of the result lie: each to itself, in rows; views in what they view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.errors import UsageError, a_few
from paramcli.schemes.draws import DTYPES as DRAWN
from paramcli.tensors import DTYPES, Storage, row_major

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import DType, TensorInfo

    Kept = tuple[TensorInfo, Checkpoint]

__all__ = ["DRAWN_FILE", "cast_to", "check_plain", "fresh", "kept_of", "viewed"]

_SHOWN = 3
DRAWN_FILE = "drawn"
"""The `file` of storages whose bytes are computed."""


def check_plain(checkpoint: Checkpoint) -> None:
    """Raise UsageError for tensors without a shape, and for those that are not plain."""
    for info in checkpoint:
        if info.open:
            raise UsageError(
                f"{info.name}: the lock leaves its shape open",
                hint="give its sizes in [dims], or name a class or a checkpoint",
            )
        if info.layout != "strided":
            raise UsageError(
                f"{info.name} is {info.layout.replace('_', ' ')}; only plain tensors can be filled"
            )


def cast_to(name: str | None) -> DType | None:
    """Return the type that floating tensors are cast to, None for their own."""
    if name is None:
        return None
    if name not in DRAWN:
        raise UsageError(f"--dtype {name} cannot be drawn", hint=f"there are {', '.join(DRAWN)}")
    return DTYPES[name]


def _typed(info: TensorInfo, cast: DType | None) -> DType:
    floating = info.dtype.name.startswith(("float", "bfloat"))
    return cast if cast is not None and floating else info.dtype


def fresh(info: TensorInfo, number: int, cast: DType | None) -> TensorInfo:
    """Give a tensor a storage to itself, its elements in rows."""
    dtype = _typed(info, cast)
    return info._replace(
        dtype=dtype,
        stride=info.stride if info.contiguous else row_major(info.shape),
        offset=0,
        storage=Storage(DRAWN_FILE, number, dtype.nbytes(info.numel)),
        marks=(),
        facts=(),
    )


def viewed(view: TensorInfo, stored: TensorInfo, number: int, cast: DType | None) -> TensorInfo:
    """Put a view of a tensor into its new storage."""
    if cast is not None and view.dtype != stored.dtype:
        raise UsageError(
            f"{view.name} views {stored.name} as another type, so they cannot be cast",
            hint="leave --dtype out",
        )
    bits = view.offset * view.dtype.bits - stored.offset * stored.dtype.bits
    dtype = _typed(stored, cast)
    return view._replace(
        dtype=_typed(view, cast),
        offset=bits // view.dtype.bits,
        storage=Storage(DRAWN_FILE, number, dtype.nbytes(stored.numel)),
    )


def kept_of(
    stored: Sequence[tuple[TensorInfo, Sequence[TensorInfo]]], base: Checkpoint | None
) -> tuple[dict[str, Kept], tuple[str, ...]]:
    """The tensors of a base that stand for those of the result, and what else is to be said."""
    if base is None:
        return {}, ()
    there = {info.name: info for info in base}
    kept: dict[str, Kept] = {}
    wrong = []
    for info, others in stored:
        names = [info.name, *(other.name for other in others if other.shape == info.shape)]
        found = next((there[name] for name in names if name in there), None)
        if found is None:
            continue
        if found.shape != info.shape or found.layout != "strided":
            wrong.append(f"{found.name} {list(found.shape)} for {list(info.shape)}")
        kept[info.name] = found, base
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UsageError(
            f"{base.origin} has other shapes: {', '.join(wrong[:_SHOWN])}{more}",
            hint="take these out of it first",
        )
    wanted = {one.name for info, others in stored for one in (info, *others)}
    extra = [name for name in there if name not in wanted]
    if not extra:
        return kept, ()
    return kept, (f"{len(extra)} of {base.origin} are not in the target: {a_few(extra)}",)
