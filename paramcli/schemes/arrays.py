"""What the stream and the draws are made of: a few array operations, by NumPy or by torch.

Each is a call of its own that writes where it is told, so that no compiler joins a product and a
sum into one rounding. Integers wrap and floats are correctly rounded in both libraries and on all
devices, so all give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from paramcli.numeric.memory import aligned
from paramcli.schemes.rounding import store

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = ["Array", "Arrays", "NumpyArrays", "TorchArrays"]

Array: TypeAlias = Any
"""An array of NumPy's, a tensor, or a scalar of either: no type says what both have."""

Binary: TypeAlias = "Callable[[Array, Array, Array], object]"


class Arrays(Protocol):
    """One array library. Operations write to their last argument."""

    blocks: int
    """How many blocks of pairs are worked on at once."""

    @property
    def add(self) -> Binary: ...  # noqa: D102
    @property
    def subtract(self) -> Binary: ...  # noqa: D102
    @property
    def multiply(self) -> Binary: ...  # noqa: D102
    @property
    def divide(self) -> Binary: ...  # noqa: D102
    @property
    def mask(self) -> Binary: ...  # noqa: D102
    @property
    def xor(self) -> Binary: ...  # noqa: D102
    @property
    def minimum(self) -> Binary: ...  # noqa: D102
    @property
    def square_root(self) -> Callable[[Array, Array], object]: ...  # noqa: D102

    def empty(self, dtype: str, count: int) -> Array:
        """Make room for `count` numbers."""

    def steps(self, step: int, count: int) -> Array:
        """Make the multiples of a step by 0 to `count`, as words."""

    def word(self, value: int) -> Array:
        """Make a scalar of 64 bits to compute with words."""

    def scalar(self, dtype: str, value: float) -> Array:
        """Make a scalar of a type, rounded to it."""

    def view(self, array: Array, dtype: str) -> Array:
        """See the same bytes as another type."""

    def shift(self, words: Array, count: int, out: Array) -> None:
        """Shift words to the right; zeros come in."""

    def convert(self, numbers: Array, out: Array) -> None:
        """Convert to the type of `out`, to the nearest, ties to even."""

    def below(self, numbers: Array, limit: float) -> Array | None:
        """Where in a flat array numbers are below a limit; None if nowhere."""

    def clamp(self, numbers: Array, low: float, high: float) -> None:
        """Bring numbers outside an interval to its ends, in place."""

    def store(self, numbers: Array, dtype: str, out: Array, spare: tuple[Array, Array]) -> None:
        """Round numbers to a narrower type."""


class NumpyArrays:
    """NumPy's. One block at a time, which stays in cache."""

    blocks = 1
    add = np.add
    subtract = np.subtract
    multiply = np.multiply
    divide = np.divide
    mask = np.bitwise_and
    xor = np.bitwise_xor
    square_root = np.sqrt

    def empty(self, dtype: str, count: int) -> Array:
        """Make room for `count` numbers."""
        return aligned(count, dtype)

    def steps(self, step: int, count: int) -> Array:
        """Make the multiples of a step by 0 to `count`, as words: here without a sign."""
        found = aligned(count, np.uint64)
        np.multiply(np.arange(count, dtype=np.uint64), np.uint64(step), found)
        return found

    def word(self, value: int) -> Array:
        """Make a scalar of 64 bits to compute with words."""
        return np.uint64(value)

    def scalar(self, dtype: str, value: float) -> Array:
        """Make a scalar of a type, rounded to it."""
        return np.dtype(dtype).type(value)

    def view(self, array: Array, dtype: str) -> Array:
        """See the same bytes as another type."""
        return array.view(dtype)

    def shift(self, words: Array, count: int, out: Array) -> None:
        """Shift words to the right; zeros come in."""
        np.right_shift(words, np.uint64(count), out)

    def convert(self, numbers: Array, out: Array) -> None:
        """Convert to the type of `out`, to the nearest, ties to even."""
        out[...] = numbers

    def minimum(self, one: Array, other: Array, out: Array) -> None:
        """Take the smaller of each two."""
        np.minimum(one, other, out=out)

    def below(self, numbers: Array, limit: float) -> Array | None:
        """Where in a flat array numbers are below a limit; None if nowhere."""
        return np.flatnonzero(numbers < limit) if numbers.min() < limit else None

    def clamp(self, numbers: Array, low: float, high: float) -> None:
        """Bring numbers outside an interval to its ends; to look first is the faster way."""
        if numbers.max() > high:
            numbers[numbers > high] = high
        if numbers.min() < low:
            numbers[numbers < low] = low

    def store(self, numbers: Array, dtype: str, out: Array, spare: tuple[Array, Array]) -> None:
        """Round numbers to a narrower type, as codes."""
        store(numbers, dtype, out, spare)


class TorchArrays:
    """PyTorch's, on one device. A GPU wants more at once."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self.blocks = 1 if self._device.type == "cpu" else 64
        self.add = _into(torch.add)
        self.subtract = _into(torch.sub)
        self.multiply = _into(torch.mul)
        self.divide = _into(torch.div)
        self.mask = _into(torch.bitwise_and)
        self.xor = _into(torch.bitwise_xor)
        self.minimum = _into(torch.minimum)

    def square_root(self, numbers: Array, out: Array) -> None:
        """Take the square root; on the CPU torch's own is MKL's, which is off by a bit at times."""
        if self._device.type == "cpu":
            np.sqrt(numbers.numpy(), out.numpy())
        else:
            self._torch.sqrt(numbers, out=out)

    def empty(self, dtype: str, count: int) -> Array:
        """Make room for `count` numbers; torch computes with signed words alone."""
        signed = "int64" if dtype == "uint64" else dtype
        return self._torch.empty(count, dtype=getattr(self._torch, signed), device=self._device)

    def steps(self, step: int, count: int) -> Array:
        """Make the multiples of a step by 0 to `count`, as words."""
        return self._torch.arange(count, device=self._device) * self.word(step)

    def word(self, value: int) -> Array:
        """Make a scalar of 64 bits to compute with words."""
        return value - (value >> 63 << 64)

    def scalar(self, dtype: str, value: float) -> Array:
        """Make a scalar of a type, rounded to it."""
        return np.dtype(dtype).type(value).item()

    def view(self, array: Array, dtype: str) -> Array:
        """See the same bytes as another type."""
        return array.view(getattr(self._torch, dtype))

    def shift(self, words: Array, count: int, out: Array) -> None:
        """Shift words to the right; the copies of the sign that come in are cleared."""
        self._torch.bitwise_right_shift(words, count, out=out)
        self._torch.bitwise_and(out, (1 << (64 - count)) - 1, out=out)

    def convert(self, numbers: Array, out: Array) -> None:
        """Convert to the type of `out`, to the nearest, ties to even."""
        out.copy_(numbers)

    def below(self, numbers: Array, limit: float) -> Array | None:
        """Where in a flat array numbers are below a limit; None if nowhere."""
        places = (numbers < limit).nonzero().flatten()
        return places if len(places) else None

    def clamp(self, numbers: Array, low: float, high: float) -> None:
        """Bring numbers outside an interval to its ends, in place."""
        numbers.masked_fill_(numbers > high, high).masked_fill_(numbers < low, low)

    def store(self, numbers: Array, dtype: str, out: Array, _spare: object) -> None:
        """Round numbers to a narrower type by torch's casts, which agree, in old versions too."""
        if dtype == "float8_e4m3fn":
            numbers.clamp_(-448, 448)
        out.copy_(numbers)


def _into(operation: Callable[..., torch.Tensor]) -> Binary:
    def call(one: Array, other: Array, out: Array) -> None:
        operation(one, other, out=out)

    return call
