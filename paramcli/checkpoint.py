"""The one noun: a checkpoint is an ordered set of named views of storages."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from paramcli.errors import SourceError, one_line
from paramcli.files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from paramcli.lock import Lock
    from paramcli.owners import Owner

__all__ = [
    "DTYPES", "Checkpoint", "DType", "Group", "Held", "Pickle", "Place", "Storage", "TensorInfo",
    "Tree", "in_parts", "share",
]  # fmt: skip

Kind = Literal["parameter", "buffer", "tensor"]
_SHOWN = 5


class DType(NamedTuple):
    """An element type: torch's own name without `torch.`, and its width in bits.

    `float4_e2m1fn_x2` is as wide as the byte of two that torch counts as one element; `float6_*`
    and `float4_e2m1fn` are known to safetensors alone, `bcomplex32` to torch from 2.14 on.
    """

    name: str
    bits: int

    @property
    def parts(self) -> int:
        """Numbers of an element: a complex one has two."""
        return 2 if "complex" in self.name else 1

    def nbytes(self, count: int) -> int:
        """Bytes that `count` elements fill, rounded up to whole bytes."""
        return (count * self.bits + 7) // 8


_BITS: dict[int, str] = {
    2: "quint2x4",
    4: "float4_e2m1fn quint4x2",
    6: "float6_e2m3fn float6_e3m2fn",
    8: (
        "bool uint8 int8 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
        "float4_e2m1fn_x2 qint8 quint8 bits8 bits4x2 bits2x4 bits1x8 "
        "int1 int2 int3 int4 int5 int6 int7 uint1 uint2 uint3 uint4 uint5 uint6 uint7"
    ),
    16: "int16 uint16 float16 bfloat16 bits16",
    32: "int32 uint32 float32 complex32 bcomplex32 qint32",
    64: "int64 uint64 float64 complex64",
    128: "complex128",
}

DTYPES: dict[str, DType] = {
    name: DType(name, bits) for bits, names in _BITS.items() for name in names.split()
}
"""Every element type that a checkpoint of torch 2.14 or safetensors 0.8 can name."""


class Storage(NamedTuple):
    """A run of bytes with an identity. Two tensors share where they view the same storage.

    `file` is where the bytes live, `key` what the format calls them there (a zip entry, a byte
    offset, a memory address), `nbytes` their length. A `file` of "" holds no bytes: a tensor of
    the meta device or of a lock.
    """

    file: str
    key: str | int
    nbytes: int


class Place(NamedTuple):
    """Where a storage's bytes lie as they are: a file on disk and the first byte in it."""

    file: str
    offset: int


class TensorInfo(NamedTuple):
    """A name that views a storage. `offset` and `stride` count elements, as torch does.

    In a lock a size can be left open: it is -1, the layout "open", and the fact "dims" says how
    the shape is written. Elements and bytes then count as none.
    `parts` are the tensors that a composite stands for (indices and values of a sparse tensor,
    the local shard of a DTensor, scales of a quantized one); `layout` says which kind it is,
    "strided" for the plain tensors that nearly all are; `facts` are what else the file says of it
    (scale and zero point), `marks` what is to be done with the bytes (to conjugate, to negate).
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: Storage
    kind: Kind = "tensor"
    layout: str = "strided"
    parts: tuple[TensorInfo, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    marks: tuple[Literal["conj", "neg"], ...] = ()

    @property
    def numel(self) -> int:
        """Number of elements of the shape; 0 where that is open."""
        return 0 if self.layout == "open" else math.prod(self.shape)

    @property
    def open(self) -> bool:
        """Whether some of the shape is not known."""
        return self.layout == "open"

    @property
    def nbytes(self) -> int:
        """Bytes of the elements it views; for a composite, of its parts."""
        if self.layout in _STORED_IN_PARTS:
            return sum(part.nbytes for part in self.parts)
        return self.dtype.nbytes(self.numel)

    @property
    def view(self) -> tuple[object, ...]:
        """What makes it the same as another of this value: all but name, kind and facts."""
        return (*self[1:6], self.marks)

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and step != expected:
                return 0 in self.shape
            expected *= size
        return True

    @property
    def dense(self) -> bool:
        """Whether the elements fill one stretch of bytes once, in whatever order."""
        start, end = self.extent
        if end - start != self.dtype.nbytes(self.numel):
            return False
        expected = 1
        for step, size in sorted(zip(self.stride, self.shape, strict=True)):
            if size != 1 and step != expected:
                return 0 in self.shape
            expected *= size
        return True

    @property
    def extent(self) -> tuple[int, int]:
        """First byte and end, within its storage, of the bytes that it can touch."""
        if self.layout == "open":
            return 0, 1  # it is somewhere there, so that tied names are seen to be
        if 0 in self.shape:
            start = self.dtype.nbytes(self.offset)
            return start, start
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        bits = self.dtype.bits
        return self.offset * bits // 8, ((self.offset + last + 1) * bits + 7) // 8

    def views(self) -> Iterator[TensorInfo]:
        """The plain strided tensors behind this name: itself, and those among its parts."""
        pending = [self]
        while pending:
            info = pending.pop()
            if info.layout not in _STORED_IN_PARTS:
                yield info
            pending.extend(reversed(info.parts))


_STORED_IN_PARTS = frozenset(
    {
        "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc",
        "nested", "wrapper", "dtensor",
    }
)  # fmt: skip


class Group(NamedTuple):
    """Names that share bytes: the "same" view, or an "overlap".

    `bytes` are the shared ones, 0 where a lock leaves open how many.
    """

    id: str
    names: tuple[str, ...]
    relation: Literal["same", "overlap"]
    bytes: int


class Held(NamedTuple):
    """Which object of a built module a name stands for, and the module that holds it.

    `tensor` numbers the objects; `module` is the first path of the holder, `cls` its class. Two
    names with one path there are one module met twice.
    """

    tensor: int
    module: str
    cls: str


class Tree(NamedTuple):
    """One tree of tensors in a training checkpoint: its dotted path and how many it holds."""

    path: str
    tensors: int


class Pickle(NamedTuple):
    """What the pickles of a file asked for, seen without running any of it.

    `understood` and `inert` are dotted globals: those whose meaning was built as metadata, and
    those kept as records that do nothing. `refused` says why `torch.load(weights_only=True)`
    turns the file down, "" where it does not.
    """

    understood: tuple[str, ...]
    inert: tuple[str, ...]
    refused: str

    def summary(self) -> str:
        """One line: what was seen, what of it was understood, and what torch would say."""
        seen = len(self.understood) + len(self.inert)
        line = f"pickle: nothing run; {seen} global{'' if seen == 1 else 's'} seen, "
        if self.inert:
            shown, rest = self.inert[:_SHOWN], len(self.inert[_SHOWN:])
            more = f" and {rest} more" if rest else ""
            line += f"{len(self.inert)} kept inert: {', '.join(map(one_line, shown))}{more}"
        else:
            line += "all understood"
        return line + (
            f"; weights_only refuses it: {one_line(self.refused)}" if self.refused else ""
        )


def _nowhere(_: Storage) -> None:
    return None


def _no_bytes(_storage: Storage, _start: int, _target: memoryview) -> None:
    raise SourceError("it holds names and shapes, but no values")


def in_parts(
    whole: Callable[[Storage], bytes | bytearray],
) -> Callable[[Storage, int, memoryview], None]:
    """Return an `unpack` for storages that can only be had whole; it keeps the last of them."""
    last: list[tuple[Storage, bytes | bytearray]] = []

    def unpack(storage: Storage, start: int, target: memoryview) -> None:
        if not last or last[0][0] != storage:
            last[:] = [(storage, whole(storage))]
        content = last[0][1][start : start + len(target)]
        if len(content) < len(target):
            raise SourceError("a storage is shorter than it states", path=storage.file)
        target[:] = content

    return unpack


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checkpoint:
    """An ordered set of named views of storages, wherever it came from.

    `producer` is what wrote it, as far as the file tells; `key` is the tree that was picked from
    a training checkpoint, `trees` all that it holds, `values` what in it is no tensor, `notes` what
    the reader should hear on stderr, and `problems` disagreements inside it (an index that names
    what no shard has), `lock` what a lock says beyond its names.

    `locate` says where a storage's bytes lie, None where they lie nowhere or not as they are;
    `unpack` fills a buffer with those that are compressed or scattered, from a byte on. `checksum`
    is the CRC-32 that the file itself states of a storage's bytes, None where it states none. Where
    all bytes are computed rather than stored, `draw` fills a buffer with those of a storage from a
    byte on, and nothing else is asked. `held` says which objects the names of a model class are.
    """

    origin: str
    format: str
    producer: str | None = None
    entries: tuple[TensorInfo, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    trees: tuple[Tree, ...] = ()
    values: tuple[tuple[str, object], ...] = ()
    pickle: Pickle | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    byteorder: Literal["little", "big"] = "little"
    lock: Lock | None = None
    modules: Mapping[str, Owner] = field(default_factory=dict, compare=False)
    held: Mapping[str, Held] = field(default_factory=dict, compare=False)
    locate: Callable[[Storage], Place | None] = field(default=_nowhere, compare=False)
    unpack: Callable[[Storage, int, memoryview], None] = field(default=_no_bytes, compare=False)
    checksum: Callable[[Storage], int | None] = field(default=_nowhere, compare=False)
    draw: Callable[[Storage, int, memoryview], None] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.origin!r}, {self.format}: {len(self.entries):,} tensors>"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[TensorInfo]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> TensorInfo:
        for info in self.entries:
            if info.name == name:
                return info
        raise KeyError(name)

    @contextmanager
    def reading(self, storage: Storage) -> Iterator[Callable[[int, memoryview], None]]:
        """Give what fills a buffer with a storage's bytes from a byte on, its file open meanwhile.

        It raises SourceError where the target holds none, or fewer.
        """
        if self.draw is not None:
            yield partial(self.draw, storage)
        elif (place := self.locate(storage)) is None:
            yield partial(self.unpack, storage)
        else:
            offset = place.offset
            with open_file(place.file) as file:
                yield lambda start, target: file.fill(target, offset + start)

    def fill(self, storage: Storage, start: int, target: memoryview) -> None:
        """Fill a buffer with a storage's bytes from byte `start` on. Raises as `reading` does."""
        with self.reading(storage) as read:
            read(start, target)

    def read(self, storage: Storage) -> bytes:
        """Return all bytes of a storage. Raises SourceError as `fill` does."""
        content = bytearray(storage.nbytes)
        self.fill(storage, 0, memoryview(content))
        return bytes(content)

    def groups(self) -> tuple[Group, ...]:
        """The names that share bytes, in order of their first name."""
        return share(self.entries)


_storage, _parts = (itemgetter(TensorInfo._fields.index(name)) for name in ("storage", "parts"))


def share(entries: Iterable[TensorInfo]) -> tuple[Group, ...]:
    """Group the names whose views meet in the same storage.

    Views of one storage are swept in order of their first byte with a running end, so that
    nested and chained overlaps meet in one group. A group is "same" where all its members have
    one dtype, shape, stride and offset.
    """
    entries = tuple(entries)
    if len(set(map(_storage, entries))) == len(entries) and not any(map(_parts, entries)):
        return ()
    by_storage: dict[Storage, list[tuple[int, int, int, TensorInfo]]] = {}
    for order, info in enumerate(entries):
        for view in info.views():
            start, end = view.extent
            if end > start and view.storage.nbytes:
                by_storage.setdefault(view.storage, []).append((start, end, order, info))
    found: list[tuple[int, list[TensorInfo], int]] = []
    for spans in by_storage.values():
        if len(spans) > 1:
            found.extend(_clusters(spans))
    found.sort(key=lambda cluster: cluster[0])
    return tuple(
        _group(f"g{number}", members, shared)
        for number, (_, members, shared) in enumerate(found, 1)
    )


def _group(name: str, members: list[TensorInfo], shared: int) -> Group:
    names = tuple(info.name for info in members)
    if len({info.view for info in members}) > 1:
        return Group(name, names, "overlap", shared)
    start, end = members[0].extent
    return Group(name, names, "same", 0 if members[0].open else min(shared, end - start))


def _clusters(
    spans: list[tuple[int, int, int, TensorInfo]],
) -> Iterator[tuple[int, list[TensorInfo], int]]:
    """Yield (order of the first name, members in order, bytes that two or more of them view)."""
    if len({span[2] for span in spans}) < len(spans):
        spans = _of_each_name(spans)
    spans.sort(key=lambda span: span[:3])
    cluster: dict[int, TensorInfo] = {}
    reach = shared = 0
    twice = 0  # end of the bytes already known to be viewed twice
    beyond = 1 << 63  # no view begins there: it closes the last cluster
    for start, end, order, info in [*spans, (beyond, beyond, -1, spans[0][3])]:
        if start >= reach and cluster:
            if len(cluster) > 1:
                first = min(cluster)
                yield first, [cluster[order] for order in sorted(cluster)], shared
            cluster, shared, twice = {}, 0, 0
        overlap = min(reach, end)
        shared += max(0, overlap - max(start, twice)) if cluster else 0
        twice = max(twice, overlap)
        reach = max(reach, end)
        cluster[order] = info


def _of_each_name(
    spans: list[tuple[int, int, int, TensorInfo]],
) -> list[tuple[int, int, int, TensorInfo]]:
    """Join what one composite views twice: that is not shared with another name."""
    joined: list[tuple[int, int, int, TensorInfo]] = []
    for span in sorted(spans, key=lambda span: (span[2], *span[:2])):
        start, end, order, info = span
        if joined and joined[-1][2] == order and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]), order, info)
        else:
            joined.append(span)
    return joined
