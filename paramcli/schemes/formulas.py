"""The constants of the formulas that turn random bits into numbers, for float32 and for float64.

Polynomials are listed from the constant term up. docs/stream.md says what each approximates, how
it was found and how far off it is; the constants are part of the stream, as they stand.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DOUBLE", "SINGLE", "Formulas", "Polynomial"]

Polynomial = tuple[float, ...]


class Formulas(NamedTuple):
    """How numbers of one width are computed.

    With s = (m - 1) / (m + 1) and m in [1/√2, √2): -2 ln m = s · log(s²).
    With x = `angle` · v, v in [-1, 1): tan(π v / 4) = -x · sine(x²) / cosine(x²) for float32, where
    the sign was given up for a leading 1, and without the minus for float64.
    With p a lower tail, q its upper one, y = 2p - 2q, t = ⁸√(4 p q) - 1: the normal quantile of p
    is y · middle(t) / middle_under(t) down to t = -1/2, 3.1 standard deviations from the mean.
    Beyond, with r = √(-2 ln p), p the smaller tail: it is ∓ tail(r) / tail_under(r).
    """

    number: str
    integer: str
    bits: int
    mantissa: int
    root_half: int  # the bits of 1/√2
    log: Polynomial
    angle: float
    sine: Polynomial
    cosine: Polynomial
    middle: Polynomial
    middle_under: Polynomial
    tail: Polynomial
    tail_under: Polynomial

    @property
    def half_range(self) -> float:
        """2 to the 31 or 63: where the magnitudes of the integers end."""
        return 2.0 ** (self.bits - 1)


SINGLE = Formulas(
    number="float32",
    integer="int32",
    bits=32,
    mantissa=23,
    root_half=0x3F3504F3,
    log=(-4.0000005, -1.3330454, -0.8258982),
    angle=0.0796341,
    sine=(-0.107325256, 1.0),
    cosine=(0.01088206, -0.4542288, 1.0),
    middle=(
        *(0.6266572, -1.3124326, 1.1804299, -0.08819171),
        *(-0.5996499, 1.5588132, 3.9747107, 1.714701),
    ),
    middle_under=(1.0,),
    tail=(-2.5842953, -0.877638, 1.8012995, 0.6504947, 0.035329618),
    tail_under=(1.0, 1.9754127, 0.6511721, 0.035325695),
)

DOUBLE = Formulas(
    number="float64",
    integer="int64",
    bits=64,
    mantissa=52,
    root_half=0x3FE6A09E667F3BCD,
    log=(
        *(-4.0, -1.333333333333353, -0.7999999999860468, -0.5714285752128336),
        *(-0.44444394113452096, -0.36367263360458657, -0.3062505629672838, -0.2961942072131055),
    ),
    angle=0.7853981633974483,
    sine=(1.0, -0.12828234899443972, 0.0028057933083781854, -7.482425768422473e-06),
    cosine=(1.0, -0.4616156823277706, 0.02334435408423923, -0.00020843011114319817),
    middle=(
        *(0.6266570686577502, 1.3803336089519422, 2.2062488484604352),
        *(1.8618588482357294, 0.901529332609058, 0.22244921459503356),
        *(-0.09836048972696781, 0.04222436283013979, -0.01102475926221647),
    ),
    middle_under=(
        *(1.0, 4.297088853073302, 10.63921771940219),
        *(17.35305637629562, 19.881919356233833, 16.294646435385573),
        *(9.14405230810657, 3.2598982027980465, 0.5677596308594549),
    ),
    tail=(
        *(-3.206757198443723, -9.15912290700448, 0.05620522221154773, 3.5779761573159994),
        *(2.3232093558189058, 1.2351433734193864, 0.2775668107289005, 0.02276142210095948),
        *(0.0006413309992398334, 4.7285594382772775e-06),
    ),
    tail_under=(
        *(1.0, 5.866425706196744, 6.379370173183571, 3.152606717419081),
        *(1.3249778491836717, 0.2808249834324084, 0.022793298911160224),
        *(0.0006413481611048498, 4.728535483962141e-06),
    ),
)
