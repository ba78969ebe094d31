"""Rounding to narrow floats, held against torch's casts."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from paramcli.errors import UsageError
from paramcli.numeric.codes import values
from paramcli.schemes.rounding import NARROW, inside, store

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stored(numbers: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    out = np.empty(len(numbers), np.uint16 if NARROW[dtype].bits == 16 else np.uint8)
    spare = np.empty_like(numbers), np.empty_like(numbers)
    store(numbers.copy(), dtype, out, spare)
    return out


def cast(numbers: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    wide = torch.uint16 if NARROW[dtype].bits == 16 else torch.uint8
    made: NDArray[Any] = torch.from_numpy(numbers).to(getattr(torch, dtype)).view(wide).numpy()
    return made


def assert_same(numbers: NDArray[np.float32], dtype: str) -> None:
    """Assert that we and torch give the same codes, whichever NaN it is."""
    ours, theirs = stored(numbers, dtype), cast(numbers, dtype)
    real = np.isfinite(numbers)
    if torch.tensor(1e6).to(torch.float8_e4m3fn).isnan():  # old torch: what is too large is NaN
        real &= ~np.isnan(values(dtype)[theirs]) | np.isnan(values(dtype)[ours])
        ours, theirs, numbers, real = ours[real], theirs[real], numbers[real], real[real]
    np.testing.assert_array_equal(ours[real], theirs[real])
    np.testing.assert_array_equal(values(dtype)[ours], values(dtype)[theirs])


@pytest.mark.parametrize("dtype", NARROW)
def test_every_upper_half_of_a_float(dtype: str) -> None:
    tops = np.arange(1 << 16, dtype=np.uint32) << 16
    for below in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        assert_same((tops | np.uint32(below)).view(np.float32), dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_ties_and_their_neighbours(dtype: str) -> None:
    every = np.unique(values(dtype)[np.isfinite(values(dtype))])
    ties = ((every[1:] + every[:-1]) / 2).astype(np.float32)
    near = [np.nextafter(ties, np.float32(side)) for side in (-np.inf, np.inf)]
    for numbers in (every.astype(np.float32), ties, *near):
        assert_same(numbers, dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_random_patterns(dtype: str) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
    assert_same(bits.view(np.float32), dtype)


@pytest.mark.parametrize("dtype", [*NARROW, "float32", "float64"])
def test_bounds_are_the_outermost_numbers_inside(dtype: str) -> None:
    kind = getattr(torch, dtype)
    third = Fraction(1, 3)
    low, high = inside(dtype, -third, third)
    assert low == -high
    assert Fraction(high) <= third
    nearest = torch.tensor(float(third), dtype=torch.float64).to(kind).double().item()
    assert high <= nearest
    assert inside(dtype, -1, 1) == (-1, 1)
    assert inside(dtype, 0, 1, below_high=True)[1] < 1
    assert inside(dtype, -math.inf, math.inf) == (-math.inf, math.inf)


def test_what_has_no_number_inside() -> None:
    with pytest.raises(UsageError, match="no bfloat16 lies between"):
        inside("bfloat16", Fraction(1001, 1000), Fraction(1002, 1000))
    with pytest.raises(UsageError, match="no float32 lies between"):
        inside("float32", Fraction(10) ** 40, Fraction(10) ** 41)
