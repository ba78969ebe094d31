"""Room begins where a line of the cache does, whatever it is for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paramcli.numeric.memory import LINE, aligned


@given(count=st.integers(0, 5000), dtype=st.sampled_from(["f8", "f4", "u8", "u2", "?"]))
def test_room_begins_with_a_line(count: int, dtype: str) -> None:
    room = aligned(count, dtype)
    assert (room.shape, room.dtype) == ((count,), np.dtype(dtype))
    assert room.ctypes.data % LINE == 0 or not count
    room[...] = 1
    assert room.sum() == count
