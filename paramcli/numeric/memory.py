"""Memory to compute in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["LINE", "Kept", "aligned"]

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


class Kept(threading.local):
    """Room of one type that is used again, in each thread its own.

    What is asked for anew comes page by page, which takes as long as computing in it does.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._room = aligned(0, dtype)

    def room(self, count: int) -> NDArray[Any]:
        """Give the same room for `count` numbers every time, larger if it must be."""
        if len(self._room) < count:
            self._room = aligned(count, self._room.dtype)
        return self._room[:count]
