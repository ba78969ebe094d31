"""How two runs of numbers differ, in accumulators that merge in any grouping.

Norms are kept as roots and merged by `hypot`, so that no square ever overflows; one minus the
cosine is (‖a-b‖² - (‖a‖-‖b‖)²) / 2‖a‖‖b‖, which does not cancel where the two are nearly alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["NO_CHANGE", "Change", "Tolerance", "merge"]


class Tolerance(NamedTuple):
    """What counts as equal, as `torch.allclose(a, b)` has it: |a - b| <= atol + rtol * |b|."""

    atol: float = 0.0
    rtol: float = 0.0


class Change(NamedTuple):
    """Of `n` pairs of elements: how many changed, and by how much.

    `a`, `b` and `difference` are Euclidean norms over the pairs of which both are finite;
    `max_rel` is the largest |a - b| / |a|. Of the changed pairs `nan` have one NaN, and `infinite`
    an infinity and no NaN. Two NaN are equal, and so are two infinities of one sign.
    """

    n: int
    changed: int
    a: float
    b: float
    difference: float
    max_abs: float
    max_rel: float
    nan: int = 0
    infinite: int = 0

    @property
    def relative(self) -> float:
        """‖a-b‖ / ‖a‖: 0 where nothing differs, infinite where ‖a‖ is zero."""
        if not self.difference:
            return 0.0
        return self.difference / self.a if self.a else math.inf

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between both, None where one of them is zero."""
        if not self.a or not self.b:
            return None
        across, along = self.difference, self.a - self.b
        # The roots of both norms are taken apart, and the difference of squares is factored, so
        # that nothing here is larger or smaller than a float can be.
        root = math.sqrt(self.a) * math.sqrt(self.b)
        apart = (across - along) / root * ((across + along) / root) / 2
        return min(1.0, max(-1.0, 1.0 - apart))


NO_CHANGE = Change(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


def merge(one: Change, other: Change) -> Change:
    """Return what is said of both runs together."""
    return Change(
        one.n + other.n,
        one.changed + other.changed,
        math.hypot(one.a, other.a),
        math.hypot(one.b, other.b),
        math.hypot(one.difference, other.difference),
        max(one.max_abs, other.max_abs),
        max(one.max_rel, other.max_rel),
        one.nan + other.nan,
        one.infinite + other.infinite,
    )
