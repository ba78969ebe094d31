"""What the bytes alone prove: moved under another name, stacked into one, or transposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.content.equal import equal
from paramcli.content.places import side_by_side, stretch
from paramcli.content.samples import Sampler
from paramcli.verbs.diff.report import Ambiguous, Fused
from paramcli.verbs.diff.side import Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

    Named = Mapping[str, TensorInfo]

__all__ = ["Moves", "fused", "is_transpose", "moved"]

_HEAD = 256
_MOST_READ = 1 << 28
"""Most bytes of a tensor that are gathered by strides to prove a transpose or a stack."""
_MOST_PARTS = 64
_MATRIX = 2


class Moves(NamedTuple):
    """Names of A and B whose bytes are the same and nobody else's, and those that many share."""

    proven: dict[str, str]
    ambiguous: list[Ambiguous]


def moved(a: Side, b: Side, *, workers: int) -> Moves:
    """Pair tensors of the same type, shape and bytes, where no other has these."""
    prints: list[dict[object, list[str]]] = [{}, {}]
    common = {(info.dtype, info.shape) for info in a.named.values()} & {
        (info.dtype, info.shape) for info in b.named.values()
    }
    with Sampler() as sampler:
        for found, side in zip(prints, (a, b), strict=True):
            for name, info in side.named.items():
                if (info.dtype, info.shape) not in common or info.parts:
                    continue
                digest = sampler.print(side.checkpoint, info)
                if digest is not None:
                    found.setdefault((info.dtype, info.shape, digest), []).append(name)
    shared = [(prints[0][key], prints[1][key]) for key in prints[0] if key in prints[1]]
    single = [(ours[0], theirs[0]) for ours, theirs in shared if len(ours) == len(theirs) == 1]
    pairs = [
        (x, y, side_by_side((a.checkpoint, a.named[x]), (b.checkpoint, b.named[y])))
        for x, y in single
    ]
    placed = [(x, y, pair) for x, y, pair in pairs if pair is not None]
    verdicts = equal([pair for *_, pair in placed], workers=workers)
    proven = {x: y for (x, y, _), same in zip(placed, verdicts, strict=True) if same}
    ambiguous = [
        Ambiguous(tuple(ours), tuple(theirs), "the same bytes under several names")
        for ours, theirs in shared
        if len(ours) > 1 or len(theirs) > 1
    ]
    return Moves(proven, ambiguous)


def fused(a: Side, b: Side) -> list[Fused]:
    """Find tensors of one side that are several of the other, stacked along an axis."""
    found = []
    with Sampler() as sampler:
        for side, whole, parts in (("b", b, a), ("a", a, b)):
            by_shape = _by_open_shape(parts.named)
            for name, info in whole.named.items():
                for axis in range(len(info.shape) if info.contiguous else 0):
                    names = by_shape.get(_open_shape(info, axis), ())
                    chain = _chain(
                        sampler, Side(whole.checkpoint, {name: info}), axis, parts, names
                    )
                    if chain and _proven(whole.checkpoint, info, axis, parts, chain):
                        found.append(Fused(name, tuple(chain), axis, side))  # type: ignore[arg-type]
                        break
    return found


def _open_shape(info: TensorInfo, axis: int) -> object:
    """What parts that are stacked along an axis have in common with the whole."""
    return info.dtype, axis, info.shape[:axis], info.shape[axis + 1 :]


def _by_open_shape(named: Named) -> dict[object, list[str]]:
    found: dict[object, list[str]] = {}
    for name, info in named.items():
        if info.numel and info.contiguous:
            for axis in range(len(info.shape)):
                found.setdefault(_open_shape(info, axis), []).append(name)
    return found


def _chain(
    sampler: Sampler, whole: Side, axis: int, parts: Side, names: Sequence[str]
) -> list[str]:
    """Names whose first bytes follow one another along an axis of the whole; empty if none do."""
    (info,) = whole.named.values()
    if len(names) <= 1:
        return []
    heads: dict[bytes, list[str]] = {}
    for name in names:
        part = parts.named[name]
        head = sampler.piece(parts.checkpoint, part, 0, _row(part, axis))
        heads.setdefault(head, []).append(name)
    chain: list[str] = []
    at, end = 0, info.shape[axis]
    step = _stride(info, axis) * info.dtype.bits // 8
    while at < end and len(chain) < _MOST_PARTS:
        ahead = sampler.piece(whole.checkpoint, info, at * step, min((end - at) * step, _HEAD))
        next_ = [
            name
            for size in {len(head) for head in heads if 0 < len(head) <= len(ahead)}
            for name in heads.get(ahead[:size], ())
            if name not in chain and parts.named[name].shape[axis] <= end - at
        ]
        if len(next_) != 1:
            return []
        chain += next_
        at += parts.named[next_[0]].shape[axis]
    return chain if at == end and len(chain) > 1 else []


def _stride(info: TensorInfo, axis: int) -> int:
    step = 1
    for size in info.shape[axis + 1 :]:
        step *= size
    return step


def _row(info: TensorInfo, axis: int) -> int:
    """Bytes of the first run along an axis and all after it, no more than a head."""
    return min(_HEAD, info.shape[axis] * _stride(info, axis) * info.dtype.bits // 8)


def _proven(
    checkpoint: Checkpoint, whole: TensorInfo, axis: int, parts: Side, chain: Sequence[str]
) -> bool:
    """Whether every part has the bytes of its stretch of the whole."""
    return all(
        _same(parts.checkpoint, parts.named[name], checkpoint, view)
        for name, view in zip(chain, _views(whole, axis, parts, chain), strict=True)
    )


def _views(whole: TensorInfo, axis: int, parts: Side, chain: Sequence[str]) -> Iterator[TensorInfo]:
    at = 0
    for name in chain:
        size = parts.named[name].shape[axis]
        shape = (*whole.shape[:axis], size, *whole.shape[axis + 1 :])
        yield whole._replace(shape=shape, offset=whole.offset + at * whole.stride[axis])
        at += size


def is_transpose(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool:
    """Whether two matrices are each other's transposes, by their bytes; scalars in rows are not."""
    if len(one.shape) != _MATRIX or one.shape != other.shape[::-1] or one.dtype != other.dtype:
        return False
    if min(one.shape) <= 1 or one.layout != "strided" or other.layout != "strided":
        return False
    turned = other._replace(shape=other.shape[::-1], stride=other.stride[::-1])
    with Sampler() as sampler:
        if sampler.print(a, one) is None and one.contiguous:
            return False
    few = min(one.shape[1], 64)
    first, second = (info._replace(shape=(1, few)) for info in (one, turned))
    if not _same(a, first, b, second):
        return False
    by_tiles = _by_tiles(a, one, b, other)
    return _same(a, one, b, turned) if by_tiles is None else by_tiles


def _by_tiles(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool | None:
    """Compare tile by tile, whatever the size; None where they do not both lie in rows."""
    here, there = stretch(a, one), stretch(b, other)
    in_rows = one.contiguous and other.contiguous and a.byteorder == b.byteorder
    if here is None or there is None or not in_rows or one.dtype.bits % 8:
        return None
    from paramcli.numeric.turned import Pair, turned

    rows, columns = one.shape
    return turned([Pair(here, there, (rows, columns), one.dtype.bits // 8)])[0]


def _same(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool:
    """Whether two views hold the same elements, read by their strides where they must be."""
    pair = side_by_side((a, one), (b, other))
    if pair is not None:
        return equal([pair], workers=1)[0]
    if max(one.nbytes, other.nbytes) > _MOST_READ or a.byteorder != b.byteorder:
        return False
    from paramcli.numeric.gather import same

    return same(a, one, b, other)
