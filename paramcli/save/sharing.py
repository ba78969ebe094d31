"""Which tensors have bytes of their own in a format without storages, and which are views."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

__all__ = ["ELSEWHERE", "Stored", "stored_tensors"]

ELSEWHERE = "write a .pt file instead, which holds it"


class Stored(NamedTuple):
    """A tensor with bytes of its own in the file, and the tensors that are views of it."""

    info: TensorInfo
    others: tuple[TensorInfo, ...] = ()


def stored_tensors(checkpoint: Checkpoint) -> list[Stored]:
    """Choose what has bytes of its own, in the checkpoint's order.

    That is the first name of a tie, and of views that overlap one that holds the bytes of all.
    Raises UsageError where none of them does.
    """
    by_name = {info.name: info for info in checkpoint}
    stored: dict[str, Stored] = {}
    views: set[str] = set()
    for group in checkpoint.groups():
        for item in _of_group([by_name[name] for name in group.names]):
            stored[item.info.name] = item
            views.update(other.name for other in item.others)
    return [stored.get(name) or Stored(info) for name, info in by_name.items() if name not in views]


def _of_group(members: Sequence[TensorInfo]) -> list[Stored]:
    ties = _ties(members)
    if len(ties) == 1:
        return ties
    start = min(info.extent[0] for info in members)
    end = max(info.extent[1] for info in members)
    for info in members:
        if info.extent == (start, end) and info.contiguous and not info.marks:
            return [Stored(info, tuple(other for other in members if other.name != info.name))]
    met = _meeting([item.info for item in ties], start, end)
    if met is not None:
        raise UsageError(
            f"{met.name!r} shares bytes with another tensor, and neither holds those of both",
            hint=ELSEWHERE,
        )
    return ties


def _ties(members: Sequence[TensorInfo]) -> list[Stored]:
    """Put together what is the same view, under its first name."""
    by_view: dict[tuple[object, ...], list[TensorInfo]] = {}
    for info in members:
        by_view.setdefault(info.view, []).append(info)
    return [Stored(first, tuple(rest)) for first, *rest in by_view.values()]


def _meeting(views: Sequence[TensorInfo], start: int, end: int) -> TensorInfo | None:
    """The first view that touches a byte of one before it: those of other columns do not."""
    import numpy as np
    from numpy.lib.stride_tricks import as_strided

    touched = np.zeros(end - start, np.bool_)
    for info in views:
        width = info.dtype.bits // 8
        if not width or len(info.shape) >= 32:  # NumPy has no more dimensions
            return info
        steps = (*(step * width for step in info.stride), 1)
        first = touched[info.offset * width - start :]
        mine = as_strided(first, (*info.shape, width), steps)
        if mine.any():
            return info
        mine[...] = True
    return None
