"""Nearly all of a state dict is one call with other numbers: here many are read in one step.

`name: _rebuild_tensor_v2(("storage", class, key, location, numel), offset, size, stride, …)` takes
some 40 opcodes. A regular expression finds a run of such items, and the run is then checked and
built column by column, at the speed of C. A run counts only if its bytes are just what a pickler
writes: constants that mean what they should, and memo slots in sequence that were never written
before. All else takes the ordinary way, opcode by opcode, and gives the same.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, chain, compress, repeat
from operator import le
from typing import TYPE_CHECKING, Any, NamedTuple

from paramcli.sources.pickles.columns import Items, Slots, Unusual, columns, decoded
from paramcli.sources.pickles.nodes import Global
from paramcli.sources.pickles.rebuild import MAX_RANK, STORAGE_DTYPES, span
from paramcli.sources.strides import fields
from paramcli.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paramcli.tensors import DType, Storage

    View = tuple[int, tuple[int, ...], tuple[int, ...], int]
    """Offset, shape and stride, and the first element past all that these can touch."""
    Storages = Callable[[Sequence[DType], Sequence[str], Sequence[int]], Sequence[Storage] | None]

__all__ = ["REBUILD", "Run", "TensorCalls"]

REBUILD = "torch._utils._rebuild_tensor_v2"

_GET, _INT = rb"(?:h.|j....)", rb"(?>K.|M..|J....)"
_PUT, _TUPLE = rb"r(....)", rb"(?>\(?" + _INT + rb"++[\x85-\x87t]|\))"
_ITEM = (
    rb"(?:u\()?+"  # SETITEMS and MARK, as picklers put them after each thousand items
    rb"X(....)([^\x00-\x1f]+)" + _PUT  # the name
    + rb"(" + _GET + rb"\(\(" + _GET + _GET + rb"X)"  # function; mark, mark, "storage", class
    + rb"(....)([0-9]++)" + _PUT  # key
    + rb"(" + _GET + _INT + rb"N?+t)" + _PUT + rb"Q"  # location, numel: a persistent id
    + rb"(" + _INT + _TUPLE + rb")(?:" + _PUT + rb")?+"  # offset, size
    + rb"(" + _TUPLE + rb")(?:" + _PUT + rb")?+"  # stride
    + rb"[\x88\x89](" + _GET + rb"\)Rr....tr....Rr....)"  # requires_grad, OrderedDict(); the call
)  # fmt: skip
_CALL = len("Rr....tr....Rr....")
_IN_CALL = (2, 8, 14)
"""Where in what ends an item the slots of hooks, arguments and tensor stand: its last three."""


class Run(NamedTuple):
    """Names and tensors, the position after them, and the memo slot at which each item starts.

    An item's slots begin with those of its name and its key, and end with that of its tensor; the
    last start is where the next one would begin.
    """

    names: list[str]
    keys: list[str]
    tensors: list[TensorInfo]
    position: int
    starts: array[int]

    @property
    def start(self) -> int:
        """The first memo slot."""
        return self.starts[0]

    @property
    def end(self) -> int:
        """The memo slot past the last one."""
        return self.starts[-1]

    @property
    def items(self) -> list[object]:
        """Names and tensors in turn, as SETITEMS takes them."""
        return list(chain.from_iterable(zip(self.names, self.tensors, strict=True)))

    def memo(self) -> dict[int, object]:
        """What the slots hold, without those that were passed over."""
        first, after = self.starts[:-1], self.starts[1:]
        slots: dict[int, object] = dict(zip(first, self.names, strict=True))
        slots.update((slot + 1, key) for slot, key in zip(first, self.keys, strict=True))
        slots.update((slot - 1, tensor) for slot, tensor in zip(after, self.tensors, strict=True))
        return slots


class TensorCalls:
    """Reads runs of tensors; `storages(dtypes, keys, numels)` is the container's own look-up.

    It returns None where one of them is not there, or was asked for before.
    """

    def __init__(self, storages: Storages, *, legacy: bool) -> None:
        self._storages = storages
        self._id_end = b"Nt" if legacy else b"t"  # the legacy stream's ids have one field more
        self.items = Items(_ITEM)
        self._views: dict[tuple[bytes, bytes], View] = {}

    def read(self, data: bytes, pos: int, memo: dict[int, object], fresh: int) -> Run | None:
        """Read the run of items at `pos`, in a dictionary that is being filled; None for no run.

        SETITEMS and MARK between two items, as picklers put them after each thousand, are part
        of it: the items are set in the same dictionary all the same, and in the same order.
        """
        found, position = self.items.match(data, pos)
        try:
            return self._run(found, memo, fresh, position) if found else None
        except (Unusual, OverflowError):  # slots have four bytes
            self.items.start_over()
            return None

    def _run(
        self, found: list[list[bytes]], memo: dict[int, object], fresh: int, position: int
    ) -> Run:
        (
            name_sizes, raw_names, at_name, heads, key_sizes, raw_keys, at_key, ids, at_id,
            views, at_size, strides, at_stride, calls,
        ) = found  # fmt: skip
        starts = _checked(fresh, (at_name, at_key, at_id), at_size, at_stride, calls)
        if not _is_ordered_dict(calls[0], memo):
            raise Unusual
        dtype_of = {head: _storage_class(head, memo) for head in set(heads)}
        numel_of = {identity: self._numel(identity, memo) for identity in set(ids)}
        dtypes = list(map(dtype_of.__getitem__, heads))
        numels = list(map(numel_of.__getitem__, ids))
        names, keys = decoded(name_sizes, raw_names), decoded(key_sizes, raw_keys)
        offsets, shapes, steps, ends = self._seen(views, strides)
        if not all(map(le, ends, numels)):
            raise Unusual
        storages = self._storages(dtypes, keys, numels)
        if storages is None:
            raise Unusual
        fields = zip(
            names, dtypes, shapes, steps, offsets, storages,
            repeat("tensor"), repeat("strided"), repeat(()), repeat(()), repeat(()), strict=False,
        )  # fmt: skip
        tensors = list(map(tuple.__new__, repeat(TensorInfo), fields))
        return Run(names, keys, tensors, position, starts)

    def _seen(self, views: Sequence[bytes], strides: Sequence[bytes]) -> list[list[Any]]:
        """Read offsets, shapes and strides; a model has few different ones."""
        known, pairs = self._views, list(zip(views, strides, strict=True))
        found: list[Any] = list(map(known.get, pairs))
        if None in found:
            for pair in set(pairs).difference(known):
                known[pair] = _view(*pair)
            found = list(map(known.get, pairs))
        return columns(found)

    def _numel(self, written: bytes, memo: dict[int, object]) -> int:
        """Read the location and the number of elements that end a storage's id."""
        (where,), rest = _gets(written, 1)
        numbers = _ints(rest[: -len(self._id_end)]) if rest.endswith(self._id_end) else ()
        if type(memo.get(where)) is not str or len(numbers) != 1 or numbers[0] < 0:
            raise Unusual
        return numbers[0]


def _checked(
    fresh: int,
    firsts: Sequence[Sequence[bytes]],
    sizes: Sequence[bytes],
    strides: Sequence[bytes],
    calls: Sequence[bytes],
) -> array[int]:
    """Check that items write memo slots in sequence from `fresh` on; return where each starts.

    The tuples of a size and of a stride take none where they are empty, and all that ends an item
    is to be alike but for slots. Raises Unusual where others are written.
    """
    count, width, joined = len(calls), len(calls[0]), b"".join(calls)
    full = all(sizes) and all(strides)
    if full:
        starts = array("I", range(fresh, fresh + 8 * count + 1, 8))
    else:
        numbers = (6 + bool(size) + bool(step) for size, step in zip(sizes, strides, strict=True))
        starts = array("I", accumulate(numbers, initial=fresh))
    first, after = Slots(starts[:-1]), Slots(starts[1:])
    sized = first if full else Slots(array("I", compress(starts, sizes)))
    stepped = after if full else Slots(array("I", compress(starts[1:], strides)))
    for place, column in enumerate(firsts):
        first.check(b"".join(column), place)
    sized.check(b"".join(sizes), len(firsts))
    stepped.check(b"".join(strides), -1 - len(_IN_CALL))
    get = width - _CALL
    if len(joined) != width * count or fields(joined, 0, width, get) != calls[0][:get] * count:
        raise Unusual
    for place, at in enumerate(_IN_CALL):
        after.check(fields(joined, get + at, width, 4), place - len(_IN_CALL))
    return starts


def _storage_class(head: bytes, memo: dict[int, object]) -> DType:
    """Return the element type of the storage, if the function and the first word are as usual."""
    (function,), rest = _gets(head, 1)
    (word, cls), _ = _gets(rest[2:], 2)
    called, first, kind = memo.get(function), memo.get(word), memo.get(cls)
    if type(called) is Global and called.path == REBUILD and type(kind) is Global:
        dtype = STORAGE_DTYPES.get(kind.path)
        if dtype is not None and dtype.bits >= 8 and type(first) is str and first == "storage":
            return dtype
    raise Unusual


def _is_ordered_dict(get: bytes, memo: dict[int, object]) -> bool:
    node = memo.get(_gets(get, 1)[0][0])
    return type(node) is Global and node.path == "collections.OrderedDict"


def _view(written: bytes, stride: bytes) -> View:
    """Read the opcodes of an offset and a size, and those of a stride."""
    width = _WIDTHS[written[0]]
    (offset,) = _ints(written[: 1 + width])
    shape, steps = _tuple(written[1 + width :]), _tuple(stride)
    if offset < 0 or len(shape) != len(steps):
        raise Unusual
    reach = span(shape, steps)
    return offset, shape, steps, offset + reach if reach else 0


_WIDTHS = {0x68: 1, 0x6A: 4, 0x4B: 1, 0x4D: 2, 0x4A: 4}
"""Bytes of argument of BINGET, LONG_BINGET, BININT1, BININT2 and BININT."""


def _gets(written: bytes, count: int) -> tuple[list[int], bytes]:
    """Read the memo slots that `count` opcodes fetch, and what comes after."""
    slots = []
    for _ in range(count):
        end = 1 + _WIDTHS[written[0]]
        slots.append(int.from_bytes(written[1:end], "little"))
        written = written[end:]
    return slots, written


def _ints(written: bytes) -> tuple[int, ...]:
    numbers, pos = [], 0
    while pos < len(written):
        end = pos + 1 + _WIDTHS[written[pos]]
        numbers.append(int.from_bytes(written[pos + 1 : end], "little", signed=end - pos == 5))
        pos = end
    return tuple(numbers)


def _tuple(written: bytes) -> tuple[int, ...]:
    """Return the tuple of sizes that the opcodes build."""
    if written == b")":
        return ()
    marked = written.startswith(b"(")
    numbers = _ints(written[marked:-1])
    complete = marked if written[-1:] == b"t" else not marked and written[-1] - 0x84 == len(numbers)
    if not complete or min(numbers) < 0 or len(numbers) > MAX_RANK:
        raise Unusual
    return numbers
