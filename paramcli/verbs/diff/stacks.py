"""Tensors of one side that are several of the other, stacked along an axis: q, k, v in one.

Parts that are stored as their transposes count too, as GPT-2's `c_attn` has them. The bytes prove
it: first bytes tell which part may follow which, and then each is compared with its stretch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.content.samples import Sampler
from paramcli.verbs.diff.report import Fused
from paramcli.verbs.diff.turned import is_matrix, same, turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.diff.side import Side

__all__ = ["fused"]

_HEAD = 256
"""Bytes by which a part is known."""
_MOST_PARTS = 64


def fused(a: Side, b: Side) -> list[Fused]:
    """Find tensors of one side that are several of the other, stacked along an axis."""
    found = []
    with Sampler() as sampler:
        for side, whole, parts in (("b", b, a), ("a", a, b)):
            heads = _Heads(parts, sampler)
            alike = whole.checkpoint.byteorder == parts.checkpoint.byteorder
            for name, info in whole.named.items():
                if not info.contiguous:
                    continue
                views = [info, turn(info)] if alike and is_matrix(info) else [info]
                for view in views:
                    stack = _stack(sampler, whole.checkpoint, view, heads)
                    if stack is not None:
                        turned = view is not info
                        axis = 1 - stack.axis if turned else stack.axis
                        found.append(Fused(name, stack.parts, axis, side, turned))  # type: ignore[arg-type]
                        break
    return found


class _Stack(NamedTuple):
    axis: int
    parts: tuple[str, ...]


class _Known(NamedTuple):
    """Names of parts by their first bytes, and how many bytes these are."""

    names: Mapping[bytes, Sequence[str]]
    sizes: tuple[int, ...]


class _Heads:
    """The first bytes of all parts that can be stacked, each read once."""

    def __init__(self, side: Side, sampler: Sampler) -> None:
        self.side = side
        self._sampler = sampler
        self._names: dict[object, list[str]] = {}
        for name, info in side.named.items():
            if info.numel and info.contiguous:
                for axis in range(len(info.shape)):
                    self._names.setdefault(_open_shape(info, axis), []).append(name)
        self._known: dict[object, _Known] = {}

    def of(self, view: TensorInfo, axis: int) -> _Known | None:
        """Return the parts that can be stacked along an axis of a view, None for less than two."""
        shape = _open_shape(view, axis)
        names = self._names.get(shape, ())
        if len(names) <= 1:
            return None
        if shape not in self._known:
            by_head: dict[bytes, list[str]] = {}
            for name in names:
                info = self.side.named[name]
                size = min(_HEAD, info.shape[axis] * _row(info, axis))
                head = self._sampler.piece(self.side.checkpoint, info, 0, size)
                if head:
                    by_head.setdefault(head, []).append(name)
            self._known[shape] = _Known(by_head, tuple({len(head) for head in by_head}))
        return self._known[shape]


def _open_shape(info: TensorInfo, axis: int) -> object:
    """What parts that are stacked along an axis have in common with the whole."""
    return info.dtype, axis, info.shape[:axis], info.shape[axis + 1 :]


def _row(info: TensorInfo, axis: int) -> int:
    """Bytes from one place along an axis to the next, in row-major order."""
    size = info.dtype.bits
    for length in info.shape[axis + 1 :]:
        size *= length
    return size // 8


def _stack(
    sampler: Sampler, checkpoint: Checkpoint, view: TensorInfo, heads: _Heads
) -> _Stack | None:
    for axis in range(len(view.shape)):
        known = heads.of(view, axis)
        chain = _chain(sampler, checkpoint, view, axis, heads, known) if known else ()
        if chain and _proven(checkpoint, view, axis, heads.side, chain):
            return _Stack(axis, chain)
    return None


def _chain(  # noqa: PLR0913, PLR0917 - a place in a view, and what may stand there
    sampler: Sampler,
    checkpoint: Checkpoint,
    view: TensorInfo,
    axis: int,
    heads: _Heads,
    known: _Known,
) -> tuple[str, ...]:
    """Names whose first bytes follow one another along an axis of the whole; empty if none do."""
    parts = heads.side.named
    chain: list[str] = []
    at, end = 0, view.shape[axis]
    while at < end and len(chain) < _MOST_PARTS:
        ahead = _ahead(sampler, checkpoint, view, axis, at)
        following = [
            name
            for size in known.sizes
            if size <= len(ahead)
            for name in known.names.get(ahead[:size], ())
            if name not in chain and parts[name].shape[axis] <= end - at
        ]
        if len(following) != 1:
            return ()
        chain += following
        at += parts[following[0]].shape[axis]
    return tuple(chain) if at == end and len(chain) > 1 else ()


def _ahead(sampler: Sampler, checkpoint: Checkpoint, view: TensorInfo, axis: int, at: int) -> bytes:
    """The first bytes of what lies from a place along an axis on, in row-major order."""
    row = _row(view, axis)
    size = min((view.shape[axis] - at) * row, _HEAD)
    if view.contiguous:
        return sampler.piece(checkpoint, view, at * row, size)
    from paramcli.numeric.gather import gather

    rest = _part(view, axis, at, view.shape[axis] - at)
    few = -(-size // (view.dtype.bits // 8))
    rows = -(-few // rest.shape[1]) if axis == 0 else 1
    return bytes(gather(checkpoint, rest._replace(shape=(rows, min(rest.shape[1], few)))))[:size]


def _part(view: TensorInfo, axis: int, at: int, length: int) -> TensorInfo:
    shape = (*view.shape[:axis], length, *view.shape[axis + 1 :])
    return view._replace(shape=shape, offset=view.offset + at * view.stride[axis])


def _proven(
    checkpoint: Checkpoint, view: TensorInfo, axis: int, parts: Side, chain: Sequence[str]
) -> bool:
    """Whether every part has the bytes of its stretch of the whole."""
    return all(
        same(parts.checkpoint, parts.named[name], checkpoint, stretch)
        for name, stretch in zip(chain, _stretches(view, axis, parts, chain), strict=True)
    )


def _stretches(
    view: TensorInfo, axis: int, parts: Side, chain: Sequence[str]
) -> Iterator[TensorInfo]:
    at = 0
    for name in chain:
        size = parts.named[name].shape[axis]
        yield _part(view, axis, at, size)
        at += size
