"""Memory to compute in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["LINE", "aligned"]

LINE = 64
"""Bytes of a line of the cache, and of the widest registers."""


def aligned(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Make room for `count` numbers that begins where a line of the cache does.

    NumPy's own begins 16 bytes later where it is large: then every other load of 32 bytes, and
    every load of 64, touches two lines, and sums and products take up to twice as long.
    """
    kind = np.dtype(dtype)
    nbytes = count * kind.itemsize
    room = np.empty(nbytes + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + nbytes].view(kind)
