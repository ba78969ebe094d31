"""Bytes on a device as numbers: what `cpu` and `widen` do with NumPy, for tensors of torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paramcli.numeric.codes import CODED, COMPLEX, WIDE

if TYPE_CHECKING:
    import torch

    from paramcli.numeric.blocks import Block
    from paramcli.numeric.device import Device

__all__ = ["bits_of", "codes_of", "distances", "in_order", "numbers_of"]

_FLOATS = ("float64", "float32", "bfloat16", "float16")
_HIGH = -1 << 63
"""The upper bit of a word."""


def bits_of(raw: torch.Tensor, block: Block) -> torch.Tensor:
    """Elements of a block, or parts of complex ones, as signed integers of their width.

    Those of a byte, and bytes that several codes share, stay as they are.
    """
    import torch

    name = COMPLEX.get(block.dtype, block.dtype)
    width = np.dtype(WIDE[name]).itemsize if name in WIDE else -(-CODED[name] // 8)
    if block.swapped:
        raw = raw.view(-1, width).flip(1).reshape(-1)
    return raw if width == 1 else raw.view(getattr(torch, f"int{8 * width}"))


def codes_of(bits: torch.Tensor, dtype: str) -> torch.Tensor:
    """Codes of a counted type, each of them that shares a byte in its place."""
    import torch

    count = CODED[dtype]
    if count >= 8:
        return bits.int() & ((1 << count) - 1)
    if count == 6:  # four codes in three bytes, the first in the lowest bits
        first, second, third = bits.view(-1, 3).int().T
        bits = first | second << 8 | third << 16
    else:
        bits = bits.int()
    each = 4 if count == 6 else 8 // count
    codes = [bits >> count * place & ((1 << count) - 1) for place in range(each)]
    return torch.stack(codes, dim=1).view(-1)


def numbers_of(bits: torch.Tensor, dtype: str, device: Device) -> torch.Tensor:
    """Elements, or parts of complex ones, as float64: 64-bit integers rounded, all others exact."""
    import torch

    dtype = COMPLEX.get(dtype, dtype)
    if dtype in _FLOATS:
        return bits.view(getattr(torch, dtype)).double()
    if dtype in CODED:
        return device.table(dtype).index_select(0, codes_of(bits, dtype))
    if dtype == "uint32":
        return (bits.long() & 0xFFFFFFFF).double()
    return _unsigned(bits) if dtype == "uint64" else bits.double()


def in_order(bits: torch.Tensor, dtype: str) -> tuple[torch.Tensor, int]:
    """Integers in an order that signed words have, and what was taken from each for it."""
    if dtype == "uint32":
        return bits.long() & 0xFFFFFFFF, 0
    return (bits ^ _HIGH, 1 << 63) if dtype == "uint64" else (bits, 0)


def distances(a: torch.Tensor, b: torch.Tensor, dtype: str) -> torch.Tensor:
    """Sizes of the differences of 64-bit integers, of which each is rounded once."""
    import torch

    above = in_order(a, dtype)[0] > in_order(b, dtype)[0]
    return _unsigned(torch.where(above, a - b, b - a))


def _unsigned(words: torch.Tensor) -> torch.Tensor:
    """Words without a sign as float64: their sum alone is rounded."""
    return (words >> 32 & 0xFFFFFFFF).double() * 2.0**32 + (words & 0xFFFFFFFF).double()
