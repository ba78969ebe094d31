"""What the numbers of a tensor must come to, in exact arithmetic, and checkpoints to hold them."""

from __future__ import annotations

import json
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import paramcli
from paramcli.checkpoint import Checkpoint, in_parts
from paramcli.numeric import blocks, cpu, device, summary
from paramcli.numeric.moments import NOTHING
from paramcli.numeric.summary import Summary
from paramcli.tensors import DTYPES, Storage, TensorInfo
from tests import handmade, torch_objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from paramcli.numeric.moments import Moments

    Numbers = NDArray[Any]

PERCENTS = (1, 5, 25, 50, 75, 95, 99)
CLOSE = 1e-10
"""How far a mean, a standard deviation or a norm may be off, relative to itself."""


def known(*names: str) -> tuple[str, ...]:
    """Those of these element types that this torch has."""
    return tuple(name for name in names if hasattr(torch, name))


ORDINARY = known(
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
    "bool", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu",
)  # fmt: skip
"""Real element types whose numbers torch itself can tell."""
COMPLEX = known("complex64", "complex128", "complex32", "bcomplex32")
QUANTIZED = ("qint8", "quint8", "qint32")
FLOATS = tuple(name for name in ORDINARY if "float" in name)

SAFETENSORS = {
    "float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    **({"float8_e8m0fnu": "F8_E8M0"} if hasattr(torch, "float8_e8m0fnu") else {}),
    "complex64": "C64",
}  # fmt: skip


# --- tensors of every type -----------------------------------------------------------------------


def made(dtype: str, count: int, seed: int = 0) -> Tensor:
    """Make a tensor of many kinds of numbers, NaN and infinities and both zeros among them."""
    rng = np.random.default_rng(seed)
    if dtype in ("float32", "float64", "complex64", "complex128"):
        part = "float32" if dtype in ("float32", "complex64") else "float64"
        numbers = _floats(rng, count * (2 if dtype in COMPLEX else 1), np.dtype(part))
        return torch.from_numpy(numbers).view(getattr(torch, dtype))
    width = DTYPES[dtype].bits // 8
    if dtype in QUANTIZED:
        kind = np.dtype({"qint8": "i1", "quint8": "u1", "qint32": "i4"}[dtype])
        return quantized(np.frombuffer(rng.bytes(count * width), kind).copy())
    raw = rng.integers(0, 256, count * width, dtype=np.uint8)
    if dtype == "bool":
        raw &= 1
    elif width == 2 and count > 1 << 16:
        raw[: 2 << 16] = np.arange(1 << 16, dtype="<u2").view(np.uint8)
    elif width == 1 and count > 256:
        raw[:256] = np.arange(256)
    return torch.from_numpy(raw).view(getattr(torch, dtype))


def _floats(rng: np.random.Generator, count: int, dtype: np.dtype[Any]) -> Numbers:
    numbers = (rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)).astype(dtype)
    small = float(np.finfo(np.float32).smallest_subnormal) * 16
    for value in (0.0, -0.0, math.nan, math.inf, -math.inf, 3.5, small, -small / 16):
        numbers[rng.random(count) < 0.01] = value
    return numbers


def quantized(integers: Numbers, scale: float = 0.5, zero_point: int = 3) -> Tensor:
    """Make a quantized tensor that stores these int8, uint8 or int32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to give these types up
        return torch._make_per_tensor_quantized_tensor(
            torch.from_numpy(integers), scale, zero_point
        )


def numbers_of(tensor: Tensor) -> Numbers:
    """Return what torch says that the elements are: float64, complex128, or exact integers."""
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    tensor = tensor.detach()
    if tensor.is_complex():
        return np.asarray(tensor.to(torch.complex128).resolve_conj().numpy())
    if tensor.is_floating_point():
        return np.asarray(tensor.to(torch.float64).resolve_neg().numpy())
    return np.asarray(tensor.numpy())


# --- checkpoints of them -------------------------------------------------------------------------


def saved(path: Path, **tensors: Tensor) -> Checkpoint:
    """Save tensors with torch and open the file."""
    return paramcli.open(torch_objects.save(tensors, path))


def safetensors(path: Path, **tensors: tuple[str, Sequence[int], bytes]) -> Checkpoint:
    """Write (dtype as safetensors calls it, shape, bytes) by hand and open the file."""
    header: dict[str, object] = {}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        span = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": span}
        data += content
    return paramcli.open(handmade.written(path, handmade.safetensors(json.dumps(header), data)))


def array_file(path: Path, **arrays: Numbers) -> Checkpoint:
    """Write NumPy's arrays as safetensors and open the file."""
    names = {np.dtype(kind): SAFETENSORS[kind] for kind in (
        "float32", "float64", "int64", "int32", "uint32", "uint64", "complex64", "uint8", "bool",
    )}  # fmt: skip
    return safetensors(
        path, **{key: (names[x.dtype], x.shape, x.tobytes()) for key, x in arrays.items()}
    )


def in_memory(array: Numbers, dtype: str | None = None) -> tuple[Checkpoint, TensorInfo]:
    """Hold an array, by its strides, in a checkpoint that has to be unpacked."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    content = base.tobytes()
    width = array.itemsize
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    info = TensorInfo(
        "w", DTYPES[dtype or array.dtype.name], array.shape,
        tuple(step // width for step in array.strides), start // width,
        Storage("memory", 0, len(content)),
    )  # fmt: skip
    return Checkpoint(
        origin="memory", format="made", entries=(info,), unpack=in_parts(lambda _: content)
    ), info


def cut_small(monkeypatch: pytest.MonkeyPatch, chunk: int, per_block: int) -> None:
    """Look at files in chunks of so many bytes and blocks of so many chunks."""
    assert chunk % 12 == 0
    assert chunk % 16 == 0
    monkeypatch.setattr(blocks, "CHUNK", chunk)
    monkeypatch.setattr(summary, "CHUNK", chunk)
    monkeypatch.setattr(blocks, "BLOCK", chunk * per_block)
    monkeypatch.setattr(cpu, "FEW", min(cpu.FEW, chunk))
    monkeypatch.setattr(device, "_AT_ONCE", 44)


# --- what the numbers come to --------------------------------------------------------------------


class Expected(NamedTuple):
    """Statistics of the finite numbers, and counts of the others."""

    n: int
    mean: float
    std: float
    l2: float
    min: float
    max: float
    zeros: int
    negative_zeros: int
    nan: int
    positive_inf: int
    negative_inf: int


def expected(numbers: Numbers) -> Expected:
    """Compute everything anew: sums are exact, of integers as of floats."""
    flat = numbers.ravel()
    is_float = flat.dtype.kind == "f"
    finite = flat[np.isfinite(flat)] if is_float else flat
    zero = finite == 0
    counts = (
        int(zero.sum()),
        int(np.signbit(finite[zero]).sum()) if is_float else 0,
        *(int(x.sum()) if is_float else 0 for x in (
            np.isnan(flat), flat == math.inf, flat == -math.inf,
        )),
    )  # fmt: skip
    if not len(finite):
        return Expected(0, math.nan, math.nan, 0.0, math.inf, -math.inf, *counts)
    moments = _of_floats(finite.tolist()) if is_float else _of_integers(finite.tolist())
    return Expected(len(finite), *moments, finite.min().item(), finite.max().item(), *counts)


def _of_floats(numbers: list[float]) -> tuple[float, float, float]:
    n, largest = len(numbers), max(map(abs, numbers))
    scale = 2.0 ** (math.frexp(largest)[1] - 1) if largest else 1.0
    scaled = [x / scale for x in numbers]
    mean = math.fsum(scaled) / n
    off = math.fsum(x - mean for x in scaled)
    m2 = math.fsum((x - mean) ** 2 for x in scaled) - off * off / n
    l2 = math.sqrt(math.fsum(x * x for x in scaled))
    return mean * scale, math.sqrt(m2 / n) * scale, l2 * scale


def _of_integers(numbers: list[int]) -> tuple[float, float, float]:
    n, total, squares = len(numbers), sum(map(int, numbers)), sum(int(x) ** 2 for x in numbers)
    m2 = (n * squares - total * total) / n**2
    return total / n, math.sqrt(m2), math.sqrt(squares)


def assert_moments(found: Moments, numbers: Numbers) -> None:
    """Assert that means and norms are close, extremes and counts exact."""
    want = expected(numbers)
    assert (found.n, found.zeros, found.negative_zeros) == (want.n, want.zeros, want.negative_zeros)
    assert found[7:] == want[8:]
    assert (found.min, found.max) == (want.min, want.max)
    if want.n:
        assert_close(found.mean, want.mean, noise=want.l2 / math.sqrt(want.n))
        assert_close(found.std, want.std, noise=0.0 if want.std else abs(want.mean))
        assert_close(found.l2, want.l2)


def assert_close(found: float, want: float, noise: float = 0.0) -> None:
    """Assert closeness, relative to the number itself but for the rounding of far larger terms."""
    assert abs(found - want) <= CLOSE * abs(want) + 4e-16 * noise, (found, want)


def assert_percentiles(found: Summary, numbers: Numbers) -> None:
    """Assert that percentiles are NumPy's, but for the rounding of interpolation."""
    flat = np.asarray(numbers.ravel(), np.float64)
    finite = flat[np.isfinite(flat)]
    if not len(finite):
        assert not found.percentiles
        assert found.histogram == ()
        return
    assert found.percentiles is not None
    assert [*found.percentiles] == [str(percent) for percent in PERCENTS]
    below, want, above = (
        np.percentile(finite, PERCENTS, method=method) for method in ("lower", "linear", "higher")
    )
    rounding = 1e-14 * np.maximum(abs(below), abs(above)) + np.finfo(float).smallest_subnormal
    got = np.array([*found.percentiles.values()], np.float64)
    assert (abs(got - want) <= rounding).all(), (got, want)
    assert sum(found.histogram) == len(finite)
    own = numbers.ravel()[np.isfinite(flat)]  # large integers may differ where float64 does not
    assert len(found.histogram) == (40 if own.max() > own.min() else 1)


def assert_summary(found: Summary, numbers: Numbers) -> None:
    """Assert everything that is said of a tensor."""
    if numbers.dtype.kind != "c":
        assert found.imaginary is None
        assert_moments(found.real, numbers)
        assert_percentiles(found, numbers)
        return
    flat = numbers.ravel()
    if not len(flat):
        assert found == Summary(NOTHING)
        return
    nan = np.isnan(flat.real) | np.isnan(flat.imag)
    inf = (np.isinf(flat.real) | np.isinf(flat.imag)) & ~nan
    finite = flat[~(nan | inf)]
    assert found.imaginary is not None
    counts = {"zeros": int((finite == 0).sum()), "negative_zeros": 0}
    real, imaginary = found.real, found.imaginary
    assert (real.zeros, real.nan) == (counts["zeros"], int(nan.sum()))
    assert real.positive_inf + real.negative_inf == int(inf.sum())
    assert imaginary.finite
    for part, axis in ((real, finite.real), (imaginary, finite.imag)):
        want = expected(axis)
        zeros = {"zeros": want.zeros, "negative_zeros": want.negative_zeros}
        assert_moments(part._replace(nan=0, positive_inf=0, negative_inf=0, **zeros), axis)
    assert found.percentiles is None


def by_name(checkpoint: Checkpoint, found: Sequence[Summary]) -> Mapping[str, Summary]:
    """Put summaries beside the names of a checkpoint's tensors."""
    return dict(zip((info.name for info in checkpoint), found, strict=True))


def assert_same(found: Summary, whole: Summary) -> None:
    """Assert that only rounding differs, and that as little as merging makes it differ."""
    assert found.real.n == whole.real.n
    assert found.real[3:] == whole.real[3:]
    for one, other in ((found.real, whole.real), (found.imaginary, whole.imaginary)):
        assert (one is None) is (other is None)
        if one is not None and other is not None and one.n:
            assert one.mean == pytest.approx(other.mean, rel=1e-12, abs=1e-15 * other.l2)
            assert one.spread == pytest.approx(other.spread, rel=1e-12)
