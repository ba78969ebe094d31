"""The normal distribution function, exact to the last bit on every machine: decimals, no libm."""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext

__all__ = ["below"]

_DIGITS = 120
_FAR = 20
_ROOT_TWO_PI = Decimal(
    "2.50662827463100050241576528481104525300698674060993831662992357634229365460784197494659583837"
    "80572634129363704"
)


def below(x: float) -> Decimal:
    """Return P(Z < x) of a standard normal Z to about 30 digits of itself for |x| ≤ 20.

    Beyond it is 0 or 1. By Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/(3·5) + …).
    """
    if abs(x) > _FAR or math.isinf(x):
        return Decimal(int(x > 0))
    with localcontext(Context(prec=_DIGITS)):
        at = Decimal(x)
        square = at * at
        term = total = at
        odd = 1
        while abs(term) > Decimal(10) ** -_DIGITS:
            odd += 2
            term = term * square / odd
            total += term
        return Decimal("0.5") + total * (-square / 2).exp() / _ROOT_TWO_PI
