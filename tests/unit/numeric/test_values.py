"""Values and slices are NumPy's own, read through a view that never moves."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paramcli.errors import UsageError
from paramcli.numeric import values as room
from paramcli.numeric.codes import values
from paramcli.numeric.values import array, first_bad, nested, sliced
from tests.torch_objects import needs
from tests.unit.numeric.reference import (
    COMPLEX,
    FLOATS,
    ORDINARY,
    QUANTIZED,
    in_memory,
    made,
    numbers_of,
    safetensors,
    saved,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def counted(shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.arange(math.prod(shape), dtype=np.int64).reshape(shape)


# --- slices that NumPy takes ---------------------------------------------------------------------


@st.composite
def parts(draw: st.DrawFn, size: int) -> str:
    """One word of a slice: a position that is there, or a range that runs forwards."""
    if size and draw(st.booleans()):
        return str(draw(st.integers(-size, size - 1)))
    bound = st.none() | st.integers(-7, 7)
    start, stop = draw(bound), draw(bound)
    step = draw(st.none() | st.integers(1, 4))
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    return text if step is None and draw(st.booleans()) else f"{text}:{step or ''}"


@st.composite
def slices(draw: st.DrawFn, shape: tuple[int, ...]) -> str:
    """A whole slice: some of the words, perhaps dots in the place of the others."""
    words = [draw(parts(size)) for size in shape]
    if draw(st.booleans()):
        first = draw(st.integers(0, len(shape)))
        last = draw(st.integers(first, len(shape)))
        words[first:last] = ["..."]
    else:
        words = words[: draw(st.integers(1, len(shape)))] if shape else ["..."]
    space = draw(st.sampled_from(["", " ", "  "]))
    return f"{space},{space}".join(words)


@given(st.data(), SHAPES, st.booleans())
def test_any_slice_is_numpys(data: st.DataObject, shape: tuple[int, ...], turned: bool) -> None:  # noqa: FBT001
    whole = counted(shape).T if turned else counted(shape)
    text = data.draw(slices(whole.shape))
    want = eval(f"whole[{text}]", {"whole": whole})
    checkpoint, info = in_memory(whole)
    part = sliced(info, text)
    assert part.shape == want.shape
    np.testing.assert_array_equal(array(checkpoint, part), want)
    assert part.storage == info.storage


@given(st.data(), SHAPES)
def test_a_slice_of_a_slice(data: st.DataObject, shape: tuple[int, ...]) -> None:
    whole = counted(shape)
    checkpoint, info = in_memory(whole)
    want, view = whole, info
    for _ in range(2):
        text = data.draw(slices(want.shape))
        want = np.asarray(eval(f"want[{text}]", {"want": want}))
        view = sliced(view, text)
    np.testing.assert_array_equal(array(checkpoint, view), want)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0", [0, 1, 2, 3]), ("-1", [8, 9, 10, 11]), ("0,:2", [0, 1]), ("...,1", [1, 5, 9]),
        ("1:,::2", [[4, 6], [8, 10]]), ("...", counted((3, 4)).tolist()), ("2,3", 11),
        ("-2:-1,-1", [7]), ("9:", []), ("2:1", []), (" 1 , 0 : 2 ", [4, 5]), (":,:", "all"),
        ("1,2,...", 6), ("...,1,2", 6), ("::9", [[0, 1, 2, 3]]), ("-99:99,0", [0, 4, 8]),
    ],
)  # fmt: skip
def test_slices_by_hand(text: str, want: object) -> None:
    whole = counted((3, 4))
    checkpoint, info = in_memory(whole)
    expected = whole.tolist() if want == "all" else want
    assert nested(checkpoint, sliced(info, text)) == expected


# --- slices that are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("::-1", "the step -1 does not run forwards"), ("5:0:-2", "does not run forwards"),
        ("::0", "the step 0 does not run forwards"), ("0,::-1", "does not run forwards"),
        ("3", "3 is outside a dimension of 3"), ("-4", "-4 is outside a dimension of 3"),
        ("0,4", "4 is outside a dimension of 4"), ("99999999999999999999", "outside a dimension"),
        ("0,0,0", "more parts than 'w' has dimensions: 2"), (":,:,:", "has dimensions: 2"),
        ("...,0,0,0", "has dimensions: 2"), ("0,...,...", "more than one ..."),
        ("", "is no slice"), (",", "is no slice"), ("0,", "is no slice"), ("a", "is no slice"),
        ("1:2:3:4", "is no slice"), ("0.5", "is no slice"), ("None", "is no slice"),
        ("[0]", "is no slice"), ("0 1", "is no slice"), ("....", "is no slice"),
        ("1:x", "is no slice"), ("0;1", "is no slice"), ("--1", "is no slice"),
        ("9" * 5000, "is no slice"), ("True", "is no slice"), ("()", "is no slice"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, says: str) -> None:
    _, info = in_memory(counted((3, 4)))
    with pytest.raises(UsageError) as caught:
        sliced(info, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_has_no_parts() -> None:
    _, info = in_memory(np.array(3.0))
    for text in ("0", ":", "0,0"):
        with pytest.raises(UsageError, match="dimensions: 0"):
            sliced(info, text)
    assert sliced(info, "...") == info


@given(st.text("0123456789:,.- ab", max_size=12))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Where it is taken, NumPy takes it as well, and means the same."""
    whole = counted((3, 4, 2))
    checkpoint, info = in_memory(whole)
    try:
        part = sliced(info, text)
    except UsageError:
        return
    want = eval(f"whole[{_python(text)}]", {"whole": whole})
    np.testing.assert_array_equal(array(checkpoint, part), want)


def _python(text: str) -> str:
    """Write numbers as Python wants them: without leading zeros or spaces around."""
    import re

    return re.sub(r"\d+", lambda digits: str(int(digits[0])), text.strip())


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX, *QUANTIZED])
def test_arrays_hold_what_torch_holds(dtype: str, tmp_path: Path) -> None:
    tensor = made(dtype, 600, seed=3)
    checkpoint = saved(tmp_path / "x.pt", w=tensor.reshape(20, 30))
    found = array(checkpoint, checkpoint["w"])
    assert found.shape == (20, 30)
    np.testing.assert_array_equal(found, numbers_of(tensor).reshape(20, 30))
    assert found.dtype.kind.replace("u", "i") == numbers_of(tensor).dtype.kind.replace("u", "i")
    listed = nested(checkpoint, checkpoint["w"])
    assert listed == found.tolist() or np.isnan(numbers_of(tensor)).any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_come_back_from_json_as_they_were(dtype: str, tmp_path: Path) -> None:
    """Every bit of them: the shortest decimal that is read as the same number."""
    tensor = made(dtype, 2000, seed=4)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    listed = json.loads(json.dumps(nested(checkpoint, checkpoint["w"])))
    want = numbers_of(tensor)
    back = np.array(listed)
    np.testing.assert_array_equal(back, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(back[number]), np.signbit(want[number]))
    if dtype in ("float32", "float64"):
        same = torch.tensor(listed, dtype=torch.float64).to(tensor.dtype).numpy()
        assert same[number].tobytes() == tensor.numpy()[number].tobytes()


@given(numbers=arrays.arrays(st.sampled_from([np.float32, np.float64]), st.integers(0, 9)))
def test_any_float_comes_back_from_json(numbers: NDArray[Any]) -> None:
    checkpoint, info = in_memory(numbers)
    back = np.array(json.loads(json.dumps(nested(checkpoint, info))), numbers.dtype)
    np.testing.assert_array_equal(back, numbers)


def test_integers_are_not_rounded() -> None:
    numbers = np.array([2**64 - 1, 2**53 + 1], np.uint64)
    assert nested(*in_memory(numbers)) == [2**64 - 1, 2**53 + 1]
    assert nested(*in_memory(np.array([-(2**63)]))) == [-(2**63)]


# --- packed types --------------------------------------------------------------------------------


def packed(path: Path, name: str, codes: NDArray[Any]) -> tuple[Checkpoint, TensorInfo]:
    """Pack codes from the lowest bit up."""
    bits = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}[name]
    number = sum(int(code) << (bits * place) for place, code in enumerate(codes.ravel()))
    content = number.to_bytes(codes.size * bits // 8, "little")
    checkpoint = safetensors(path, w=(name, codes.shape, content))
    return checkpoint, checkpoint["w"]


PACKED = {"F4": "float4_e2m1fn", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn"}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize(
    "text", ["...", "0", "1", "-1", "1,3", "1,1:", ":,1:7", "1:", "::2", ":,::3", ":,5", "2,::2"]
)
def test_slices_of_packed_types(name: str, text: str, tmp_path: Path) -> None:
    """An element need not begin where a byte does."""
    codes = np.random.default_rng(1).integers(0, 16 if name == "F4" else 64, (3, 8))
    checkpoint, info = packed(tmp_path / "x", name, codes)
    want = values(PACKED[name])[eval(f"codes[{text}]", {"codes": codes})]
    part = sliced(info, text)
    assert part.shape == want.shape
    np.testing.assert_array_equal(array(checkpoint, part), want)


@needs("float4_e2m1fn_x2")
def test_pairs_in_a_byte_come_out_apart(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (3, 4), np.uint8)
    tensor = torch.from_numpy(raw).view(torch.float4_e2m1fn_x2)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    found = array(checkpoint, checkpoint["w"])
    assert found.shape == (3, 8)
    table = values("float4_e2m1fn_x2")
    np.testing.assert_array_equal(found[:, ::2], table[raw & 15])
    np.testing.assert_array_equal(found[:, 1::2], table[raw >> 4])
    row = array(checkpoint, sliced(checkpoint["w"], "1"))
    np.testing.assert_array_equal(row, found[1])


# --- how much ------------------------------------------------------------------------------------


def test_more_than_a_million_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, info = in_memory(np.zeros((1001, 1000), np.uint8))
    with pytest.raises(UsageError, match="1,001,000 values, too many to print") as caught:
        nested(checkpoint, info)
    assert "--slice" in (caught.value.hint or "")
    assert len(nested(checkpoint, sliced(info, ":1000"))) == 1000  # type: ignore[arg-type]
    monkeypatch.setattr(room, "MOST_VALUES", 5)
    with pytest.raises(UsageError):
        nested(*in_memory(np.zeros(6)))
    assert nested(*in_memory(np.zeros(5))) == [0.0] * 5


def test_more_than_a_million_are_refused_before_they_are_read() -> None:
    checkpoint, info = in_memory(np.zeros(1))
    vast = info._replace(shape=(1 << 50,), stride=(0,))
    with pytest.raises(UsageError, match="too many"):
        nested(checkpoint, vast)
    assert nested(checkpoint, sliced(vast, "7:9")) == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(0, 2**63), (0, 2**62), (2**61, 0, 2**61)])
def test_nothing_of_a_vast_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    """safetensors may hold it; it is empty, and no more than that."""
    checkpoint = safetensors(tmp_path / "x", w=("F32", shape, b""))
    try:
        found = nested(checkpoint, checkpoint["w"])
    except UsageError:
        return
    assert not np.asarray(found).size


# --- the first that is not finite ----------------------------------------------------------------

BAD: dict[str, list[complex]] = {
    "float32": [math.nan, math.inf, -math.inf], "float64": [math.nan, math.inf, -math.inf],
    "float16": [math.nan, math.inf, -math.inf], "bfloat16": [math.nan, math.inf, -math.inf],
    "float8_e5m2": [math.nan, math.inf, -math.inf], "float8_e4m3fn": [math.nan],
    "float8_e4m3fnuz": [math.nan], "float8_e5m2fnuz": [math.nan],
    "complex64": [complex(0, math.nan), complex(math.inf, 0)],
    "complex128": [complex(math.nan, 1), complex(1, -math.inf)],
}  # fmt: skip
VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda x: x,
    "turned": lambda x: x.transpose(0, 2),
    "skipping": lambda x: x[::2, 1:],
    "row": lambda x: x[1],
    "flat": lambda x: x.flatten(),
    "repeated": lambda x: x[:, :1].expand(-1, 4, -1),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", BAD)
def test_the_first_bad_index(dtype: str, view: str, tmp_path: Path) -> None:
    for seed, bad in enumerate(BAD[dtype]):
        base = np.ones((4, 3, 5), np.complex128)
        rng = np.random.default_rng(seed)
        for _ in range(3):
            base[tuple(rng.integers(0, base.shape))] = bad
        wide = base if "complex" in dtype else base.real.copy()
        tensor = VIEWS[view](torch.from_numpy(wide).to(getattr(torch, dtype)))
        checkpoint = saved(tmp_path / "x.pt", w=tensor)
        where = np.argwhere(~np.isfinite(numbers_of(tensor)))
        want = tuple(where[0].tolist()) if len(where) else None
        assert first_bad(checkpoint, checkpoint["w"]) == want


@needs("float8_e8m0fnu")
def test_the_one_code_of_a_scale_that_is_no_number(tmp_path: Path) -> None:
    tensor = torch.tensor([0, 254, 255, 255], dtype=torch.uint8).view(torch.float8_e8m0fnu)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    assert first_bad(checkpoint, checkpoint["w"]) == (2,)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "int8", "qint8"])
def test_integers_are_always_finite(dtype: str, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", w=made(dtype, 300))
    assert first_bad(checkpoint, checkpoint["w"]) is None


def test_of_a_number_and_of_nothing() -> None:
    assert first_bad(*in_memory(np.array(math.nan))) == ()
    assert first_bad(*in_memory(np.array(1.0))) is None
    assert first_bad(*in_memory(np.zeros((0, 3)))) is None
    assert first_bad(*in_memory(np.zeros((3, 0)))) is None


@pytest.mark.parametrize("most", [1, 4, 7, 30])
def test_however_many_rows_are_looked_at_together(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_VALUES", most)
    whole = np.zeros((11, 3))
    assert first_bad(*in_memory(whole)) is None
    whole[10, 1] = math.inf
    assert first_bad(*in_memory(whole)) == (10, 1)
    assert first_bad(*in_memory(whole.T)) == (1, 10)
    whole[5, 2] = math.nan
    assert first_bad(*in_memory(whole)) == (5, 2)
    assert first_bad(*in_memory(whole.T)) == (1, 10)
