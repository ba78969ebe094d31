"""Every code of every narrow type stands for the number that torch or the specification gives."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values
from paramcli.tensors import DTYPES
from tests.unit.numeric.reference import quantized

TORCH_KNOWS = sorted(
    name for name, bits in CODED.items()
    if bits >= 8 and hasattr(torch, name) and not name.startswith(("q", "bool"))
)  # fmt: skip


@pytest.mark.parametrize("name", TORCH_KNOWS)
def test_torch_says_the_same_of_all_codes(name: str) -> None:
    bits = CODED[name]
    codes = torch.arange(1 << bits).to(torch.uint8 if bits == 8 else torch.uint16)
    want = codes.view(getattr(torch, name)).to(torch.float64).numpy()
    got = values(name)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))


def test_no_narrow_type_goes_unchecked() -> None:
    """What torch cannot tell is checked below."""
    by_hand = {
        "bool", "qint8", "quint8", "quint4x2", "quint2x4", "float4_e2m1fn", "float4_e2m1fn_x2",
        "float6_e2m3fn", "float6_e3m2fn",
    }  # fmt: skip
    assert len(TORCH_KNOWS) >= 10
    by_hand |= {"float8_e8m0fnu"} if not hasattr(torch, "float8_e8m0fnu") else set()
    assert by_hand | set(TORCH_KNOWS) == set(CODED)


def test_every_type_with_numbers_is_known() -> None:
    known = set(CODED) | set(WIDE) | set(COMPLEX)
    assert known <= set(DTYPES)
    plain = [name for name in DTYPES if not name.startswith(("bits", "int", "uint"))]
    assert known >= {*plain, *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))}


@pytest.mark.parametrize("name", ["qint8", "quint8"])
def test_quantized_integers_are_what_is_stored(name: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    stored = codes.view(np.int8) if name == "qint8" else codes
    np.testing.assert_array_equal(values(name), stored)
    tensor = quantized(stored.copy())
    assert str(tensor.dtype) == f"torch.{name}"
    np.testing.assert_array_equal(values(name), tensor.int_repr().numpy())


def test_any_byte_but_zero_is_true() -> None:
    assert values("bool").tolist() == [0.0] + [1.0] * 255


@pytest.mark.parametrize(("name", "bits"), [("quint4x2", 4), ("quint2x4", 2)])
def test_packed_integers_count_up(name: str, bits: int) -> None:
    assert values(name).tolist() == list(range(1 << bits))


# The OCP Microscaling formats, v1.0: exponent and mantissa bits, bias. No code is NaN or infinite.
MICROSCALED = [
    ("float4_e2m1fn", 2, 1, 1, 6.0), ("float4_e2m1fn_x2", 2, 1, 1, 6.0),
    ("float6_e2m3fn", 2, 3, 1, 7.5), ("float6_e3m2fn", 3, 2, 3, 28.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "exponent", "mantissa", "bias", "largest"), MICROSCALED)
def test_microscaling_formats(
    name: str, exponent: int, mantissa: int, bias: int, largest: float
) -> None:
    got = values(name)
    assert len(got) == 1 << (1 + exponent + mantissa)
    for code, number in enumerate(got.tolist()):
        digits = f"{code:0{1 + exponent + mantissa}b}"
        power, fraction = int(digits[1 : 1 + exponent], 2), int(digits[1 + exponent :], 2)
        part = Fraction(fraction, 1 << mantissa)
        if power == 0:
            size = part * Fraction(2) ** (1 - bias)
        else:
            size = (1 + part) * Fraction(2) ** (power - bias)
        assert abs(Fraction(number)) == size
        assert bool(np.signbit(number)) is (digits[0] == "1")
    assert np.isfinite(got).all()
    assert got.max() == largest
    assert got.min() == -largest


def test_four_bit_floats_as_the_specification_lists_them() -> None:
    assert values("float4_e2m1fn").tolist()[:8] == [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
