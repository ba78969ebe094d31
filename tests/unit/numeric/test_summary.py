"""Statistics of every element type, against torch's own numbers summed exactly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from paramcli.numeric.codes import COMPLEX as PARTS
from paramcli.numeric.codes import values
from paramcli.numeric.moments import NOTHING
from paramcli.numeric.summary import Summary, measurable, summarize
from paramcli.tensors import DTYPES
from tests.torch_objects import needs
from tests.unit.numeric import reference
from tests.unit.numeric.reference import (
    COMPLEX,
    ORDINARY,
    QUANTIZED,
    SAFETENSORS,
    array_file,
    assert_moments,
    assert_same,
    assert_summary,
    cut_small,
    in_memory,
    made,
    numbers_of,
    safetensors,
    saved,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint


def only(checkpoint: Checkpoint, **options: Any) -> Summary:
    """Measure the one tensor of a checkpoint."""
    (found,) = summarize(checkpoint, checkpoint.entries, **options)
    return found


# --- every type ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 37, 70_000])
@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX, *QUANTIZED])
def test_every_type_in_a_file_of_torch(dtype: str, count: int, tmp_path: Path) -> None:
    tensor = made(dtype, count)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    assert checkpoint["w"].dtype.name == dtype
    assert measurable(checkpoint["w"])
    assert_summary(only(checkpoint), numbers_of(tensor))


@pytest.mark.parametrize("dtype", SAFETENSORS)
def test_every_type_in_safetensors(dtype: str, tmp_path: Path) -> None:
    tensor = made(dtype, 5000, seed=1)
    content = tensor.view(torch.uint8).numpy().tobytes()
    checkpoint = safetensors(tmp_path / "x", w=(SAFETENSORS[dtype], [50, 100], content))
    assert checkpoint["w"].dtype.name == dtype
    assert_summary(only(checkpoint), numbers_of(tensor))


def test_every_type_that_torch_has_is_measured_or_holds_no_numbers() -> None:
    every = {str(kind).removeprefix("torch.") for kind in vars(torch).values()
             if isinstance(kind, torch.dtype)}  # fmt: skip
    packed = {"float4_e2m1fn_x2", "quint4x2", "quint2x4"}
    measured = {*ORDINARY, *COMPLEX, *QUANTIZED, *packed}
    bare = {name for name in every - measured if name.startswith("bits")}
    shells = {f"{kind}{bits}" for kind in ("int", "uint") for bits in range(1, 8)}
    assert every <= measured | bare | shells
    for name in sorted(every):
        info = in_memory(np.zeros(8, np.uint8))[1]._replace(dtype=DTYPES[name])
        assert measurable(info) is (name in measured), name


def test_a_last_byte_that_is_partly_unused_is_not_measured() -> None:
    """Its other bits would count as elements."""
    info = in_memory(np.zeros(3, np.uint8))[1]
    assert not measurable(info._replace(dtype=DTYPES["quint4x2"]))
    assert measurable(info._replace(dtype=DTYPES["quint4x2"], shape=(6,)))


@pytest.mark.parametrize("layout", ["sparse_coo", "nested", "wrapper", "dtensor", "meta"])
def test_what_has_no_elements_of_its_own_is_not_measured(layout: str) -> None:
    _, info = in_memory(np.zeros(3))
    assert measurable(info)
    assert not measurable(info._replace(layout=layout))


def test_the_reference_is_torchs_float64() -> None:
    """The sums that everything here is held against, held against torch."""
    tensor = torch.from_numpy(np.random.default_rng(0).standard_normal(5000)) * 3 + 1
    want = reference.expected(tensor.numpy())
    assert want.mean == pytest.approx(float(tensor.mean()), rel=1e-12)
    assert want.std == pytest.approx(float(tensor.std(correction=0)), rel=1e-12)
    assert want.l2 == pytest.approx(float(torch.linalg.vector_norm(tensor)), rel=1e-12)
    whole = torch.arange(-7, 5000)
    assert reference.expected(whole.numpy())[1:4] == pytest.approx(
        [
            float(whole.double().mean()),
            float(whole.double().std(correction=0)),
            float(torch.linalg.vector_norm(whole.double())),
        ],
        rel=1e-12,
    )


# --- packed types --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [8, 24_000])
@pytest.mark.parametrize(
    ("written", "dtype", "bits"),
    [
        ("F4", "float4_e2m1fn", 4),
        ("F6_E2M3", "float6_e2m3fn", 6),
        ("F6_E3M2", "float6_e3m2fn", 6),
    ],
)
def test_packed_floats_of_safetensors(
    written: str, dtype: str, bits: int, count: int, tmp_path: Path
) -> None:
    """Code by code from the lowest bit up, across the bounds of bytes."""
    codes = np.random.default_rng(0).integers(0, 1 << bits, count)
    number = sum(int(code) << (bits * place) for place, code in enumerate(codes))
    content = number.to_bytes(count * bits // 8, "little")
    checkpoint = safetensors(tmp_path / "x", w=(written, [count // 8, 8], content))
    assert checkpoint["w"].dtype.name == dtype
    assert_summary(only(checkpoint), values(dtype)[codes])


@needs("float4_e2m1fn_x2")
def test_pairs_of_floats_in_one_byte_of_torch(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, 9000, np.uint8)
    tensor = torch.from_numpy(raw).view(torch.float4_e2m1fn_x2)
    numbers = values("float4_e2m1fn_x2")[np.stack([raw & 15, raw >> 4])]
    assert_summary(only(saved(tmp_path / "x.pt", w=tensor)), numbers)


# --- numbers that are hard -----------------------------------------------------------------------

TINY32, TINY64 = (float(np.finfo(kind).smallest_subnormal) for kind in (np.float32, np.float64))
MAX32, MAX64 = (float(np.finfo(kind).max) for kind in (np.float32, np.float64))
NEXT, HUGE = math.nextafter(1.0, 2.0), math.nextafter(1e300, math.inf)
HARD = {
    "one": [3.25], "a zero": [0.0], "minus zero": [-0.0], "zeros": [0.0, -0.0, -0.0],
    "equal": [0.1] * 1000, "equal and negative": [-7.3e11] * 777,
    "one nan": [math.nan], "all nan": [math.nan] * 9, "one inf": [math.inf],
    "only infinities": [math.inf, -math.inf, math.inf], "only minus infinities": [-math.inf] * 3,
    "nan and inf": [math.nan, math.inf, -math.inf], "one number": [math.nan, 2.5, -math.inf],
    "denormals": [TINY32 * k for k in range(-5, 9)],
    "extremes": [MAX32, -MAX32, TINY32, -TINY32, 1.0], "largest": [MAX32] * 3,
    "no negatives": [1.0, 2.0, 4.0], "only negatives": [-1.0, -2.0, -4.0],
    "odd bits": [0.1, 0.2, 0.3, 1e-9, 12345.678],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", HARD)
def test_hard_numbers(name: str, kind: str, tmp_path: Path) -> None:
    tensor = torch.tensor(HARD[name], dtype=torch.float64).to(getattr(torch, kind))
    assert_summary(only(saved(tmp_path / "x.pt", w=tensor)), numbers_of(tensor))


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_a_large_mean_beside_a_small_spread(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mean, spread = (1e6, 1e-3) if kind == "float64" else (1e3, 1.0)
    numbers = (mean + spread * rng.standard_normal(300_000)).astype(kind)
    checkpoint = saved(tmp_path / "x.pt", w=torch.from_numpy(numbers))
    found = only(checkpoint)
    want = reference.expected(numbers.astype(np.float64))
    assert found.real.std == pytest.approx(want.std, rel=1e-10)
    assert found.real.mean == pytest.approx(want.mean, rel=1e-14)


def test_a_large_mean_in_float32_is_that_of_what_is_stored(tmp_path: Path) -> None:
    numbers = (1e6 + 1e-3 * np.random.default_rng(0).standard_normal(300_000)).astype(np.float32)
    found = only(saved(tmp_path / "x.pt", w=torch.from_numpy(numbers)))
    assert (found.real.mean, found.real.std) == (1e6, 0.0)
    assert found.real.l2 == pytest.approx(1e6 * math.sqrt(300_000), rel=1e-14)
    numbers[::2] += np.float32(0.0625)
    found = only(saved(tmp_path / "x.pt", w=torch.from_numpy(numbers)))
    assert found.real.std == pytest.approx(0.03125, rel=1e-12)


DOUBLES = {
    "denormals": [TINY64 * k for k in range(9)], "a denormal": [0.0, TINY64],
    "largest": [MAX64], "both extremes": [MAX64, -MAX64], "neighbours": [1.0, NEXT],
    "neighbours many times": [1.0, NEXT] * 500, "neighbours, large": [1e300, HUGE],
    "beyond float32": [1e200, 1e199, -1e100], "below float32": [1e-200, 2e-200, 5e-201],
    "equal and huge": [1e200] * 5, "equal and tiny": [1e-200] * 5,
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBLES)
def test_doubles_beyond_what_float32_holds(name: str, tmp_path: Path) -> None:
    numbers = np.array(DOUBLES[name])
    found = only(array_file(tmp_path / "x", w=numbers))
    assert (found.real.min, found.real.max) == (numbers.min(), numbers.max())
    assert found.real.zeros == np.count_nonzero(numbers == 0)
    assert sum(found.histogram) == len(numbers)
    assert found.percentiles is not None
    assert found.percentiles["50"] == pytest.approx(np.median(numbers), rel=1e-14, abs=TINY64)


@pytest.mark.parametrize("name", ["largest", "equal and huge", "equal and tiny"])
def test_moments_of_doubles_beyond_what_their_squares_hold(name: str, tmp_path: Path) -> None:
    numbers = np.array(DOUBLES[name])
    assert_moments(only(array_file(tmp_path / "x", w=numbers)).real, numbers)


INTEGERS = {
    "neighbours": np.array([2**53, 2**53 + 1, 2**53 + 2]),
    "near each other and large": np.array([2**60 + 1, 2**60 + 300]),
    "nanoseconds": 1_700_000_000_000_000_000 + np.arange(2000),
    "milliseconds": 1_700_000_000_000 + np.arange(2000),
    "extremes": np.array([-(2**63), 2**63 - 1, 0]),
    "least": np.array([-(2**63)] * 3),
    "unsigned": np.array([2**64 - 1, 0, 2**63], np.uint64),
    "unsigned and large": np.array([2**64 - 1, 2**64 - 2], np.uint64),
    "unsigned, one": np.array([2**63], np.uint64),
    "unsigned, equal": np.array([2**64 - 1] * 7, np.uint64),
    "unsigned 32": np.array([2**32 - 1, 0, 2**31], np.uint32),
    "signed 32": np.array([-(2**31), 2**31 - 1, 5], np.int32),
    "seeds": np.random.default_rng(0).integers(0, 2**64, 500, np.uint64),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_at_the_ends_of_their_ranges(name: str, tmp_path: Path) -> None:
    """Their extremes are exact, which a float64 could not hold."""
    numbers: NDArray[Any] = INTEGERS[name]
    found = only(array_file(tmp_path / "x", w=numbers))
    want = reference.expected(numbers)
    if want.std < 1e-12 * abs(want.mean):  # as float64 they are hardly apart
        assert found.real[:1] + found.real[3:] == want[:1] + want[4:]
        assert found.real.mean == pytest.approx(want.mean, rel=1e-15)
        assert found.real.l2 == pytest.approx(want.l2, rel=1e-14)
    else:
        assert_moments(found.real, numbers)
    assert isinstance(found.real.max, int)
    assert sum(found.histogram) == len(numbers)


@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX, *QUANTIZED])
@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_nothing_in_it(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensor = made(dtype, 6)[:0].reshape(shape)
    assert only(saved(tmp_path / "x.pt", w=tensor)) == Summary(NOTHING)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("numbers", [[math.nan] * 3, [math.inf], [math.nan, -math.inf]])
def test_nothing_finite_in_a_complex_or_real_one(
    dtype: str, numbers: list[float], tmp_path: Path
) -> None:
    tensor = torch.tensor(numbers).to(getattr(torch, dtype))
    found = only(saved(tmp_path / "x.pt", w=tensor))
    assert found.real.n == 0
    assert found.real.nan == sum(map(math.isnan, numbers))
    assert found.real.positive_inf + found.real.negative_inf == sum(map(math.isinf, numbers))
    assert not found.percentiles


def test_complex_of_bfloat16() -> None:
    """A type of torch 2.14: as complex64 of the same numbers, which bfloat16 holds."""
    wide = made("bfloat16", 5000).to(torch.float32).numpy()
    narrow = (wide.view(np.uint32) >> 16).astype(np.uint16)
    found, known = (
        only(in_memory(array, dtype)[0])
        for array, dtype in (
            (narrow.view(np.uint32), "bcomplex32"),
            (wide.view(np.complex64), None),
        )
    )
    assert found.real.n > 1000
    assert_same(found, known)


def test_complex_elements_count_as_wholes(tmp_path: Path) -> None:
    nan, inf = math.nan, math.inf
    numbers = [0j, complex(-0.0, 0.0), 1j, 2 + 0j, complex(nan, 1), complex(inf, nan),
               complex(inf, 1), complex(0, -inf)]  # fmt: skip
    parts = torch.tensor([[number.real, number.imag] for number in numbers])
    for dtype, part in PARTS.items():
        if dtype not in COMPLEX:
            continue
        tensor = parts.to(getattr(torch, part)).view(getattr(torch, dtype))
        found = only(saved(tmp_path / "x.pt", w=tensor))
        assert found.imaginary is not None
        assert (found.real.n, found.imaginary.n) == (4, 4)
        assert (found.real.zeros, found.real.nan) == (2, 2)
        assert found.real.positive_inf + found.real.negative_inf == 2
        assert (found.real.mean, found.imaginary.mean) == (0.5, 0.25)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX, *QUANTIZED])
def test_percentiles_can_be_left_out(dtype: str, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", w=made(dtype, 3000))
    bare, full = only(checkpoint, percentiles=False), only(checkpoint)
    assert_same(bare, Summary(full.real, full.imaginary))
    assert bool(full.percentiles) is (dtype not in COMPLEX)


def test_progress_is_told_every_byte(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", a=torch.ones(10), b=torch.ones(4, 4)[:, 1],
                       c=torch.ones(0), d=torch.ones(3, dtype=torch.int8))  # fmt: skip
    told: list[int] = []
    summarize(checkpoint, checkpoint.entries, progress=lambda done, _: told.append(done))
    assert sum(told) == sum(info.nbytes for info in checkpoint) == 40 + 16 + 0 + 3
    assert min(told) >= 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bfloat16", "complex64"])
@pytest.mark.parametrize("constant", [False, True])
def test_progress_counts_every_pass(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, constant: bool
) -> None:
    tensor = torch.ones(900).to(getattr(torch, dtype)) if constant else made(dtype, 900)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    cut_small(monkeypatch, 96, 2)
    told: list[tuple[int, int]] = []
    summarize(checkpoint, checkpoint.entries, progress=lambda *now: told.append(now))
    passes = {"float32": 2, "float64": 4, "int64": 4}.get(dtype, 1)
    (total,) = {total for _, total in told}
    assert sum(done for done, _ in told) == total == passes * checkpoint["w"].nbytes


def test_many_tensors_come_out_in_their_order(tmp_path: Path) -> None:
    tensors = {f"t{i}": made(dtype, 10 + i, i) for i, dtype in enumerate(ORDINARY + COMPLEX)}
    tensors["view"] = torch.arange(20.0).reshape(4, 5)[:, ::2]
    checkpoint = saved(tmp_path / "x.pt", **tensors)
    entries = checkpoint.entries[::-1]
    for info, found in zip(entries, summarize(checkpoint, entries), strict=True):
        assert_summary(found, numbers_of(tensors[info.name]))


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_real_chunks_and_blocks(dtype: str, tmp_path: Path) -> None:
    """More than a block as it is, and a last block of less than a chunk."""
    from paramcli.numeric.blocks import BLOCK, CHUNK

    count = (BLOCK + CHUNK // 2) * 8 // DTYPES[dtype].bits
    numbers = np.arange(count, dtype=dtype)[::-1].copy()
    found = only(saved(tmp_path / "x.pt", w=torch.from_numpy(numbers)), workers=2)
    assert found.real.n == count
    assert (found.real.min, found.real.max, found.real.zeros) == (0, count - 1, 1)
    assert found.real.mean == pytest.approx((count - 1) / 2, rel=1e-12)
    assert found.real.std == pytest.approx(math.sqrt((count**2 - 1) / 12), rel=1e-12)
    assert found.percentiles == pytest.approx(
        {str(percent): percent / 100 * (count - 1) for percent in reference.PERCENTS},
        rel=1e-14,
    )
    assert sum(found.histogram) == count
