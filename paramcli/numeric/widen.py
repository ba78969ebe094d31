"""Elements of every type as float64, which holds all but the largest 64-bit integers exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paramcli.numeric.blocks import Block, Raw
    from paramcli.numeric.codes import Floats

    Elements = NDArray[Any]

__all__ = ["parts_of", "raw_elements", "widen"]


def raw_elements(raw: Raw, block: Block) -> Elements:
    """Elements as NumPy can hold them without computing anything, their bits as they are.

    Complex ones come as pairs, bfloat16 and float16 as integers, and several codes that share a
    byte as that byte.
    """
    order = ">" if block.swapped else "<"
    name = COMPLEX.get(block.dtype, block.dtype)
    if name in WIDE:
        return raw.view(f"{order}{WIDE[name]}")
    return raw.view(f"{order}u2") if CODED[name] == 16 else raw


_INTEGERS = {"int8": "i1", "qint8": "i1", "int16": "i2"}


def parts_of(raw: Raw, block: Block) -> Floats:
    """Real and imaginary parts of complex elements, side by side."""
    elements = raw_elements(raw, block)
    with np.errstate(invalid="ignore"):
        return widen(elements, block.dtype, np.empty(len(elements))).reshape(-1, 2)


def widen(elements: Elements, dtype: str, out: Floats) -> Floats:
    """Numbers of `raw_elements` as float64, in `out` as far as they reach.

    Within `np.errstate` of the caller's: signalling NaNs are no error.
    """
    dtype = COMPLEX.get(dtype, dtype)
    if dtype == "bfloat16":
        single = elements.astype(np.uint32)
        single <<= 16
        return _copied(single.view(np.float32), out)
    if dtype in _INTEGERS:
        order = elements.dtype.byteorder
        return _copied(elements.view(np.dtype(_INTEGERS[dtype]).newbyteorder(order)), out)
    bits = CODED.get(dtype, 8)
    if bits < 8:
        spread = [elements >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)]
        codes = np.stack(spread, axis=1).ravel() if bits != 6 else _sixes(elements)
        return np.take(values(dtype), codes, out=out[: len(codes)], mode="clip")
    if dtype == "float16" or dtype.startswith("float8") or dtype == "bool":
        return np.take(values(dtype), elements, out=out[: len(elements)], mode="clip")
    return _copied(elements, out)


def _copied(elements: Elements, out: Floats) -> Floats:
    found = out[: len(elements)]
    np.copyto(found, elements, casting="unsafe")
    return found


def _sixes(packed: Elements) -> Elements:
    """Four codes of six bits in three bytes, the first in the lowest bits."""
    first, second, third = packed.reshape(-1, 3).T.astype(np.uint32)
    word = first | second << 8 | third << 16
    return np.stack([word >> shift & 63 for shift in (0, 6, 12, 18)], axis=1).ravel()
