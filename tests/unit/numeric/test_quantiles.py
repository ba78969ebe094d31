"""Percentiles are NumPy's, exact for every type, however many elements there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paramcli.numeric import quantiles
from paramcli.numeric.quantiles import PERCENTS
from paramcli.numeric.summary import Summary, summarize
from tests.unit.numeric.reference import array_file, assert_percentiles, cut_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

FEW = settings(max_examples=settings().max_examples // 2)


@pytest.fixture
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few numbers as many as those of a large tensor."""
    cut_small(monkeypatch, 48, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantiles")


def measured(path: Path, numbers: NDArray[Any]) -> Summary:
    checkpoint = array_file(path, w=numbers)
    (found,) = summarize(checkpoint, checkpoint.entries)
    return found


def in_chunks(folder: Path, numbers: NDArray[Any], per_block: int = 2) -> Summary:
    """Measure numbers by radix selection, however few they are."""
    with pytest.MonkeyPatch.context() as patched:
        cut_small(patched, 48, per_block)
        return measured(folder / "x", numbers)


def exact(numbers: NDArray[Any]) -> dict[str, float]:
    """NumPy's percentiles of the finite ones."""
    finite = numbers[np.isfinite(numbers)].astype(np.float64)
    return {
        str(percent): value
        for percent, value in zip(PERCENTS, np.percentile(finite, PERCENTS).tolist(), strict=True)
    }


# --- float32: exact ------------------------------------------------------------------------------

few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, -1e-30, 3e38, -3e38, math.inf, math.nan])


@given(
    numbers=arrays.arrays(
        np.float32,
        st.integers(13, 200),
        elements=st.one_of(st.floats(width=32), few_values, st.floats(-4, 4, width=32)),
    ),
    per_block=st.integers(1, 4),
)
def test_any_float32(numbers: NDArray[np.float32], per_block: int, folder: Path) -> None:
    found = in_chunks(folder, numbers, per_block)
    if np.isfinite(numbers).any():
        for percent, want in exact(numbers).items():
            assert found.percentiles is not None
            got = found.percentiles[percent]
            assert got == pytest.approx(
                want, rel=1e-14, abs=1e-14 * float(np.ptp(_finite(numbers)))
            )
    assert_percentiles(found, numbers)


def _finite(numbers: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(numbers[np.isfinite(numbers)], np.float64)


@pytest.mark.usefixtures("many_chunks")
@pytest.mark.parametrize("count", [13, 100, 101, 1000, 12_345])
@pytest.mark.parametrize("kind", ["normal", "duplicates", "negative", "zeros", "spikes", "one"])
def test_float32_of_every_kind(kind: str, count: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    make: dict[str, Callable[[], NDArray[Any]]] = {
        "normal": lambda: rng.standard_normal(count),
        "duplicates": lambda: rng.integers(-3, 4, count) / 7,
        "negative": lambda: -rng.lognormal(0, 9, count),
        "zeros": lambda: rng.choice([0.0, -0.0, 1e-40, -1e-45], count),
        "spikes": lambda: np.where(rng.random(count) < 0.02, 1e30, rng.standard_normal(count)),
        "one": lambda: np.full(count, -0.1),
    }
    numbers = make[kind]().astype(np.float32)
    found = measured(tmp_path / "x", numbers)
    assert_percentiles(found, numbers)


def test_neighbours_in_one_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that differ in their last bits only, which the second pass must tell apart."""
    cut_small(monkeypatch, 4800, 2)
    bits = np.random.default_rng(0).permutation(60_000).astype(np.uint32)
    for base in (0x3F800000, 0xBF800000, 0x00000000, 0x80000000):
        numbers = (np.uint32(base) + bits).view(np.float32)
        found = measured(tmp_path / "x", numbers)
        assert found.percentiles == pytest.approx(exact(numbers), rel=1e-12, abs=0)


@pytest.mark.usefixtures("many_chunks")
def test_a_rank_at_the_edge_of_a_prefix(tmp_path: Path) -> None:
    """101 numbers: every percentile is one of them; 100: each lies between two, across prefixes."""
    for count in (100, 101):
        numbers = (2.0 ** np.arange(count) * 1e-15).astype(np.float32)
        found = measured(tmp_path / "x", numbers[::-1].copy())
        assert found.percentiles == pytest.approx(exact(numbers), rel=1e-12)


# --- wider types -------------------------------------------------------------------------------


@given(
    numbers=arrays.arrays(
        np.float64,
        st.integers(13, 200),
        elements=st.one_of(st.floats(), few_values, st.floats(1, 2)),
    )
)
def test_any_float64(numbers: NDArray[np.float64], folder: Path) -> None:
    assert_percentiles(in_chunks(folder, numbers), numbers)


@given(numbers=arrays.arrays(np.int64, st.integers(13, 200)), narrow=st.booleans())
def test_any_int64(numbers: NDArray[np.int64], narrow: bool, folder: Path) -> None:  # noqa: FBT001
    numbers = numbers % 1000 if narrow else numbers
    assert_percentiles(in_chunks(folder, numbers), numbers)


@pytest.mark.usefixtures("many_chunks")
@pytest.mark.parametrize("dtype", ["int32", "uint32", "uint64", "int64"])
def test_integers_over_their_whole_range(dtype: str, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    numbers = rng.integers(limits.min, limits.max, 500, dtype, endpoint=True)
    assert_percentiles(measured(tmp_path / "x", numbers), numbers)


RANGES = {
    "far beyond float32": np.geomspace(1e40, 1e300, 500),
    "beyond it on both sides": np.concatenate([-np.geomspace(1e39, 1e60, 99), np.arange(99.0)]),
    "far below float32": np.geomspace(1e-300, 1e-60, 500),
    "below it on both sides": np.linspace(-1e-50, 1e-50, 501),
    "denormals of float32": np.geomspace(1e-45, 1e-38, 500),
    "everything": np.concatenate([np.geomspace(1e-300, 1e300, 300), [-1e308, 1.5e308]]),
}


@pytest.mark.usefixtures("many_chunks")
@pytest.mark.parametrize("name", RANGES)
def test_doubles_that_float32_does_not_hold(name: str, tmp_path: Path) -> None:
    numbers = RANGES[name]
    assert_percentiles(measured(tmp_path / "x", numbers), numbers)


# --- small tensors, codes, histograms ------------------------------------------------------------


@given(
    numbers=arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint32]), st.integers(1, 6)
    )
)
@example(numbers=np.array([5e-324, 0.0]))  # half of the least number above zero is rounded
def test_a_tensor_of_one_chunk_has_numpys_own(numbers: NDArray[Any], folder: Path) -> None:
    found = measured(folder / "x", numbers)
    finite = _finite(numbers)
    assert bool(found.percentiles) is bool(len(finite))
    if len(finite) and np.isfinite(np.ptp(finite / 4)):
        assert_percentiles(found, numbers)


@given(numbers=st.lists(st.integers(-9, 9).map(lambda n: n / 4), min_size=1, max_size=60))
def test_counts_of_codes(numbers: list[float]) -> None:
    which, counts = np.unique(np.array(numbers), return_counts=True)
    found = quantiles.of_counts(which, counts)
    assert found == pytest.approx(exact(np.array(numbers)), rel=1e-14, abs=1e-14)


def test_of_nothing_there_are_none() -> None:
    nothing = dict.fromkeys(map(str, PERCENTS))
    assert quantiles.of_counts(np.zeros(0), np.zeros(0, np.int64)) == nothing
    assert quantiles.exact(np.zeros(0)) == nothing
    assert quantiles.histogram(np.zeros(0), np.zeros(0, np.int64), 0.0, 0.0) == ()


def test_a_histogram_counts_in_equal_bins() -> None:
    numbers = np.random.default_rng(0).standard_normal(5000)
    low, high = float(numbers.min()), float(numbers.max())
    found = quantiles.histogram(numbers, np.ones(5000, np.int64), low, high)
    want, _ = np.histogram(numbers, 40, (low, high))
    assert len(found) == 40
    assert np.abs(np.array(found) - want).sum() <= 2, "an edge may round to either side"
    twice = quantiles.histogram(numbers, np.full(5000, 2), low, high)
    assert twice == tuple(2 * count for count in found)


def test_the_ends_lie_in_the_first_and_last_bin() -> None:
    found = quantiles.histogram(np.array([0.0, 1.0]), np.array([3, 4]), 0.0, 1.0)
    assert (found[0], found[-1], sum(found)) == (3, 4, 7)


def test_numbers_all_the_same_fill_one_bin() -> None:
    assert quantiles.histogram(np.full(5, 2.0), np.ones(5, np.int64), 2.0, 2.0) == (5,)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (1.0, math.nextafter(1.0, 2.0)), (0.0, 5e-324), (-5e-324, 5e-324), (-1.7e308, 1.7e308),
        (2.0**53, 2.0**53 + 2), (1e300, math.nextafter(1e300, math.inf)), (-1e-310, 1e-310),
    ],
)  # fmt: skip
def test_bins_narrower_than_numbers_can_be(low: float, high: float) -> None:
    found = quantiles.histogram(np.array([low, high]), np.array([2, 3]), low, high)
    assert sum(found) == 5
    assert (found[0], found[-1]) == (2, 3)


@pytest.mark.parametrize(("low", "high"), [(2**63, 2**64 - 1), (-(2**63), 2**63 - 1), (7, 9)])
def test_bins_between_integers(low: int, high: int) -> None:
    numbers = np.array([low, high], np.float64)
    found = quantiles.histogram(numbers, np.array([2, 3]), low, high)
    assert (found[0], found[-1], sum(found)) == (2, 3, 5)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.04), ("float64", 0.0), ("int64", 0.0)])
@pytest.mark.parametrize("mean", [0, 10, 1000])
def test_the_histogram_of_many_chunks_is_nearly_that_of_all(
    dtype: str, error: float, mean: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An element of float32 may count for a neighbouring bin where the bins are wide."""
    cut_small(monkeypatch, 4800, 2)
    numbers = np.random.default_rng(0).standard_normal(20_000) + mean
    numbers = (numbers * (100 if dtype == "int64" else 1)).astype(dtype)
    found = measured(tmp_path / "x", numbers)
    want, _ = np.histogram(numbers.astype(np.float64), 40)
    assert sum(found.histogram) == 20_000
    assert np.abs(np.array(found.histogram) - want).sum() <= 20_000 * error + 4
