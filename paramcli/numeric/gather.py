"""The elements of a view one after another, whatever its strides, any part of them at a time.

Only what a part needs is read, so a view of any size takes little memory.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from paramcli.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

    Read = Callable[[int, memoryview], None]

__all__ = ["Gathered", "gather", "in_storage_order", "same"]

REPEATED = 1 << 28
"""Most bytes that are made of fewer: a file of a kilobyte can expand one number without end."""
_NEAR = 1 << 18
"""Bytes that are read together with what lies between them: to ask twice would cost more."""
_PIECE = 1 << 24
"""Bytes put together at once of a tensor whose elements lie far apart, as of one transposed."""


class Gathered:
    """A tensor's elements in row-major order, as its strides and marks say.

    Raises SourceError where the target holds few bytes that it repeats without end, and, once
    they are asked for, where it holds none.
    """

    def __init__(self, checkpoint: Checkpoint, info: TensorInfo) -> None:
        start, end = info.extent
        if info.nbytes > max(REPEATED, 2 * (end - start)):
            raise SourceError(
                f"{info.name!r} repeats {end - start:,} bytes to {info.nbytes:,}, too many to read",
                path=checkpoint.origin,
            )
        self.nbytes = info.nbytes if end > start else 0
        self._checkpoint, self._info = checkpoint, info

    @property
    def _in_order(self) -> bool:
        steps = [s for n, s in zip(self._info.shape, self._info.stride, strict=True) if n > 1]
        return steps == sorted(steps, reverse=True)

    def fill(self, start: int, target: memoryview) -> None:
        """Fill memory with bytes from `start` on; both are whole elements."""
        info = self._info
        if info.dtype.bits < 8:
            target[:] = self._packed[start : start + len(target)]
            return
        width = info.dtype.bits // 8
        out: NDArray[Any] = np.frombuffer(target, f"u{width}" if width <= 8 else f"V{width}")
        boxes = list(_boxes(_Box(info.shape, info.stride, info.offset), start // width, len(out)))
        with self._checkpoint.reading(info.storage) as read:
            _copy(boxes, out, read)
        _unmark(target, info, self._checkpoint.byteorder)

    def pieces(
        self, start: int = 0, end: int | None = None, size: int | None = None
    ) -> Iterator[memoryview]:
        """Yield bytes in turn, all by default, in memory that is used again and again.

        So many at a time, or a multiple of that where elements side by side lie far apart: these
        are read far faster many at once.
        """
        size = size or _PIECE
        end = self.nbytes if end is None else end
        most = size if self._in_order else max(size, _PIECE // size * size)
        buffer = memoryview(bytearray(min(most, end - start)))
        for at in range(start, end, most):
            piece = buffer[: end - at]
            self.fill(at, piece)
            yield piece

    @cached_property
    def _packed(self) -> bytes:
        """Elements of less than a byte, packed anew, as they need not begin where a byte does."""
        info, (start, end) = self._info, self._info.extent
        content = bytearray(end - start)
        self._checkpoint.fill(info.storage, start, memoryview(content))
        bits = info.dtype.bits
        each = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        each = each[info.offset * bits % 8 :]
        steps = [step * bits for step in info.stride]
        picked = as_strided(each, (*info.shape, bits), (*steps, 1), writeable=False)
        return np.packbits(picked, bitorder="little").tobytes()


def gather(checkpoint: Checkpoint, info: TensorInfo) -> bytearray:
    """Return all of a tensor's elements in row-major order. Raises as `Gathered` does."""
    found = Gathered(checkpoint, info)
    content = bytearray(found.nbytes)
    if content:
        found.fill(0, memoryview(content))
    return content


def same(a: Checkpoint, one: TensorInfo, b: Checkpoint, other: TensorInfo) -> bool:
    """Whether two tensors hold the same bytes in row-major order. Raises as `Gathered` does."""
    first, second = Gathered(a, one), Gathered(b, other)
    return first.nbytes == second.nbytes and all(
        here == there for here, there in zip(first.pieces(), second.pieces(), strict=True)
    )


def in_storage_order(info: TensorInfo) -> TensorInfo:
    """Permute a view's dimensions so that its elements come in the order in which they lie."""
    order = sorted(range(len(info.shape)), key=lambda axis: -info.stride[axis])
    return info._replace(
        shape=tuple(info.shape[axis] for axis in order),
        stride=tuple(info.stride[axis] for axis in order),
    )


class _Box(NamedTuple):
    """Elements of a storage from `offset` on, `stride` apart in each dimension."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def _boxes(box: _Box, first: int, count: int) -> Iterator[_Box]:
    """Cut a run of elements, in row-major order, into as few boxes as it needs."""
    if not box.shape or not count:
        if count:
            yield box
        return
    row, step = _Box(box.shape[1:], box.stride[1:], box.offset), box.stride[0]
    inner = prod(row.shape)
    start, skipped = divmod(first, inner)
    if skipped:
        part = min(count, inner - skipped)
        yield from _boxes(row._replace(offset=box.offset + start * step), skipped, part)
        start, count = start + 1, count - part
    rows, rest = divmod(count, inner)
    if rows:
        yield _Box((rows, *row.shape), box.stride, box.offset + start * step)
    if rest:
        yield from _boxes(row._replace(offset=box.offset + (start + rows) * step), 0, rest)


def _copy(boxes: list[_Box], out: NDArray[Any], read: Read) -> None:
    """Read boxes one after another."""
    done = 0
    for box in boxes:
        count = prod(box.shape)
        _lay(box, out[done : done + count].reshape(box.shape), read)
        done += count


def _lay(box: _Box, out: NDArray[Any], read: Read) -> None:
    """Read a box, what lies close at once and the rest line by line along its longest dimension."""
    shape, stride, offset = box
    width = out.itemsize
    if out.flags.c_contiguous and out.strides == tuple(step * width for step in stride):
        read(offset * width, out.reshape(-1).view(np.uint8).data)
        return
    lengths = [(n - 1) * step for n, step in zip(shape, stride, strict=True)]
    span = 1 + sum(lengths)
    if span * width <= max(_NEAR, 2 * out.nbytes):
        raw = np.empty(span, out.dtype)
        read(offset * width, raw.view(np.uint8).data)
        out[...] = as_strided(raw, shape, [step * width for step in stride], writeable=False)
        return
    axis = lengths.index(max(lengths))
    step, line = stride[axis], span - lengths[axis]
    lines = max(1, (_NEAR // width - line) // step + 1)
    before = (slice(None),) * axis
    for at in range(0, shape[axis], lines):
        part = out[(*before, slice(at, at + lines))]
        _lay(_Box(part.shape, stride, offset + at * step), part, read)


def _unmark(content: memoryview, info: TensorInfo, byteorder: str) -> None:
    """Carry out what is only marked: turn the signs of all numbers, or of imaginary parts."""
    if not info.marks:
        return
    parts = info.dtype.parts
    each = np.frombuffer(content, np.uint8).reshape(-1, parts, info.dtype.bits // 8 // parts)
    signs = each[..., -1 if byteorder == "little" else 0]
    if "neg" in info.marks:
        signs ^= 0x80
    if "conj" in info.marks:
        signs[:, 1] ^= 0x80
