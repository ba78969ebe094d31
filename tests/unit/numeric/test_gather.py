"""Elements by their strides, any part of them: against NumPy's own views, and what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from paramcli.checkpoint import Checkpoint
from paramcli.numeric import gather as room
from paramcli.numeric.blocks import chunks, gathered
from paramcli.numeric.gather import Gathered, gather, in_storage_order
from paramcli.tensors import DTYPES, Storage, TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTHS = {1: "uint8", 2: "int16", 4: "float32", 8: "float64", 16: "complex128"}


class Read:
    """A storage in memory that keeps account of what is asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[int] = []

    def __call__(self, _: Storage, start: int, target: memoryview) -> None:
        assert start + len(target) <= len(self.content)
        self.asked.append(len(target))
        target[:] = self.content[start : start + len(target)]


def view(
    content: bytes, width: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> tuple[Checkpoint, TensorInfo, Read, NDArray[np.void]]:
    storage = Storage("memory", 0, len(content))
    info = TensorInfo("w", DTYPES[WIDTHS[width]], shape, stride, offset, storage)
    read = Read(content)
    checkpoint = Checkpoint(origin="memory", format="made", entries=(info,), unpack=read)
    elements = np.frombuffer(content, f"V{width}")[offset:]
    return checkpoint, info, read, as_strided(elements, shape, [step * width for step in stride])


@st.composite
def views(draw: st.DrawFn) -> tuple[int, tuple[int, ...], tuple[int, ...], int]:
    shape = tuple(draw(st.lists(st.integers(1, 6), max_size=4)))
    stride = tuple(draw(st.integers(0, 40)) for _ in shape)
    return draw(st.sampled_from(sorted(WIDTHS))), shape, stride, draw(st.integers(0, 9))


@given(drawn=views(), near=st.integers(1, 400), data=st.data())
def test_any_part_of_any_view(
    drawn: tuple[int, tuple[int, ...], tuple[int, ...], int], near: int, data: st.DataObject
) -> None:
    width, shape, stride, offset = drawn
    span = offset + 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    content = np.random.default_rng(0).bytes(span * width)
    checkpoint, info, _, expected = view(content, width, shape, stride, offset)
    whole = expected.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_NEAR", near)
        assert gather(checkpoint, info) == whole
        start = width * data.draw(st.integers(0, len(whole) // width))
        size = width * data.draw(st.integers(0, (len(whole) - start) // width))
        part = memoryview(bytearray(size))
        Gathered(checkpoint, info).fill(start, part)
        assert part == whole[start : start + size]
        patch.setattr(room, "_PIECE", 2 * width)
        assert b"".join(map(bytes, Gathered(checkpoint, info).pieces())) == whole
        cut = [chunk.tobytes() for block in gathered(checkpoint, info, 3 * width)
               for chunk in chunks(block, 2 * width)]  # fmt: skip
        assert b"".join(cut) == whole
        ordered = in_storage_order(info)
        assert list(ordered.stride) == sorted(stride, reverse=True)
        found = np.frombuffer(gather(checkpoint, ordered), f"V{width}")
        assert sorted(found.tolist()) == sorted(expected.ravel().tolist())


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((4000, 2000), (4000, 2)),  # every other column
        ((4000, 1), (4000, 1)),  # one column
        ((4000, 4000), (1, 4000)),  # transposed
        ((2000, 4000), (2, 4000)),  # every other row of that
        ((100, 40, 4000), (40, 1, 4000)),
    ],
)
def test_little_is_read_at_a_time(shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
    content = np.arange(16_000_000, dtype=np.uint8).tobytes()
    checkpoint, info, read, expected = view(content, 1, shape, stride, 0)
    part = memoryview(bytearray(min(200_000, info.nbytes)))
    start = min(37, info.nbytes - len(part))
    Gathered(checkpoint, info).fill(start, part)
    assert part == expected.tobytes()[start : start + len(part)]
    assert max(read.asked) <= 400_000
    assert len(read.asked) <= 8_000
