"""The NumPy room of pairs: two blocks of numbers side by side, chunk by chunk."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paramcli.numeric.blocks import chunks
from paramcli.numeric.change import NO_CHANGE, Change, merge
from paramcli.numeric.codes import CODED, COMPLEX
from paramcli.numeric.memory import aligned
from paramcli.numeric.squares import squares
from paramcli.numeric.widen import raw_elements, widen
from paramcli.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from paramcli.numeric.blocks import Block
    from paramcli.numeric.change import Tolerance
    from paramcli.numeric.codes import Floats
    from paramcli.numeric.widen import Elements

    Mask = NDArray[np.bool_]

__all__ = ["CHUNK", "NumpyPairs", "PairOfBlocks", "change"]

CHUNK = 1 << 15
"""Elements that are compared together: as float64, three runs of them stay in cache."""
_EXACT = 1 << 53


class PairOfBlocks(NamedTuple):
    """The same elements of both tensors."""

    a: Block
    b: Block


class Memory(threading.local):
    """What pairs of `size` elements are laid out in, one for each thread.

    It is used again and again: memory that is asked for anew comes page by page, which took a
    quarter of the time.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        parts = 2 * size  # a complex number has two
        self.raw = bytearray(16 * size), bytearray(16 * size)
        self.wide = aligned(parts, np.float64), aligned(parts, np.float64)
        self.difference = aligned(parts, np.float64)
        self.unlike = aligned(parts, np.bool_)


class NumpyPairs:
    """The NumPy room."""

    threads = False

    def __init__(self) -> None:
        self._memory = Memory(CHUNK)

    def compare(self, pair: PairOfBlocks, tolerance: Tolerance | None) -> Change:
        """Compare two blocks chunk by chunk."""
        total = NO_CHANGE
        for found in self._changes(pair, tolerance):
            total = merge(total, found)
        return total

    def differs(self, pair: PairOfBlocks, tolerance: Tolerance | None) -> bool:
        """Whether any element changed."""
        return any(found.changed for found in self._changes(pair, tolerance))

    def _changes(self, pair: PairOfBlocks, tolerance: Tolerance | None) -> Iterator[Change]:
        step = 2 if pair.a.dtype in COMPLEX else 1
        scratch = self._memory.difference
        with np.errstate(all="ignore"):
            for a, b, unlike, difference in _side_by_side(pair, self._memory):
                yield change(a, b, unlike, tolerance, scratch, step=step, difference=difference)


class _Numbers(NamedTuple):
    """The same elements of both as numbers, and which have other bits; see `change`."""

    a: Floats
    b: Floats
    unlike: Mask
    difference: Floats | None


def _side_by_side(pair: PairOfBlocks, memory: Memory) -> Iterator[_Numbers]:
    """Yield both blocks by `memory.size` elements at a time; the next ones overwrite the last."""
    sizes = [DTYPES[block.dtype].nbytes(memory.size) for block in pair]
    first, second = memory.wide
    same = pair.a.dtype == pair.b.dtype and CODED.get(pair.a.dtype, 8) >= 8
    for raws in zip(*map(chunks, pair, sizes, memory.raw), strict=True):
        one, other = map(_native, map(raw_elements, raws, pair))
        a, b = widen(one, pair.a.dtype, first), widen(other, pair.b.dtype, second)
        bits = (one, other) if same else (a, b)
        left, right = map(_as_bits, bits)
        mask = np.not_equal(left, right, out=memory.unlike[: len(left)])
        yield _Numbers(a, b, mask, _exact(one, other) if same else None)


def _as_bits(elements: Elements) -> Elements:
    return elements.view(f"u{elements.itemsize}")


def _native(elements: Elements) -> Elements:
    return elements.astype(elements.dtype.newbyteorder("="), copy=False)


def _exact(one: Elements, other: Elements) -> Floats | None:
    """Sizes of the differences of integers that float64 does not hold; None where it does."""
    if one.dtype.kind not in "iu" or one.itemsize < 8:
        return None
    if all(each.min() >= -_EXACT and each.max() <= _EXACT for each in (one, other)):
        return None
    apart = np.where(one > other, one - other, other - one)  # wraps to the right unsigned number
    return apart.view(np.uint64).astype(np.float64)


def change(  # noqa: PLR0913 - two runs, what is known of them, and room to work in
    a: Floats,
    b: Floats,
    unlike: Mask,
    tolerance: Tolerance | None,
    scratch: Floats,
    *,
    step: int = 1,
    difference: Floats | None = None,
) -> Change:
    """Compare two runs of numbers; `b` is overwritten.

    `unlike` says which have other bits. `step` is 2 for complex numbers, given as pairs of parts;
    `difference` is a - b where that is known better than float64 can tell.
    """
    n = len(a) // step
    changed = int(np.count_nonzero(unlike))
    if not changed:
        norm = _norm(a)
        if math.isfinite(norm):
            return Change(n, 0, norm, norm, 0.0, 0.0, 0.0)
    if difference is None:
        difference = np.subtract(a, b, out=scratch[: len(a)])
    norm = _norm(difference)
    if not math.isfinite(norm):
        both = _whole(np.isfinite(a) & np.isfinite(b), step)
        if not both.all():
            return _with_odd_ones(a, b, unlike, tolerance, step, both, difference)
    norms = _norm(a), _norm(b), norm
    if tolerance is not None:
        unlike = unlike & ~_close(difference, b, tolerance, step)
    if tolerance is not None or step != 1:
        changed = int(np.count_nonzero(~_whole(~unlike, step)[::step]))
    if step == 1:
        sizes, relative = difference, np.divide(difference, a, out=b)
    else:
        sizes = _moduli(difference)
        relative = sizes / _moduli(a)
    most = _largest(relative)
    if math.isnan(most):  # nought by nought, where both are zero
        most = float(np.fmax.reduce(np.abs(relative), initial=0.0))
    return Change(n, changed, *norms, _largest(sizes), most)


def _largest(numbers: Floats) -> float:
    """The largest size: two looks at the numbers are faster than a copy of their sizes."""
    return max(float(numbers.max()), -float(numbers.min()))


def _with_odd_ones(  # noqa: PLR0913, PLR0917 - as above
    a: Floats,
    b: Floats,
    unlike: Mask,
    tolerance: Tolerance | None,
    step: int,
    both: Mask,
    difference: Floats,
) -> Change:
    """Compare what is finite on both sides, and count what is not apart."""
    a_nan, b_nan = (~_whole(~np.isnan(x), step) for x in (a, b))
    odd = ~_whole(~unlike, step) & ~both & ~(a_nan & b_nan)
    nan = int(np.count_nonzero(odd & (a_nan | b_nan))) // step
    infinite = int(np.count_nonzero(odd)) // step - nan
    found = NO_CHANGE
    if both.any():
        found = change(
            a[both], b[both], unlike[both], tolerance, np.empty(len(a)),
            step=step, difference=difference[both],
        )  # fmt: skip
    return found._replace(
        n=len(a) // step, changed=found.changed + nan + infinite, nan=nan, infinite=infinite
    )


def _whole(mask: Mask, step: int) -> Mask:
    """Where a mask holds for every part of a number, for each of its parts."""
    return mask if step == 1 else mask.reshape(-1, step).all(axis=1).repeat(step)


def _moduli(parts: Floats) -> Floats:
    found: Floats = np.hypot(parts[::2], parts[1::2])
    return found


def _close(difference: Floats, b: Floats, tolerance: Tolerance, step: int) -> Mask:
    if step == 1:
        return np.abs(difference) <= tolerance.atol + tolerance.rtol * np.abs(b)
    close = _moduli(difference) <= tolerance.atol + tolerance.rtol * _moduli(b)
    return close.repeat(step)


def _norm(numbers: Floats) -> float:
    """The Euclidean norm, also where the squares are no float64: NaN where a number is."""
    total = squares(numbers)
    if 1e-270 < total < math.inf or math.isnan(total):
        return math.sqrt(total)
    largest = float(np.abs(numbers).max()) if len(numbers) else 0.0
    if not largest or not math.isfinite(largest):
        return largest
    scaled = numbers / largest
    return math.sqrt(squares(scaled)) * largest
