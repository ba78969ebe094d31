"""docs/stream.md once more, a number at a time: the definition is complete."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest

from paramcli.schemes.draws import Normal, TruncatedNormal, Uniform
from paramcli.schemes.formulas import DOUBLE, SINGLE, Formulas
from paramcli.schemes.gaussian import below
from tests.unit.schemes.filled import KEY, filled
from tests.unit.schemes.test_stream import defined

PLACES = [0, 1, 2, 32_767, 32_768, 65_535, 65_536, 98_304, 1_000_001]
Number: TypeAlias = Any  # a scalar of either precision
LN_2 = 0.6931471805599453
UNIFORM, NORMAL = Uniform(-0.25, 1.5), Normal(0.5, 0.02)
CUT, FAR = TruncatedNormal(1.0, 2.0, -5.0, 5.0), TruncatedNormal(low=3.0, high=6.0)


class Defined:
    """The draws as they are defined, in one precision."""

    def __init__(self, formulas: Formulas) -> None:
        self.form = formulas
        self.kind = np.dtype(formulas.number).type
        self.top = 1 << (formulas.bits - 1)

    def integer(self, place: int) -> int:
        if self.form.bits == 64:
            found = defined(KEY, place)
        else:
            found = defined(KEY, place // 2) >> 32 * (place % 2) & 0xFFFFFFFF
        return found - 2 * self.top if found >= self.top else found

    def polynomial(self, factors: tuple[float, ...], x: np.floating) -> Number:
        total = self.kind(factors[-1])
        for factor in reversed(factors[:-1]):
            total = total * x + self.kind(factor)
        return total

    def log(self, x: Number, power: int) -> Number:
        form = self.form
        bits = int(np.asarray(x).view(form.integer)) - form.root_half - (power << form.mantissa)
        low = bits & (1 << form.mantissa) - 1
        exponent = self.kind(bits - low) * self.kind(-2 * LN_2 / 2**form.mantissa)
        f = np.asarray(low + form.root_half, form.integer).view(form.number)[()]
        s = (f - self.kind(1)) / (f + self.kind(1))
        return self.polynomial(form.log, s * s) * s + exponent

    def uniform(self, draw: Uniform, place: int) -> Number:
        width = self.kind((draw.high - draw.low) / self.top)
        return self.kind(self.integer(place) % self.top) * width + self.kind(draw.low)

    def normal(self, draw: Normal, place: int) -> Number:
        a, b = self.integer(place & ~32_768), self.integer(place | 32_768)
        r = np.sqrt(self.log(self.kind(a % self.top) + self.kind(0.5), self.form.bits - 1))
        r *= self.kind(draw.std)
        r = -r if a < 0 else r
        x = self.kind(b) * self.kind(self.form.angle / self.top)
        s = self.polynomial(self.form.sine, x * x) * x
        c = self.polynomial(self.form.cosine, x * x)
        q = r / (c * c + s * s)
        z = (q + q) * (s * c) if place & 32_768 else q * (c * c - s * s)
        return z + self.kind(draw.mean)

    def truncated(self, draw: TruncatedNormal, place: int) -> Number:
        k, form = self.integer(place) % self.top, self.form
        between = self.kind(2 * float(below(draw.high) - below(draw.low)) / self.top)
        half = self.kind(0.5)
        p = (self.kind(k) + half) * between + self.kind(2 * float(below(draw.low)))
        q = (self.kind(self.top - 1 - k) + half) * between + self.kind(2 * float(below(-draw.high)))
        t = np.sqrt(np.sqrt(np.sqrt(p * q))) - self.kind(1)
        z = self.polynomial(form.middle, t)
        if form.bits == 64:
            z /= self.polynomial(form.middle_under, t)
        z *= p - q
        if t < -0.5:
            r = np.sqrt(self.log(min(p, q), 1))
            z = self.polynomial(form.tail, r) / self.polynomial(form.tail_under, r)
            z = -z if p < q else z
        return z * self.kind(draw.std) + self.kind(draw.mean)


@pytest.mark.parametrize("formulas", [SINGLE, DOUBLE], ids=["float32", "float64"])
def test_draws_are_as_defined(formulas: Formulas) -> None:
    by = Defined(formulas)
    for place in [*PLACES, *range(100, 400)]:
        for draw, found in (
            (UNIFORM, by.uniform(UNIFORM, place)),
            (NORMAL, by.normal(NORMAL, place)),
            (CUT, by.truncated(CUT, place)),
            (FAR, by.truncated(FAR, place)),
        ):
            assert filled(draw, formulas.number, place, 1)[0] == found, (draw, place)
