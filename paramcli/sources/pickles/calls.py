"""Nearly all of a state dict is one call with other numbers: here it is read in one step.

`_rebuild_tensor_v2(("storage", cls, key, location, numel), offset, size, stride, …)` takes some
35 opcodes. One regular expression matches them together, and the match counts only where the
bytes are just what a pickler writes: memo numbers in sequence that were never used before, and
constants that still mean what they should. All else takes the ordinary way, opcode by opcode.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING

from paramcli.checkpoint import TensorInfo
from paramcli.sources.pickles.nodes import Global
from paramcli.sources.pickles.rebuild import STORAGE_DTYPES, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import DType
    from paramcli.sources.pickles.nodes import TypedStorage

__all__ = ["REBUILD", "TensorCalls"]

REBUILD = "torch._utils._rebuild_tensor_v2"

_GET, _INT = rb"(?:h.|j....)", rb"(?:K.|M..|J....)"
_DIMS = rb"(?:(\(?" + _INT + rb"+[\x85-\x87t])r(....)|\))"
_CALL = re.compile(
    rb"(\(\(" + _GET + _GET + rb"X.\0\0\0)([0-9]+)r(....)(" + _GET + rb")(" + _INT + rb"N?)tr(....)Q"
    rb"(" + _INT + rb")" + _DIMS + _DIMS + rb"[\x88\x89](" + _GET + rb")\)Rr(....)tr(....)Rr(....)",
    re.DOTALL,
).match
_SLOT = Struct("<I").unpack
_FOUR, _SIX = Struct("<4I").pack, Struct("<6I").pack
_new = tuple.__new__


class TensorCalls:
    """Reads whole calls. `storage(dtype, key, numel)` is the container's own look-up."""

    def __init__(
        self, storage: Callable[[DType, str, int], TypedStorage], *, legacy: bool
    ) -> None:
        self._storage = storage
        self._tail = b"N" if legacy else b""  # the legacy stream's ids have one field more
        self._heads: dict[bytes, DType] = {}
        self._places: set[bytes] = set()
        self._hooks: set[bytes] = set()
        self._numbers: dict[bytes, int] = {}
        self._dims: dict[
            tuple[bytes | None, bytes | None], tuple[tuple[int, ...], tuple[int, ...], int]
        ] = {}

    def forget(self) -> None:
        """A memo slot was written again: what the constants mean must be looked up anew."""
        self._heads.clear()
        self._places.clear()
        self._hooks.clear()

    def read(
        self, data: bytes, pos: int, memo: dict[int, object], fresh: int
    ) -> tuple[TensorInfo, int, int] | None:
        """The tensor built by the call whose function is on the stack and whose rest is at `pos`.

        Returns it with the position after the call and the next fresh memo slot; None where the
        ordinary way must be taken. Writes the two slots that anything may ask for again.
        """
        match = _CALL(data, pos)
        if match is None:
            return None
        (head, key, at_key, place, numel, at_id, offset,
         size, at_size, stride, at_stride, hooks, at_hooks, at_args, at_end) = match.groups()  # fmt: skip
        (first,) = _SLOT(at_key)
        if first < fresh or head[-4] != len(key):
            return None
        if at_size and at_stride:
            slots = at_id + at_size + at_stride + at_hooks + at_args + at_end
            last = first + 6
            if slots != _SIX(first + 1, first + 2, first + 3, first + 4, first + 5, last):
                return None
        else:
            last = first + 4
            if at_size or at_stride or (
                at_id + at_hooks + at_args + at_end != _FOUR(first + 1, first + 2, first + 3, last)
            ):
                return None
        dtype = self._heads.get(head)
        if dtype is None or place not in self._places or hooks not in self._hooks:
            dtype = self._look_up(head, place, hooks, memo)
            if dtype is None:
                return None
        dims = self._dims.get((size, stride))
        if dims is None:
            dims = self._read_dims(size, stride)
            if dims is None:
                return None
        numel_ = self._number(numel, self._tail)
        skip = self._number(offset, b"")
        if numel_ < 0 or skip < 0:
            return None
        name = key.decode()
        storage, _, start, count = self._storage(dtype, name, numel_)
        shape, steps, reach = dims
        if skip + reach > count and reach:
            return None
        info = _new(TensorInfo, (
            "", dtype, shape, steps, start + skip, storage, "tensor", "strided", ()
        ))  # fmt: skip
        memo[first] = name
        memo[last] = info
        return info, match.end(), last + 1

    def _look_up(
        self, head: bytes, place: bytes, hooks: bytes, memo: dict[int, object]
    ) -> DType | None:
        """What the constants of a call mean, if they mean what they should."""
        word, cls = _slots(head[2:-5])
        where, ordered = memo.get(_slots(place)[0]), memo.get(_slots(hooks)[0])
        kind = memo.get(cls)
        if memo.get(word) != "storage" or type(kind) is not Global or type(where) is not str:
            return None
        if type(ordered) is not Global or ordered.path != "collections.OrderedDict":
            return None
        dtype = STORAGE_DTYPES.get(kind.path)
        if dtype is not None:
            self._heads[head] = dtype
            self._places.add(place)
            self._hooks.add(hooks)
        return dtype

    def _read_dims(
        self, size: bytes | None, stride: bytes | None
    ) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
        shape, steps = _tuple(size), _tuple(stride)
        if shape is None or steps is None or len(shape) != len(steps):
            return None
        dims = shape, steps, span(shape, steps)
        self._dims[size, stride] = dims
        return dims

    def _number(self, written: bytes, tail: bytes) -> int:
        """The integer that the opcode pushes, -1 where it is negative or not followed by `tail`."""
        number = self._numbers.get(written)
        if number is None:
            digits = written.removesuffix(tail) if written.endswith(tail) else b""
            ints = _ints(digits)
            number = ints[0] if len(ints) == 1 else -1
            self._numbers[written] = number
        return number


def _slots(gets: bytes) -> tuple[int, ...]:
    """Memo slots that a run of BINGET and LONG_BINGET reads."""
    slots, pos = [], 0
    while pos < len(gets):
        width = 1 if gets[pos] == 0x68 else 4
        slots.append(int.from_bytes(gets[pos + 1 : pos + 1 + width], "little"))
        pos += 1 + width
    return tuple(slots)


def _ints(run: bytes) -> tuple[int, ...]:
    """Integers that a run of BININT1, BININT2 and BININT pushes."""
    numbers, pos = [], 0
    while pos < len(run):
        width = {0x4B: 1, 0x4D: 2, 0x4A: 4}.get(run[pos], len(run))
        digits = run[pos + 1 : pos + 1 + width]
        numbers.append(int.from_bytes(digits, "little", signed=width == 4))
        pos += 1 + width
    return tuple(numbers)


def _tuple(written: bytes | None) -> tuple[int, ...] | None:
    """The tuple of sizes that the opcodes build, None where they build anything else."""
    if written is None:
        return ()
    marked = written[:1] == b"("
    numbers = _ints(written[marked:-1])
    whole = marked if written[-1:] == b"t" else not marked and written[-1] - 0x84 == len(numbers)
    return numbers if whole and min(numbers) >= 0 else None
