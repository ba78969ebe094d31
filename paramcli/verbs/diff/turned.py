"""Matrices of which one side has the transpose, proven by their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.content.equal import equal
from paramcli.content.places import side_by_side, stretch
from paramcli.content.samples import Sampler
from paramcli.verbs.diff.report import Transposed
from paramcli.verbs.diff.values import has_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.diff.side import Side

__all__ = ["head", "is_matrix", "is_transpose", "same", "transposed", "turn"]

_MOST_READ = 1 << 28
"""Most bytes of a tensor that are gathered by strides to prove anything."""
_HEAD = 64
"""Elements of a row that are looked at first."""
_MATRIX = 2


def is_matrix(info: TensorInfo) -> bool:
    """Whether a tensor has rows and columns, several of both, that can be read by strides."""
    plain = info.layout == "strided" and not info.parts and info.dtype.bits % 8 == 0
    return plain and has_bytes(info) and len(info.shape) == _MATRIX and min(info.shape) > 1


def turn(info: TensorInfo) -> TensorInfo:
    """The same elements seen as the transpose."""
    return info._replace(shape=info.shape[::-1], stride=info.stride[::-1])


def head(checkpoint: Checkpoint, matrix: TensorInfo) -> bytes:
    """Return the first elements of a matrix's first row, in the checkpoint's byte order."""
    from paramcli.numeric.gather import gather

    few = min(matrix.shape[1], _HEAD)
    return bytes(gather(checkpoint, matrix._replace(shape=(1, few))))


def transposed(a: Side, b: Side) -> Iterator[Transposed]:
    """Pair matrices that are transposes of just one other."""
    if a.checkpoint.byteorder != b.checkpoint.byteorder:
        return
    shapes = {info.shape for info in a.named.values()}
    by_head: dict[object, list[str]] = {}
    for name, info in b.named.items():
        if is_matrix(info) and info.shape[::-1] in shapes:
            row = head(b.checkpoint, turn(info))
            by_head.setdefault((info.dtype, info.shape[::-1], row), []).append(name)
    wanted = {key[:2] for key in by_head}  # type: ignore[index]
    taken: set[str] = set()
    with Sampler() as sampler:
        for name, info in a.named.items():
            if not is_matrix(info) or (info.dtype, info.shape) not in wanted:
                continue
            if _is_plain(sampler, a.checkpoint, info):
                continue
            row = head(a.checkpoint, info)
            found = [
                other
                for other in by_head.get((info.dtype, info.shape, row), ())
                if other not in taken and _proven(a.checkpoint, info, b.checkpoint, b.named[other])
            ]
            if len(found) == 1:
                taken.add(found[0])
                yield Transposed(name, found[0])


def is_transpose(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool:
    """Whether two matrices are each other's transposes, by their bytes."""
    if one.shape != other.shape[::-1] or one.dtype != other.dtype or a.byteorder != b.byteorder:
        return False
    if not is_matrix(one) or not is_matrix(other) or head(a, one) != head(b, turn(other)):
        return False
    with Sampler() as sampler:
        return not _is_plain(sampler, a, one) and _proven(a, one, b, other)


def _is_plain(sampler: Sampler, checkpoint: Checkpoint, info: TensorInfo) -> bool:
    """Whether a matrix looks to be one element over and over, which proves nothing."""
    return info.contiguous and sampler.print(checkpoint, info) is None


def _proven(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool:
    by_tiles = _by_tiles(a, one, b, other)
    return same(a, one, b, turn(other)) if by_tiles is None else by_tiles


def _by_tiles(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool | None:
    """Compare tile by tile, whatever the size; None where they do not both lie in rows."""
    here, there = stretch(a, one), stretch(b, other)
    in_rows = one.contiguous and other.contiguous
    if here is None or there is None or not in_rows:
        return None
    from paramcli.numeric.turned import Pair, turned

    rows, columns = one.shape
    return turned([Pair(here, there, (rows, columns), one.dtype.bits // 8)])[0]


def same(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool:
    """Whether two views hold the same elements, read by their strides where they must be."""
    pair = side_by_side((a, one), (b, other))
    if pair is not None:
        return equal([pair], workers=1)[0]
    if max(one.nbytes, other.nbytes) > _MOST_READ or a.byteorder != b.byteorder:
        return False
    from paramcli.numeric import gather

    return gather.same(a, one, b, other)
