"""From random bits to numbers: steps written once, which NumPy or torch takes bit for bit alike.

Element `i` takes integer `i` of its stream, 32 bits, or 64 for float64. Normals are made by the
formula of Box and Muller (1958), two at a time, from the integers of an element and of its partner
half a block away; truncated normals by the inverse of the distribution function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.schemes.stream import Words

if TYPE_CHECKING:
    from paramcli.schemes.arrays import Array, Arrays
    from paramcli.schemes.formulas import Formulas, Polynomial
    from paramcli.schemes.stream import Key

__all__ = ["HALF", "Steps", "Tails"]

HALF = 1 << 15
"""How far apart the two elements of a pair are; a block is two halves."""

_LN_2 = 0.6931471805599453


class Tails(NamedTuple):
    """Probabilities below, between and above two bounds, which sum to one."""

    below: float
    between: float
    above: float


class Steps:
    """The steps in one precision, with the memory on which they are taken."""

    def __init__(self, arrays: Arrays, formulas: Formulas) -> None:
        self._do = arrays
        self._form = formulas
        self._each = 64 // formulas.bits
        self.most = arrays.blocks * HALF
        """How many numbers can be drawn at once, and half as many as normals in whole blocks."""
        self._room = self.most // self._each + 1
        self._words = Words(arrays, 2 * self._room)
        self._floats = [arrays.empty(formulas.number, self.most) for _ in range(5)]
        self._result = arrays.empty(formulas.number, 2 * self.most)
        self._magnitude = self._integer((1 << (formulas.bits - 1)) - 1)
        self._sign = self._integer(-1 << (formulas.bits - 1))
        self._fraction = self._integer((1 << formulas.mantissa) - 1)
        self._exponent = self._integer(-1 << formulas.mantissa)
        self._root_half = self._integer(formulas.root_half)
        self._unit = 2.0 ** (1 - formulas.bits)

    def result(self, count: int) -> Array:
        """Memory for numbers that are still to be rounded."""
        return self._result[:count]

    def uniform(self, key: Key, start: int, out: Array, width: float) -> None:
        """Fill with numbers from 0 to `width`, both of them included."""
        do = self._do
        bits = do.view(self._floats[0][: len(out)], self._form.integer)
        do.mask(self._integers(key, start, len(out)), self._magnitude, bits)
        do.convert(bits, out)
        do.multiply(out, self._number(width * self._unit), out)

    def normal(self, key: Key, start: int, out: Array, std: float) -> None:
        """Fill whole blocks, or a part of one half of a block, with normals around 0."""
        count = len(out)
        if start % (2 * HALF) == 0 and count % (2 * HALF) == 0:
            pairs = self._integers(key, start, count).reshape(-1, 2, HALF)
            halves = out.reshape(-1, 2, HALF)
            self._pairs(pairs[:, 0], pairs[:, 1], halves[:, 0], halves[:, 1], std)
            return
        own = self._integers(key, start, count)
        other = self._integers(key, start ^ HALF, count, self._room)
        if start & HALF:
            self._pairs(other, own, None, out, std)
        else:
            self._pairs(own, other, out, None, std)

    def truncated(self, key: Key, start: int, out: Array, tails: Tails) -> None:
        """Fill with standard normals between two bounds; rounding may pass these by a little."""
        do, form = self._do, self._form
        lower, upper, apart, root, middle = (each[: len(out)] for each in self._floats)
        bits = do.view(middle, form.integer)
        width = self._number(2 * tails.between * self._unit)
        do.mask(self._integers(key, start, len(out)), self._magnitude, bits)
        self._probability(bits, width, self._number(2 * tails.below), lower)
        do.xor(bits, self._magnitude, bits)
        self._probability(bits, width, self._number(2 * tails.above), upper)
        do.subtract(lower, upper, apart)
        do.multiply(lower, upper, root)
        for _ in range(3):
            do.square_root(root, root)
        do.subtract(root, self._number(1.0), root)
        self._polynomial(form.middle, root, middle)
        if form.middle_under != (1.0,):
            self._polynomial(form.middle_under, root, out)
            do.divide(middle, out, middle)
        do.multiply(middle, apart, out)
        places = do.below(root, -0.5)
        if places is not None:
            out[places] = self._tail(lower[places], upper[places], apart[places])

    def scale(self, values: Array, factor: float) -> None:
        """Multiply in place."""
        if factor != 1:
            self._do.multiply(values, self._number(factor), values)

    def shift(self, values: Array, summand: float) -> None:
        """Add in place."""
        if summand:
            self._do.add(values, self._number(summand), values)

    def clamp(self, values: Array, bounds: tuple[float, float]) -> None:
        """Bring what rounding carried over a bound back to it, in place."""
        self._do.clamp(values, *map(self._number, bounds))

    def store(self, values: Array, dtype: str, out: Array) -> None:
        """Round `result` to a narrower type."""
        for start in range(0, len(out), self.most):
            part = values[start : start + self.most]
            spare = self._floats[0][: len(part)], self._floats[1][: len(part)]
            self._do.store(part, dtype, out[start : start + self.most], spare)

    def _integers(self, key: Key, start: int, count: int, place: int = 0) -> Array:
        """The integers of elements from `start`, signed; of two in a word, the lower half first."""
        first, end = start // self._each, -(-(start + count) // self._each)
        words = self._words.draw(key, first, end - first, place)
        skipped = start - first * self._each
        return self._do.view(words, self._form.integer)[skipped : skipped + count]

    def _pairs(
        self, first: Array, second: Array, cosines: Array | None, sines: Array | None, std: float
    ) -> None:
        """Make radii of the first integers and angles of the second ones."""
        do, form = self._do, self._form
        count = first.shape[0] * HALF if len(first.shape) > 1 else len(first)
        floats = [each[:count].reshape(first.shape) for each in self._floats]
        x, radius, sine, cosine, square = floats
        bits = do.view(sine, form.integer)
        do.mask(first, self._magnitude, bits)
        do.convert(bits, x)
        do.add(x, self._number(0.5), x)
        self._log(x, form.bits - 1, (cosine, sine), radius)
        do.square_root(radius, radius)
        self.scale(radius, std)
        # The angle covers half a circle, the sign the other half.
        bits, signs = do.view(radius, form.integer), do.view(sine, form.integer)
        do.mask(first, self._sign, signs)
        do.xor(bits, signs, bits)

        do.convert(second, x)
        do.multiply(x, self._number(form.angle * self._unit), x)
        do.multiply(x, x, square)
        self._polynomial(form.sine, square, sine)
        do.multiply(sine, x, sine)
        self._polynomial(form.cosine, square, cosine)
        # These are sine and cosine of half the angle, up to a common factor.
        do.multiply(sine, sine, square)
        do.multiply(sine, cosine, sine)
        do.multiply(cosine, cosine, cosine)
        do.add(cosine, square, x)
        do.divide(radius, x, radius)
        if cosines is not None:
            do.subtract(cosine, square, cosine)
            do.multiply(radius, cosine, cosines)
        if sines is not None:
            do.add(radius, radius, radius)
            do.multiply(radius, sine, sines)

    def _probability(self, bits: Array, width: Array, least: Array, out: Array) -> None:
        """Twice a probability: `least` and so many and a half times `width`."""
        do = self._do
        do.convert(bits, out)
        do.add(out, self._number(0.5), out)
        do.multiply(out, width, out)
        do.add(out, least, out)

    def _tail(self, lower: Array, upper: Array, apart: Array) -> Array:
        """Quantiles far from the mean, of probabilities that are used up."""
        do, form = self._do, self._form
        do.minimum(lower, upper, lower)
        radius, quantile = (do.empty(form.number, len(lower)) for _ in range(2))
        self._log(lower, 1, (upper, quantile), radius)
        do.square_root(radius, radius)
        self._polynomial(form.tail, radius, quantile)
        self._polynomial(form.tail_under, radius, upper)
        do.divide(quantile, upper, quantile)
        signs, bits = do.view(apart, form.integer), do.view(quantile, form.integer)
        do.mask(signs, self._sign, signs)
        do.xor(bits, signs, bits)
        return quantile

    def _log(self, x: Array, power: int, spare: tuple[Array, Array], out: Array) -> None:
        """-2 ln(x / 2^power) of normal positive numbers, which are used up."""
        do, form = self._do, self._form
        other, series = spare
        bits, exponents = do.view(x, form.integer), do.view(other, form.integer)
        do.subtract(bits, self._integer(form.root_half + (power << form.mantissa)), bits)
        do.mask(bits, self._exponent, exponents)
        do.mask(bits, self._fraction, bits)
        do.add(bits, self._root_half, bits)
        do.convert(exponents, out)
        do.multiply(out, self._number(-2 * _LN_2 * 2.0**-form.mantissa), out)
        do.add(x, self._number(1.0), other)
        do.subtract(x, self._number(1.0), x)
        do.divide(x, other, x)
        do.multiply(x, x, other)
        self._polynomial(form.log, other, series)
        do.multiply(series, x, series)
        do.add(series, out, out)

    def _polynomial(self, factors: Polynomial, x: Array, out: Array) -> None:
        """Horner's rule, from the constant term up; a leading 1 saves a product."""
        do = self._do
        *rest, last = factors
        if last == 1:
            do.add(x, self._number(rest.pop()), out)
        else:
            do.multiply(x, self._number(last), out)
            do.add(out, self._number(rest.pop()), out)
        for factor in reversed(rest):
            do.multiply(out, x, out)
            do.add(out, self._number(factor), out)

    def _number(self, value: float) -> Array:
        return self._do.scalar(self._form.number, value)

    def _integer(self, value: int) -> Array:
        return self._do.scalar(self._form.integer, value)
