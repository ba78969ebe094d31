"""The torch room of pairs gives what NumPy's gives: on torch's CPU always, on CUDA where it is."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from paramcli.errors import ParamcliError
from paramcli.numeric import device as devices
from paramcli.numeric.change import Tolerance
from paramcli.numeric.compare import comparable, compare
from paramcli.numeric.summary import summarize
from tests.unit.numeric.reference import (
    COMPLEX,
    ORDINARY,
    QUANTIZED,
    array_file,
    made,
    safetensors,
    saved,
)
from tests.unit.numeric.test_gpu import CUDA, DEVICES

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.change import Change

TOLERANCES = None, Tolerance(0.1, 0.1)
TYPES = [*ORDINARY, *COMPLEX]


def assert_rooms_agree(a: Checkpoint, b: Checkpoint, device: str) -> list[Change]:
    """Assert that all that can be compared gives the same, and return it."""
    pairs = [pair for pair in zip(a, b, strict=True) if comparable(*pair)]
    for tolerance in TOLERANCES:
        want = compare(a, b, pairs, tolerance=tolerance)
        found = compare(a, b, pairs, tolerance=tolerance, device=device)
        for one, other in zip(found, want, strict=True):
            assert one == pytest.approx(other, rel=1e-9, nan_ok=True)
            assert (one.n, one.changed, *one[-2:]) == (other.n, other.changed, *other[-2:])
    return want


@DEVICES
@pytest.mark.parametrize("at_once", [1 << 22, 44])
@pytest.mark.parametrize("dtype", [*TYPES, *QUANTIZED])
def test_every_type(
    dtype: str, at_once: int, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_AT_ONCE", at_once)
    one, other = made(dtype, 500, seed=1), made(dtype, 500, seed=2)
    a, b = saved(tmp_path / "a.pt", w=one), saved(tmp_path / "b.pt", w=other)
    assert assert_rooms_agree(a, b, device)
    assert all(not change.changed for change in assert_rooms_agree(a, a, device))


@DEVICES
@pytest.mark.parametrize("name", ["F4", "F6_E2M3", "F6_E3M2"])
def test_packed_types(name: str, device: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    count = 1200 * 8 // (4 if name == "F4" else 6)
    a, b = (
        safetensors(tmp_path / side, w=(name, [count], random.bytes(1200))) for side in ("a", "b")
    )
    assert assert_rooms_agree(a, b, device)


@DEVICES
def test_across_types(device: str, tmp_path: Path) -> None:
    pairs = list(combinations(TYPES, 2))
    a, b = (
        saved(
            tmp_path / f"{side}.pt",
            **{f"w{number}": made(pair[side], 60, side) for number, pair in enumerate(pairs)},
        )
        for side in (0, 1)
    )
    assert len(assert_rooms_agree(a, b, device)) > len(pairs) // 2


@DEVICES
@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint32"])
def test_integers_at_their_ends(dtype: str, device: str, tmp_path: Path) -> None:
    """Their differences may be no integers of their type, and none that float64 holds."""
    limits = np.iinfo(dtype)
    numbers = np.array([limits.min, limits.max, 0, 1, limits.max - 1, limits.max], dtype)
    a = array_file(tmp_path / "a", w=numbers)
    b = array_file(tmp_path / "b", w=np.roll(numbers, 1))
    (found,) = assert_rooms_agree(a, b, device)
    assert found.max_abs == float(int(limits.max) - int(limits.min))


@DEVICES
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "complex64"])
def test_odd_numbers(dtype: str, device: str, tmp_path: Path) -> None:
    """NaN against a number, and itself; infinities of both signs; squares too large, too small."""
    odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1e-30, 3e38]
    pairs = [(x, y) for x in odd for y in odd]
    a, b = (
        saved(
            tmp_path / f"{side}.pt",
            w=torch.tensor([pair[side] for pair in pairs]).to(getattr(torch, dtype)),
            v=torch.full((3,), math.nan).to(getattr(torch, dtype)),
            u=torch.full((3,), [1e-200, 2e-200][side], dtype=torch.float64),
            t=torch.full((3,), [1e200, 2e200][side], dtype=torch.float64),
            s=torch.tensor([1.0, math.inf, 2.0][side : side + 2]),
        )
        for side in (0, 1)
    )
    found, *_ = assert_rooms_agree(a, b, device)
    assert (found.nan, found.infinite) == (2 * 7, 2 * 6 + 2 * 5)


@pytest.mark.skipif(not CUDA, reason="there is no CUDA device here")
def test_on_cuda_whatever_it_holds(tmp_path: Path) -> None:
    """More than is computed at once, for more threads than one; read into memory that is kept."""
    a = saved(tmp_path / "a.pt", w=made("bfloat16", 5 << 22, 1), v=made("float32", 3 << 22, 2))
    b = saved(tmp_path / "b.pt", w=made("bfloat16", 5 << 22, 3), v=made("float32", 3 << 22, 4))
    assert_rooms_agree(a, b, "cuda")


def test_a_device_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 32.00 MiB.")

    monkeypatch.setattr(devices.Device, "put", put)
    checkpoint = saved(tmp_path / "a.pt", w=torch.ones(30_000))
    with pytest.raises(ParamcliError, match="its memory is full") as caught:
        summarize(checkpoint, checkpoint.entries, device="cpu:0")
    assert caught.value.hint
    with pytest.raises(ParamcliError, match="its memory is full"):
        compare(checkpoint, checkpoint, [(info, info) for info in checkpoint], device="cpu:0")
