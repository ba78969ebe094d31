"""What a checkpoint is made of: element types, storages, and the named tensors that view them."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

__all__ = ["DTYPES", "DType", "Kind", "Place", "Storage", "TensorInfo", "row_major"]

Kind = Literal["parameter", "buffer", "tensor"]


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
    parts: tuple["TensorInfo", ...] = ()
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

    def views(self) -> Iterator["TensorInfo"]:
        """The plain strided tensors behind this name: itself, and those among its parts."""
        pending = [self]
        while pending:
            info = pending.pop()
            if info.layout not in _STORED_IN_PARTS:
                yield info
            pending.extend(reversed(info.parts))


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a tensor without gaps."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


_STORED_IN_PARTS = frozenset(
    {
        "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc",
        "nested", "wrapper", "dtensor",
    }
)  # fmt: skip
