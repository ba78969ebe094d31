"""The torch room gives what the NumPy room gives: on torch's CPU always, on CUDA where there is."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import paramcli
from paramcli.errors import ParamcliError
from paramcli.numeric.gpu import TorchRoom, open_device
from paramcli.numeric.summary import Summary, summarize
from tests import handmade
from tests.unit.numeric.reference import (
    COMPLEX,
    ORDINARY,
    QUANTIZED,
    array_file,
    assert_summary,
    cut_small,
    made,
    numbers_of,
    quantized,
    safetensors,
    saved,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.moments import Moments

CUDA = torch.cuda.is_available()
DEVICES = pytest.mark.parametrize("device", ["cpu:0", "cuda"] if CUDA else ["cpu:0"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch from starting threads that only wait for each other over small blocks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_alike(found: Summary, want: Summary) -> None:
    """Assert that all counts are the same, and means and spreads but for the order of sums."""
    assert_moments_alike(found.real, want.real)
    assert (found.imaginary is None) is (want.imaginary is None)
    if found.imaginary is not None and want.imaginary is not None:
        assert_moments_alike(found.imaginary, want.imaginary)
    assert found[2:] == want[2:]


def assert_moments_alike(found: Moments, want: Moments) -> None:
    assert (found.n, *found[3:]) == (want.n, *want[3:])
    noise = want.l2 / math.sqrt(want.n) if want.n else 0.0
    assert found.mean == pytest.approx(want.mean, rel=1e-12, abs=1e-15 * noise)
    assert found.spread == pytest.approx(want.spread, rel=1e-12, abs=1e-15 * noise * want.n)


def assert_rooms_agree(checkpoint: Checkpoint, device: str, **options: Any) -> list[Summary]:
    entries = checkpoint.entries
    want = summarize(checkpoint, entries, workers=1, **options)
    found = summarize(checkpoint, entries, device=device, **options)
    for one, other in zip(found, want, strict=True):
        assert_alike(one, other)
    return found


@DEVICES
@pytest.mark.parametrize("count", [1, 3000])
@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX, *QUANTIZED])
def test_every_type(dtype: str, count: int, device: str, tmp_path: Path) -> None:
    tensor = made(dtype, count, seed=5)
    (found,) = assert_rooms_agree(saved(tmp_path / "x.pt", w=tensor), device)
    assert_summary(found, numbers_of(tensor))


@DEVICES
@pytest.mark.parametrize("per_block", [1, 3])
@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX, *QUANTIZED])
def test_every_type_in_many_blocks(
    dtype: str, per_block: int, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch, 480, per_block)
    tensor = made(dtype, 500, seed=6)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    (found,) = assert_rooms_agree(checkpoint, device)
    assert_summary(found, numbers_of(tensor))
    assert_rooms_agree(checkpoint, device, percentiles=False)


@DEVICES
@pytest.mark.parametrize("name", ["F4", "F6_E2M3", "F6_E3M2"])
def test_packed_types(name: str, device: str, tmp_path: Path) -> None:
    raw = np.random.default_rng(0).bytes(12_000)
    count = 12_000 * 8 // (4 if name == "F4" else 6)
    assert_rooms_agree(safetensors(tmp_path / "x", w=(name, [count], raw)), device)


@DEVICES
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "complex64", "bfloat16"])
def test_views(dtype: str, device: str, tmp_path: Path) -> None:
    base = made(dtype, 600).reshape(20, 30)
    views = {"t": base.T, "skip": base[:, ::3], "again": base[:1].expand(9, 30), "zero": base[2, 3],
             "none": base[:0]}  # fmt: skip
    assert_rooms_agree(saved(tmp_path / "x.pt", **views), device)


@DEVICES
def test_the_other_byte_order(device: str, tmp_path: Path) -> None:
    for width, cls in (
        (4, "Float"),
        (8, "Double"),
        (8, "Long"),
        (2, "BFloat16"),
        (8, "ComplexFloat"),
    ):
        data = made("float32", 400).numpy().tobytes()
        count = len(data) // width
        of = handmade.storage(numel=count, cls=f"torch.{cls}Storage")
        root = {"w": handmade.tensor(of, (count,), (1,))}
        content = handmade.torch_zip(root, {"0": data}, byteorder=b"big")
        checkpoint = paramcli.open(handmade.written(tmp_path / cls, content))
        assert checkpoint.byteorder == "big"
        if cls not in ("Double", "ComplexFloat"):  # bytes by chance, whose squares overflow
            assert_rooms_agree(checkpoint, device)
        else:
            found, want = (
                summarize(checkpoint, checkpoint.entries, device=room)[0]
                for room in (device, "cpu")
            )
            assert found.real[3:] == want.real[3:]


@DEVICES
@pytest.mark.parametrize(
    "numbers",
    [[math.nan], [math.inf, -math.inf], [0.0, -0.0], [1e6], [math.nan, 1.0]],
)
@pytest.mark.parametrize("kind", ["float32", "float64", "complex64"])
def test_odd_numbers(
    kind: str, numbers: list[float], device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = saved(tmp_path / "x.pt", w=torch.tensor(numbers * 20).to(getattr(torch, kind)))
    assert_rooms_agree(checkpoint, device)
    cut_small(monkeypatch, 48, 2)
    assert_rooms_agree(checkpoint, device)


@DEVICES
@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint32"])
def test_integers_at_their_ends(dtype: str, device: str, tmp_path: Path) -> None:
    limits = np.iinfo(dtype)
    numbers = np.array([limits.min, limits.max, 0, 1, limits.max - 1], dtype)
    (found,) = assert_rooms_agree(array_file(tmp_path / "x", w=numbers), device)
    assert (found.real.min, found.real.max) == (limits.min, limits.max)


@DEVICES
def test_a_large_mean(device: str, tmp_path: Path) -> None:
    numbers = 1e6 + 1e-3 * np.random.default_rng(0).standard_normal(100_000)
    checkpoint = array_file(tmp_path / "x", w=numbers)
    (found,) = summarize(checkpoint, checkpoint.entries, device=device)
    assert_summary(found, numbers)


@DEVICES
def test_quantized_integers(device: str, tmp_path: Path) -> None:
    for kind in (np.int8, np.uint8, np.int32):
        tensor = quantized(np.arange(100).astype(kind))
        (found,) = assert_rooms_agree(saved(tmp_path / "x.pt", w=tensor), device)
        assert_summary(found, np.arange(100))


@pytest.mark.skipif(not CUDA, reason="there is no CUDA device here: all of this ran on the CPU")
def test_cuda_was_compared_too() -> None:
    assert isinstance(open_device("cuda"), TorchRoom)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamcliError, match="no CUDA device is available") as caught:
        open_device("cuda")
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ParamcliError, match="--device cuda needs PyTorch") as caught:
        open_device("cuda")
    assert caught.value.hint == "pip install torch"


def test_the_cpu_opens() -> None:
    assert isinstance(open_device("cpu:0"), TorchRoom)
