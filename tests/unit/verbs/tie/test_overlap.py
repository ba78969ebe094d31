"""How views lie to each other: held against the bytes that each of them touches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.tie.overlap import form_of
from tests import torch_objects
from tests.property.test_law2_save_and_open import touched

BASE = torch.arange(24.0)
MATRIX = BASE.reshape(4, 6)


def info(tensor: Tensor, name: str = "x") -> TensorInfo:
    dtype = DTYPES[str(tensor.dtype).removeprefix("torch.")]
    storage = Storage("file", 0, tensor.untyped_storage().nbytes())
    offset = int(tensor.storage_offset())
    return TensorInfo(name, dtype, tuple(tensor.shape), tensor.stride(), offset, storage)


@pytest.mark.parametrize(
    ("views", "form"),
    [
        ([MATRIX, MATRIX.detach()], "same"),
        ([MATRIX, MATRIX.t()], "transposed"),
        ([BASE.reshape(2, 3, 4), BASE.reshape(2, 3, 4).permute(2, 0, 1)], "transposed"),
        ([MATRIX, BASE], "reshaped"),
        ([BASE, BASE.view(torch.int32)], "recast"),
        ([BASE, BASE[::2]], "strided"),
        ([MATRIX, MATRIX[:, 1:3]], "strided"),
        ([BASE, BASE[3:9], BASE[4:6]], "nested"),
        ([BASE[:9], BASE[6:]], "overlap"),
        ([BASE[::2], BASE[::3]], "overlap"),
        ([BASE[::2], BASE[1::2]], "interleaved"),
        ([MATRIX[:, :2], MATRIX[:, 2:4], MATRIX[:, 4:]], "interleaved"),
        ([MATRIX[:, :3], MATRIX[:, 2:]], "overlap"),
    ],
)
def test_forms(views: list[Tensor], form: str) -> None:
    assert form_of([info(view) for view in views]) == form


def test_views_of_a_vast_storage_are_told_without_a_map() -> None:
    """What is too large to be painted is taken to meet, at once."""
    dtype, storage = DTYPES["float32"], Storage("file", 0, 1 << 50)
    for shape, stride in (((1 << 40,), (3,)), ((1 << 20, 1 << 20, 2), (1 << 22, 4, 2))):
        views = [TensorInfo("x", dtype, shape, stride, offset, storage) for offset in (0, 1)]
        assert form_of(views) == "overlap"


@st.composite
def pairs(draw: st.DrawFn) -> list[TensorInfo]:
    pool = draw(torch_objects.pools([torch.float32]))[:1]
    made = [info(draw(torch_objects.views(pool))) for _ in range(draw(st.integers(2, 4)))]
    return [one for one in made if one.numel]


@given(members=pairs())
def test_interleaved_is_what_has_no_byte_in_common(members: list[TensorInfo]) -> None:
    views = list({one.view: one for one in members}.values())
    if len(views) < 2:
        return
    bytes_of = [touched(one) for one in views]
    apart = sum(map(len, bytes_of)) == len(frozenset().union(*bytes_of))
    form = form_of(members)
    if form == "interleaved":
        assert apart
    elif form == "overlap":
        assert not apart
    else:
        whole = frozenset().union(*bytes_of)
        assert any(touched(one) == whole for one in views)
