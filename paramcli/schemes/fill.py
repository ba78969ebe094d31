"""A law put into memory: any stretch of a tensor, in any type that can hold it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from paramcli.errors import UsageError
from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values
from paramcli.schemes.law import Constant, Given, Marked, Whole
from paramcli.schemes.rounding import NARROW, store

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from numpy.typing import NDArray

    from paramcli.schemes.arrays import Array
    from paramcli.schemes.draws import Filler
    from paramcli.schemes.law import Law, Piece
    from paramcli.schemes.stream import Key

    Made = MutableMapping[int, NDArray[np.float64]]
    Numbers = NDArray[np.float64]

__all__ = ["encode", "fill"]


def fill(  # noqa: PLR0913 - what is drawn, for whom, and where to
    law: Law,
    dtype: str,
    key: Key,
    start: int,
    out: Array,
    *,
    filler: Filler,
    made: Made | None = None,
) -> None:
    """Fill `out` with the elements of a tensor from `start` on, in row-major order.

    `out` is flat: of NumPy the type itself, or unsigned integers of its width for what NumPy has
    not; or a tensor of torch's. `made` keeps whole matrices from one stretch of the same tensor to
    the next, by where they start. Raises UsageError for numbers that the type cannot hold.
    """
    stop = start + len(out)
    place = bisect_right(law.pieces, start, key=lambda piece: piece.stop)
    for piece in law.pieces[place:]:
        if piece.start >= stop or start == stop:
            return
        first, last = max(start, piece.start), min(stop, piece.stop)
        part = out[first - start : last - start]
        within = first - piece.start
        if isinstance(piece.fill, Constant):
            _put(part, encode(np.array([piece.fill.value]), dtype))
        elif isinstance(piece.fill, Marked):
            _put(part, encode(np.zeros(1), dtype))
            marks = piece.fill.places(first, last) - first
            if len(marks):
                part[marks.tolist()] = _like(part, encode(np.ones(1), dtype))[0]
        elif isinstance(piece.fill, Whole):
            whole = _made(piece, key, {} if made is None else made).reshape(-1)
            _put(part, _rounded(whole[within : within + len(part)], dtype))
        elif isinstance(piece.fill, Given):
            raise TypeError("what a constructor gives is not drawn")
        else:
            filler.fill(piece.fill, dtype, key, piece.origin + within, part)


def encode(numbers: Numbers, dtype: str) -> NDArray[Any]:
    """Round numbers to a type, in NumPy's own or as codes.

    Integers and bool take only what they hold exactly. Raises UsageError for what no code is near.
    """
    if dtype in ("float64", "float32") or dtype in NARROW:
        with np.errstate(over="ignore"):
            found = _rounded(numbers, dtype)
            back = values(dtype)[found] if dtype in NARROW else found
        # float8_e4m3fn has no infinity, and gives its largest number for what is beyond.
        beyond = (np.abs(back) < np.abs(numbers) * 0.9) & (np.abs(numbers) > 1)
        if beyond.any() or not np.array_equal(np.isfinite(back), np.isfinite(numbers)):
            raise _too_large(numbers, dtype)
        return found
    if dtype in COMPLEX:
        pairs = np.stack([numbers, np.zeros_like(numbers)], axis=-1).ravel()
        parts = encode(pairs, COMPLEX[dtype])
        kind = "u" if COMPLEX[dtype] in CODED else "c"
        return parts.view(f"{kind}{2 * parts.itemsize}").reshape(numbers.shape)
    if dtype.startswith("q") or CODED.get(dtype, 8) < 8 or not (dtype in CODED or dtype in WIDE):
        raise UsageError(f"{dtype} cannot be filled")
    return _exact(numbers, dtype)


def _exact(numbers: Numbers, dtype: str) -> NDArray[Any]:
    """Codes of numbers that a type holds exactly."""
    if dtype in WIDE:
        kind = np.dtype(WIDE[dtype])
        limits = np.iinfo(kind)
        fits = (numbers == np.rint(numbers)) & (numbers >= limits.min) & (numbers <= limits.max)
        if not fits.all() or (numbers >= 2.0**63).any():
            raise _too_large(numbers, dtype)
        return numbers.astype(kind)
    table = values(dtype)[:2] if dtype == "bool" else values(dtype)
    codes = np.zeros(numbers.shape, np.uint16 if CODED[dtype] > 8 else np.uint8)
    for place, value in np.ndenumerate(numbers):
        fits = np.flatnonzero(table == value)
        if not len(fits):
            raise _too_large(numbers, dtype)
        codes[place] = fits[0]
    return codes


def _too_large(numbers: Numbers, dtype: str) -> UsageError:
    return UsageError(f"{dtype} cannot hold {', '.join(f'{x:.6g}' for x in numbers.flat)}")


def _made(piece: Piece, key: Key, made: Made) -> Numbers:
    assert isinstance(piece.fill, Whole)
    if piece.start not in made:
        made[piece.start] = piece.fill.make(key, piece.origin)
    return made[piece.start]


def _rounded(numbers: Numbers, dtype: str) -> NDArray[Any]:
    """Round to a floating-point type, narrow ones by way of float32, as they are drawn."""
    if dtype == "float64":
        return numbers
    single = numbers.astype(np.float32)
    if dtype == "float32":
        return single
    if dtype not in NARROW:
        return encode(numbers, dtype)
    out = np.empty(single.shape, np.uint16 if NARROW[dtype].bits > 8 else np.uint8)
    store(single, dtype, out, (np.empty_like(single), np.empty_like(single)))
    return out


def _put(out: Array, encoded: NDArray[Any]) -> None:
    out[...] = _like(out, encoded)


def _like(out: Array, encoded: NDArray[Any]) -> Array:
    """See encoded numbers as what `out` is made of."""
    if isinstance(out, np.ndarray):
        return encoded.view(out.dtype)
    import torch

    raw = torch.from_numpy(np.ascontiguousarray(encoded).view(np.uint8))
    return raw.view(out.dtype).to(out.device)
