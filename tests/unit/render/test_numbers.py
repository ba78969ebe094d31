"""Numbers are short where they are read, exact where they are kept, and bars keep proportion."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.render.numbers import exact, finite, short, sparkline


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, ""),
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (999_999, "999999"),
        (1_000_000.0, "1e6"),
        (0.123456, "0.1235"),
        (-0.000123456, "-0.0001235"),
        (1.5e-7, "1.5e-7"),
        (2**63, "9.223e18"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ((0.5, -2.0), "0.5-2j"),
        (complex(math.nan, math.inf), "nan+infj"),
    ],
)
def test_short(number: complex | tuple[float, float] | None, shown: str) -> None:
    """Four digits, exponents without padding."""
    assert short(number) == shown


@given(st.floats())
def test_short_is_short(number: float) -> None:
    """No number is wider than its digits, sign, point and exponent, and none changes its sign."""
    text = short(number)
    assert len(text) <= len("-1.234e-308")
    assert math.isnan(number) or math.copysign(1, float(text)) == math.copysign(1, number)
    assert bool(float(text)) == bool(number)


@given(st.floats() | st.integers() | st.complex_numbers())
def test_exact(number: complex) -> None:
    """What is kept reads back as it was, real and imaginary part both."""
    back = complex(exact(number)) if isinstance(number, complex) else type(number)(exact(number))
    assert repr(back) == repr(number)
    assert exact(None) == ""


@given(st.complex_numbers())
def test_exact_pairs(number: complex) -> None:
    """A pair is the complex number of its parts."""
    assert exact((number.real, number.imag)) == exact(number)


def test_finite() -> None:
    """One part that is not spoils a complex number; what is not known spoils nothing."""
    for number in (None, 3, 2.5, 10**400, 1j, (0.0, 1.0)):
        assert finite(number)
    for bad in (math.nan, math.inf, complex(0, math.nan), (math.inf, 0.0)):
        assert not finite(bad)


@pytest.mark.parametrize(
    ("counts", "cells", "bars"),
    [
        ((), 10, ""),
        ((0, 0), 10, ""),
        ((5,), 10, "█"),
        ((0, 1, 1000), 10, " ▁█"),
        ((1, 2, 3, 4, 5, 6, 7, 8), 8, "▁▂▃▄▅▆▇█"),
        ((1,) * 40, 10, "█" * 10),
        ((1,) * 7, 3, "███"),
        ((8, 0, 0, 0, 4, 4), 3, "█ █"),
        ((4, 4, 4), 2, "██"),
    ],
)
def test_sparkline(counts: tuple[int, ...], cells: int, bars: str) -> None:
    """The highest is whole, none is blank, few are seen; even counts stay even."""
    assert sparkline(counts, cells) == bars


@given(st.lists(st.integers(0, 10**12), max_size=70), st.integers(1, 45))
def test_sparkline_fits(counts: list[int], cells: int) -> None:
    """Whatever the counts, there is room, and a full bar if anything was counted."""
    bars = sparkline(counts, cells)
    assert len(bars) == (min(cells, len(counts)) if any(counts) else 0)
    assert ("█" in bars) == any(counts)
