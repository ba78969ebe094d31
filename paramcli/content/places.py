"""Where a tensor's bytes lie in one piece, and how a pair of tensors can be laid side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

__all__ = ["Stretch", "side_by_side", "stretch"]


class Stretch(NamedTuple):
    """A run of `nbytes` bytes of a file on disk, from byte `offset` on."""

    file: str
    offset: int
    nbytes: int


def stretch(checkpoint: Checkpoint, info: TensorInfo) -> Stretch | None:
    """Where the elements of a dense tensor lie, None where they do not lie so."""
    place = checkpoint.locate(info.storage)
    if place is None or info.marks or not info.dense:
        return None
    start, end = info.extent
    return Stretch(place.file, place.offset + start, end - start)


def side_by_side(
    a: tuple[Checkpoint, TensorInfo], b: tuple[Checkpoint, TensorInfo]
) -> tuple[Stretch, Stretch] | None:
    """Stretches in which the same elements stand at the same places, None where there are none.

    Both tensors have one shape. Their elements are in one order where both are contiguous, or
    permuted alike, and where one byte order, or width, is common to both.
    """
    (left, one), (right, other) = a, b
    if one.dtype != other.dtype or (left.byteorder != right.byteorder and one.dtype.bits > 8):
        return None
    if one.stride != other.stride and not (one.contiguous and other.contiguous):
        return None
    first, second = stretch(left, one), stretch(right, other)
    return None if first is None or second is None else (first, second)
