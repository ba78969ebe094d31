"""Grids: what is shown is right, what is left out is counted, and nothing passes for zero."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.render.page import Page
from paramcli.render.show.grid import grid

if TYPE_CHECKING:
    from collections.abc import Sequence


# The largest float rounds up, in four digits, to what would read back as infinity.
reals = st.floats(-1e308, 1e308) | st.sampled_from([math.nan, math.inf, -math.inf])


def drawn(values: object, room: int = 60) -> list[str]:
    return "".join(grid(values, Page(), room)).splitlines()


def nested(shape: Sequence[int], start: int = 0) -> object:
    """Number the elements of a shape in row-major order."""
    if not shape:
        return start
    size = math.prod(shape[1:])
    return [nested(shape[1:], start + size * at) for at in range(shape[0])]


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        (2.5, ["2.5000"]),
        (True, ["True"]),
        ([], ["(no elements)"]),
        ([[], []], ["(no elements)"]),
        ([1, -20, 300], ["  1  -20  300"]),
        ([1.0, -20.0], ["  1  -20"]),
        ([0.5, 0.25], ["0.5000  0.2500"]),
        ([0.012345, -0.00123], [" 0.01235  -0.00123"]),
        ([123.456, 1.0], ["123.5    1.0"]),
        ([0.5, 1e-9, 0.0], ["0.5000    1e-9  0.0000"]),
        ([0.5, -4.9e-5], [" 0.5000  -4.9e-5"]),
        ([1e-9, 2.5e-9], ["  1e-9  2.5e-9"]),
        ([1e30, 0.5], ["1e30   0.5"]),
        ([math.nan, 1.5, -math.inf], ["   nan  1.5000    -inf"]),
        ([math.inf, math.nan], ["inf  nan"]),
        ([1 + 2j, 0.5 - 1j], ["1.0000+2.0000j  0.5000-1.0000j"]),
        ([(0.5, math.nan)], ["0.5000+nanj"]),
        (["a\x1b", "b"], ["a\\x1b      b"]),
        ([[1, 2], [3, 4]], ["1  2", "3  4"]),
        ([[[1, 2]], [[3, 4]]], ["[0, :, :]", "1  2", "[1, :, :]", "3  4"]),
    ],
)
def test_small(values: object, lines: list[str]) -> None:
    """Points stand under each other, and only what is zero is written so."""
    assert drawn(values) == lines


def test_middles_are_left_out() -> None:
    """Rows, columns and blocks each say how many of them there are."""
    lines = drawn(nested((100, 30)), 40)
    assert lines[0] == "   0     1     2  …    27    28    29"
    assert lines[8] == "…"
    assert len(lines) == 18
    assert lines[-1] == "16 of 100 rows · 6 of 30 columns"
    lines = drawn(nested((3, 4, 1, 2)))
    assert [line for line in lines if line.startswith("[")] == [
        "[0, 0, :, :]", "[0, 1, :, :]", "[0, 2, :, :]",
        "[2, 1, :, :]", "[2, 2, :, :]", "[2, 3, :, :]",
    ]  # fmt: skip
    assert lines[-1] == "6 of 12 blocks"
    assert drawn(nested((5000,)))[-1] == "160 of 5,000 elements"


@given(st.lists(st.integers(0, 40), max_size=4).filter(lambda s: math.prod(s) < 5_000),
       st.integers(18, 100))  # fmt: skip
def test_every_number_is_in_order(shape: list[int], room: int) -> None:
    """What is shown is in row-major order, begins with the first and ends with the last."""
    count = math.prod(shape)
    lines = [line for line in drawn(nested(shape), room) if "of" not in line and "[" not in line]
    assert max(map(len, lines)) <= room
    shown = [int(text) for line in lines for text in re.findall(r"[0-9]+", line)]
    if not count:
        assert lines == ["(no elements)"]
        return
    assert shown == sorted(set(shown))
    assert shown[0] == 0
    assert shown[-1] == count - 1
    assert (len(shown) == count) == ("…" not in "".join(lines))


@given(st.lists(reals, min_size=1, max_size=30))
def test_close_enough(numbers: list[float]) -> None:
    """Each is near to what is written, no sign is lost, and only zero is zero."""
    texts = " ".join(drawn(numbers)).split()
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    for text, number in zip(texts, numbers, strict=True):
        written = float(text)
        assert bool(written) == bool(number)
        if math.isfinite(number):
            assert math.isclose(written, number, rel_tol=0.06, abs_tol=largest * 1e-3)
            assert math.copysign(1, written) == math.copysign(1, number)
        else:
            assert str(written) == str(number)


def test_large_values_take_little_time() -> None:
    """A million elements are not written one by one."""
    wide = [0.5] * 500_000
    assert drawn([wide, wide])[-1] == "7 of 500,000 columns"
    assert drawn(wide)[-1] == "80 of 500,000 elements"
