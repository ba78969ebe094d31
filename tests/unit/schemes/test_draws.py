"""Bounds, accuracy and refusals of the draws; what CUDA gives, where there is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paramcli.errors import UsageError
from paramcli.schemes.arrays import NumpyArrays, TorchArrays
from paramcli.schemes.draws import DTYPES, Draw, Filler, Normal, TruncatedNormal, Uniform
from paramcli.schemes.gaussian import below
from paramcli.schemes.steps import HALF
from paramcli.schemes.stream import Words
from tests.unit.schemes.filled import DRAWS, KEY, filled, numbers, raw

COUNT = 200_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "draw", [Uniform(), Uniform(-0.05, 0.05), Uniform(0.999, 1.0), Uniform(-3e38, -1e38)], ids=str
)
def test_uniform_never_reaches_its_upper_bound(draw: Uniform, dtype: str) -> None:
    try:
        found = numbers(draw, dtype, 0, COUNT)
    except UsageError as error:
        assert f"no {dtype} lies between" in str(error)  # noqa: PT017 - of some types alone
        return
    assert draw.low <= found.min()
    assert found.max() < draw.high


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [d for d in DRAWS if isinstance(d, TruncatedNormal)], ids=str)
def test_truncation_is_exact(draw: TruncatedNormal, dtype: str) -> None:
    found = numbers(draw, dtype, 0, COUNT)
    assert draw.mean + draw.std * draw.low <= found.min()
    assert found.max() <= draw.mean + draw.std * draw.high


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 6e-7), ("float64", 3e-15)], ids=["float32", "float64"]
)
@pytest.mark.parametrize(
    "bounds", [(-2, 2), (-3, 3), (4, 5), (-9, -8), (-5, 1), (-math.inf, math.inf)], ids=str
)
def test_quantiles_are_accurate(bounds: tuple[float, float], dtype: str, error: float) -> None:
    """Go back from the numbers to the integers they were made of."""
    count, bits = 3000, 63 if dtype == "float64" else 31
    low, high = bounds
    found = numbers(TruncatedNormal(low=low, high=high), dtype, 0, count).tolist()
    words = Words(NumpyArrays(), count).draw(KEY, 0, count)
    integers = words if dtype == "float64" else words.view(np.uint32)[:count]
    magnitudes = [integer & (1 << bits) - 1 for integer in integers.tolist()]
    under, between, over = float(below(low)), float(below(high) - below(low)), float(below(-high))
    for z, magnitude in zip(found, magnitudes, strict=True):
        lower = under + between * (magnitude + 0.5) / (1 << bits)
        upper = over + between * ((1 << bits) - magnitude - 0.5) / (1 << bits)
        # The smaller tail says where z is, to first order in its error.
        off = math.erfc(abs(z) / math.sqrt(2)) / 2 - min(lower, upper)
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        assert abs(off / density) < error * max(1, abs(z))


def test_the_distribution_function_is_exact() -> None:
    for x in np.linspace(-12, 12, 97).tolist():
        assert float(below(x)) == pytest.approx(math.erfc(-x / math.sqrt(2)) / 2, rel=1e-13)
    assert [float(below(x)) for x in (-math.inf, 0.0, math.inf)] == [0, 0.5, 1]


def test_normals_turn_with_their_mean_and_std() -> None:
    plain, moved = filled(Normal(), "float32", 0, COUNT), filled(Normal(3, 2), "float32", 0, COUNT)
    np.testing.assert_array_equal(plain * np.float32(2) + np.float32(3), moved)
    assert (filled(Normal(0.5, 0.0), "float32", 0, 10) == 0.5).all()


@pytest.mark.parametrize(
    ("draw", "dtype", "message"),
    [
        (Normal(), "int8", "int8 cannot be drawn"),
        (Normal(std=-1.0), "float32", "std -1.0"),
        (Normal(mean=math.nan), "float32", "mean nan"),
        (Uniform(1.0, 1.0), "float32", "from 1.0 to 1.0"),
        (Uniform(0.0, math.inf), "float32", "from 0.0 to inf"),
        (TruncatedNormal(low=2.0, high=-2.0), "float32", "from 2.0 to -2.0 sigma"),
        (TruncatedNormal(low=12.0, high=13.0), "float64", "less than one in"),
        (Uniform(1.001, 1.002), "bfloat16", "no bfloat16 lies between"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn(draw: Draw, dtype: str, message: str) -> None:
    Filler().fill(Normal(1.0, 1.0), "float32", KEY, 0, np.empty(1, np.float32))  # of equal numbers
    with pytest.raises(UsageError, match=message):
        Filler().fill(draw, dtype, KEY, 0, np.empty(1, np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("draw", [Uniform(), Normal(), TruncatedNormal()], ids=str)
def test_more_blocks_at_once_give_the_same_bytes(draw: Draw, dtype: str) -> None:
    """As on a GPU."""
    arrays = TorchArrays()
    arrays.blocks = 3
    start, count = 7, 9 * 2 * HALF + 5
    out = torch.empty(count, dtype=getattr(torch, dtype))
    Filler(arrays).fill(draw, dtype, KEY, start, out)
    assert raw(out) == raw(filled(draw, dtype, start, count))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", DRAWS, ids=str)
def test_cuda_gives_the_same_bytes(draw: Draw, dtype: str) -> None:
    out = torch.empty(COUNT, dtype=getattr(torch, dtype), device="cuda")
    Filler(TorchArrays("cuda")).fill(draw, dtype, KEY, 12_345, out)
    assert raw(out.cpu()) == raw(filled(draw, dtype, 12_345, COUNT))
