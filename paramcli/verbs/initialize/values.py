"""Values that are stored elsewhere and stand in the result: read, and cast, a stretch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paramcli.errors import SourceError, UsageError
from paramcli.numeric.codes import CODED, WIDE, values
from paramcli.numeric.gather import Gathered
from paramcli.schemes.fill import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

__all__ = ["Stored"]


class Stored:
    """The elements of one tensor of a checkpoint, in row-major order, in another type."""

    def __init__(self, checkpoint: Checkpoint, info: TensorInfo, dtype: str) -> None:
        self._info = info
        self._dtype = dtype
        self._byteorder = checkpoint.byteorder
        self._elements = Gathered(checkpoint, info)
        if self._elements.nbytes < info.nbytes or not info.storage.file:
            raise SourceError(f"{info.name} has no values", path=checkpoint.origin)
        if dtype != info.dtype.name and not {dtype, info.dtype.name} <= CODED.keys() | WIDE.keys():
            raise UsageError(f"{info.name}: {info.dtype.name} cannot be cast to {dtype}")

    def fill(self, start: int, out: memoryview) -> None:
        """Fill memory with elements from `start` on; it holds whole elements."""
        kind = self._info.dtype
        if self._dtype == kind.name:
            self._read(kind.nbytes(start), out)
            return
        count = len(out) // np.dtype(_kind(self._dtype)).itemsize
        raw = bytearray(kind.nbytes(count))
        self._read(kind.nbytes(start), memoryview(raw))
        numbers: NDArray[Any] = np.frombuffer(raw, np.dtype(_kind(kind.name)))
        if kind.name in CODED:
            numbers = values(kind.name)[numbers]
        cast = encode(numbers.astype(np.float64), self._dtype)
        out[:] = memoryview(cast.view(np.uint8).data)

    def _read(self, start: int, out: memoryview) -> None:
        self._elements.fill(start, out)
        if self._byteorder == "big":
            dtype = self._info.dtype
            each = np.frombuffer(out, f"u{dtype.bits // 8 // dtype.parts}")
            each.byteswap(inplace=True)


def _kind(dtype: str) -> str:
    """NumPy's name for a type, or for the integers that are its codes."""
    return WIDE.get(dtype) or f"u{CODED[dtype] // 8}"
