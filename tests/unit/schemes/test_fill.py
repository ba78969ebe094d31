"""Laws in memory: any stretch is that of the whole, constants are exact, torch gets the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paramcli.errors import UsageError
from paramcli.numeric.codes import CODED, COMPLEX, values
from paramcli.schemes.arrays import TorchArrays
from paramcli.schemes.draws import DTYPES, Filler
from paramcli.schemes.fill import encode, fill
from paramcli.schemes.registry import SCHEMES
from paramcli.schemes.subject import Block
from tests.torch_objects import needs
from tests.unit.schemes.made import KEY, filled, law, memory, subject

if TYPE_CHECKING:
    from paramcli.schemes.subject import Subject

BLOCK = Block(1, 4, residual=True, branches=2)
MATRIX = subject(36, 24, name="h.1.in_proj_weight", block=BLOCK, parts=(12, 12, 12), base=(18, 12))
KERNEL = subject(12, 9, 3, 2, name="conv.weight")
BIAS = subject(40, name="lstm.bias_ih_l0", parts=(10, 10, 10, 10))
PADDED = subject(36, 24, name="embed.weight", padding=5)
EXAMPLES: dict[str, tuple[str, Subject]] = {
    **{name: (name, MATRIX) for name in SCHEMES},
    "constant": ("constant(0.125)", MATRIX),
    "sparse": ("sparse(0.3)", MATRIX),
    "dirac": ("dirac", KERNEL),
    "icnr": ("icnr", KERNEL),
    "delta_orthogonal": ("delta_orthogonal", KERNEL),
    "lstm_forget": ("lstm_forget", BIAS),
    "padding": ("normal", PADDED),
    "orthogonal kernel": ("orthogonal", KERNEL),
    "zero_residual elsewhere": ("zero_residual", MATRIX._replace(block=None)),
}
del EXAMPLES["model"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_stretch_is_that_of_the_whole(name: str, dtype: str) -> None:
    text, of = EXAMPLES[name]
    found, count = law(text, of), of.numel
    whole = filled(found, dtype, 0, count)
    again = filled(law(text, of), dtype, 0, count)
    assert again.tobytes() == whole.tobytes()
    made: dict[int, object] = {}
    for start, stop in [(0, 1), (1, 7), (7, 7), (7, count // 2 + 3), (count // 2 + 3, count)]:
        part = filled(found, dtype, start, stop, made=made)
        assert part.tobytes() == whole[start:stop].tobytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_stretch(data: st.DataObject) -> None:
    text, of = EXAMPLES[data.draw(st.sampled_from(sorted(EXAMPLES)))]
    start = data.draw(st.integers(0, of.numel))
    stop = data.draw(st.integers(start, of.numel))
    found = law(text, of)
    whole = filled(found, "float32", 0, of.numel)
    assert filled(found, "float32", start, stop).tobytes() == whole[start:stop].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_torch_gets_the_same(name: str, dtype: str) -> None:
    text, of = EXAMPLES[name]
    found = law(text, of)
    ours = filled(found, dtype, 0, of.numel)
    out = torch.empty(of.numel, dtype=getattr(torch, dtype))
    fill(found, dtype, KEY, 0, out, filler=Filler(TorchArrays()))
    assert out.view(torch.uint8).numpy().tobytes() == ours.tobytes()


HOLDS = [
    name for name in (*CODED, "float32", "float64", "int32", "int64", "uint32", "uint64")
    if not name.startswith(("q", "float4", "float6"))
]  # fmt: skip


@pytest.mark.parametrize("dtype", [
    *(pytest.param(name, marks=needs(name)) for name in HOLDS), *COMPLEX,
])  # fmt: skip
@pytest.mark.parametrize("text", ["zeros", "ones", "eye"])
def test_constants_are_exact_in_every_type(text: str, dtype: str) -> None:
    of = subject(3, 4)
    if dtype == "float8_e8m0fnu" and text != "ones":
        with pytest.raises(UsageError, match="cannot hold 0"):
            filled(law(text, of), dtype, 0, 12)
        return
    found = filled(law(text, of), dtype, 0, 12)
    expected = {"zeros": np.zeros, "ones": np.ones}.get(text, np.eye)(12 if text != "eye" else 3)
    if text == "eye":
        expected = np.eye(3, 4).ravel()
    if dtype == "bcomplex32":  # which torch has from 2.14 on
        assert not found.view(np.uint16)[1::2].any()
        found, dtype = found.view(np.uint16)[::2].copy(), "bfloat16"
    tensor = torch.from_numpy(found.view(np.uint8)).view(getattr(torch, dtype))
    if dtype == "complex32":
        tensor = tensor.to(torch.complex64)
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    assert wide.numpy().tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (0.5, "int32"), (-1, "uint8"), (128, "int8"), (2, "bool"), (1e5, "float16"),
        (2.0**64, "uint64"), (2.0**63, "int64"), (1e40, "float32"), (500, "float8_e4m3fn"),
        (3, "float8_e8m0fnu"), (0.5, "bool"),
    ],
)  # fmt: skip
def test_what_a_type_cannot_hold(value: float, dtype: str) -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        filled(law(f"constant({value})", subject(3)), dtype, 0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_are_rounded_as_torch_rounds(dtype: str) -> None:
    kind = getattr(torch, dtype)
    for value in (0.1, -3.3, 1 / 3, 1e-6):
        code = encode(np.array([value]), dtype)
        expected = torch.tensor([value], dtype=torch.float64).to(torch.float32).to(kind)
        if dtype == "float64":
            expected = torch.tensor([value], dtype=kind)
        assert code.tobytes() == expected.view(torch.uint8).numpy().tobytes()


def test_draws_refuse_what_is_not_floating() -> None:
    with pytest.raises(UsageError, match="int64 cannot be drawn"):
        fill(law("normal", MATRIX), "int64", KEY, 0, memory("int64", 4), filler=Filler())
    for dtype in ("qint8", "float4_e2m1fn_x2", "bits8"):
        with pytest.raises(UsageError, match="cannot be filled"):
            encode(np.zeros(1), dtype)


def test_what_a_constructor_gives_is_not_drawn() -> None:
    with pytest.raises(TypeError, match="constructor"):
        filled(law("model", MATRIX), "float32", 0, 4)


def test_tables_agree() -> None:
    assert values("bfloat16")[encode(np.ones(1), "bfloat16")] == 1
