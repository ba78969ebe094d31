"""Values that are stored elsewhere and stand in the result: read, and cast, a stretch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paramcli.errors import SourceError, UsageError
from paramcli.files import open_file
from paramcli.numeric.blocks import gather
from paramcli.numeric.codes import CODED, WIDE, values
from paramcli.schemes.fill import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint, TensorInfo

__all__ = ["Stored"]

_BYTE = 8


class Stored:
    """The elements of one tensor of a checkpoint, in row-major order, in another type.

    A tensor whose bytes do not lie in a file as they are is gathered, and held.
    """

    def __init__(self, checkpoint: Checkpoint, info: TensorInfo, dtype: str) -> None:
        self._info = info
        self._dtype = dtype
        self._byteorder = checkpoint.byteorder
        self._gathered: memoryview | None = None
        place = checkpoint.locate(info.storage)
        if place is None or info.marks or not info.contiguous or info.dtype.bits < _BYTE:
            content = gather(checkpoint, info)
            if len(content) < info.nbytes:
                raise SourceError(f"{info.name} has no values", path=checkpoint.origin)
            self._gathered = memoryview(content)
        else:
            self._file, self._start = place.file, place.offset + info.extent[0]
        if dtype != info.dtype.name and not {dtype, info.dtype.name} <= CODED.keys() | WIDE.keys():
            raise UsageError(f"{info.name}: {info.dtype.name} cannot be cast to {dtype}")

    def fill(self, start: int, out: memoryview) -> None:
        """Fill memory with elements from `start` on; it holds whole elements."""
        width = self._info.dtype.bits // 8
        if self._dtype == self._info.dtype.name:
            out[:] = self._read(start * width, len(out))
            return
        count = len(out) * 8 // np.dtype(_kind(self._dtype)).itemsize // 8
        raw = self._read(start * width, count * width)
        kind = np.dtype(_kind(self._info.dtype.name))
        numbers: NDArray[Any] = np.frombuffer(raw, kind)
        if self._info.dtype.name in CODED:
            numbers = values(self._info.dtype.name)[numbers]
        cast = encode(numbers.astype(np.float64), self._dtype)
        out[:] = memoryview(cast.view(np.uint8).data)

    def _read(self, start: int, size: int) -> memoryview:
        if self._gathered is not None:
            content = self._gathered[start : start + size]
        else:
            read = bytearray(size)
            with open_file(self._file) as file:
                file.fill(memoryview(read), self._start + start)
            content = memoryview(read)
        if self._byteorder == "little":
            return content
        width = self._info.dtype.bits // 8
        parts = 2 if self._info.dtype.name.startswith("complex") else 1
        swapped = np.frombuffer(content, f"u{width // parts}").byteswap()
        return memoryview(swapped.view(np.uint8).data)


def _kind(dtype: str) -> str:
    """NumPy's name for a type, or for the integers that are its codes."""
    return WIDE.get(dtype) or f"u{CODED[dtype] // 8}"
