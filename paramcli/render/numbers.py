"""Numbers of a tensor as they are read (short) and as they are kept (exact), and a sparkline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Number = int | float | complex | tuple[float, float] | None

__all__ = ["exact", "finite", "short", "sparkline"]

_WHOLE = 10**6  # integers below this are written out
_LEVELS = " ▁▂▃▄▅▆▇█"


def short(value: Number, digits: int = 4) -> str:
    """Write a number to so many significant digits: `0.1234`, `-1.5e-7`, `nan`, `2+1e10j`."""
    if value is None:
        return ""
    if isinstance(value, (tuple, complex)):
        real, imaginary = value if isinstance(value, tuple) else (value.real, value.imag)
        return joined(short(real, digits), short(imaginary, digits))
    if 0 < abs(value) < _WHOLE and value == int(value):
        return str(int(value))
    mantissa, mark, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def joined(real: str, imaginary: str) -> str:
    """Write the parts of a complex number as one, as Python does: `1-2j`."""
    return f"{real}{'' if imaginary.startswith('-') else '+'}{imaginary}j"


def exact(value: Number) -> str:
    """Write a number so that it reads back the same, nothing for None."""
    if isinstance(value, tuple):
        return joined(*map(repr, map(float, value)))
    if isinstance(value, complex):
        return joined(repr(value.real), repr(value.imag))
    return "" if value is None else repr(float(value) if isinstance(value, float) else value)


def finite(value: Number) -> bool:
    """Say whether no part of a number is NaN or infinite; None is."""
    if value is None or isinstance(value, int):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    return all(map(math.isfinite, value if isinstance(value, tuple) else (value.real, value.imag)))


def sparkline(counts: Sequence[int], cells: int) -> str:
    """Draw counts as bars in at most so many cells: blank for none at all, `▁` for the fewest.

    Counts of a bin that lies in two cells are split between them in proportion.
    """
    bins = len(counts)
    cells = min(cells, bins)
    heights = [  # all in units of 1/cells of a bin, so that no rounding lets an empty cell show
        sum(
            counts[number] * (min(right, (number + 1) * cells) - max(left, number * cells))
            for number in range(left // cells, -(-right // cells))
        )
        for left, right in ((cell * bins, (cell + 1) * bins) for cell in range(cells))
    ]
    top = max(heights, default=0)
    return "".join(_LEVELS[-(-8 * height // top)] for height in heights) if top else ""
