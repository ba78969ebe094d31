"""A tensor's values as nested lists, whole or by a slice, and the first that is not finite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from paramcli.errors import UsageError
from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values
from paramcli.numeric.gather import gather

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

__all__ = ["array", "decoded", "first_bad", "nested", "sliced"]

MOST_VALUES = 1_000_000


def sliced(info: TensorInfo, text: str) -> TensorInfo:
    """Take a part of a tensor by NumPy's slice grammar: `0`, `:5`, `-3:`, `::2`, `...`.

    Only the view changes; nothing is read. Raises UsageError for what NumPy would refuse, and for
    steps that run backwards, which no stride of a tensor can say.
    """
    words = [word.strip() for word in text.split(",")]
    rank = len(info.shape)
    if words.count("...") > 1:
        raise UsageError(f"--slice {text!r} has more than one ...")
    if "..." in words:
        at = words.index("...")
        words[at : at + 1] = [":"] * (rank - len(words) + 1)
    if len(words) > rank:
        raise UsageError(
            f"--slice {text!r} has more parts than {info.name!r} has dimensions: {rank}"
        )
    words += [":"] * (rank - len(words))
    shape: list[int] = []
    stride: list[int] = []
    offset = info.offset
    for word, size, step in zip(words, info.shape, info.stride, strict=True):
        taken = _part(word, size, text)
        if isinstance(taken, int):
            offset += taken * step
            continue
        offset += taken.start * step if len(taken) else 0
        shape.append(len(taken))
        stride.append(step * taken.step)
    return info._replace(shape=tuple(shape), stride=tuple(stride), offset=offset)


def _part(word: str, size: int, text: str) -> int | range:
    """Read one word of a slice: a position, or the positions that a range takes."""
    pieces = word.split(":")
    try:
        numbers = [int(piece) if piece.strip() else None for piece in pieces]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None:
        at = numbers[0] + size if numbers[0] < 0 else numbers[0]
        if not 0 <= at < size:
            raise UsageError(f"--slice {text!r}: {numbers[0]} is outside a dimension of {size}")
        return at
    if not 2 <= len(numbers) <= 3:
        raise UsageError(
            f"--slice {text!r} is no slice: {word!r}", hint="for example --slice '0,:5'"
        )
    if (numbers[2:] or [None])[0] is not None and (numbers[2] or 0) < 1:
        raise UsageError(f"--slice {text!r}: the step {numbers[2]} does not run forwards")
    return range(*slice(*numbers).indices(size))


def array(checkpoint: Checkpoint, info: TensorInfo) -> NDArray[np.generic]:
    """Read a tensor as an array of numbers; narrow floats become float64, which holds them all.

    Packed types come out unpacked, their last dimension that much longer.
    """
    return decoded(gather(checkpoint, info), info, swapped=checkpoint.byteorder == "big")


def decoded(
    content: bytes | bytearray, info: TensorInfo, *, swapped: bool = False
) -> NDArray[np.generic]:
    """Return what `array` does of a tensor's elements in row-major order."""
    raw = np.frombuffer(content, np.uint8)
    name, shape = info.dtype.name, info.shape
    order = ">" if swapped else "<"
    made: NDArray[np.generic]
    if name in WIDE:
        made = raw.view(f"{order}{WIDE[name]}")
    elif COMPLEX.get(name) in CODED:
        with np.errstate(invalid="ignore"):  # signalling NaNs
            parts = values(COMPLEX[name])[raw.view(f"{order}u2")].astype(np.float32)
        made = parts.view(np.complex64)
    elif name in COMPLEX:
        made = raw.view(f"{order}c{info.dtype.bits // 8}")
    elif name == "bool":
        made = raw != 0
    else:
        return _narrow(raw, info, order)
    return made.reshape(shape)


def _narrow(raw: NDArray[np.uint8], info: TensorInfo, order: str) -> NDArray[np.generic]:
    """Numbers of a narrow type."""
    name, shape = info.dtype.name, info.shape
    codes = _unpacked(raw, name, order)
    if info.dtype.bits == 8 and CODED[name] < 8:
        shape = (*shape[:-1], shape[-1] * (8 // CODED[name])) if shape else (8 // CODED[name],)
    numbers: NDArray[np.generic] = values(name)[codes][: math.prod(shape)].reshape(shape)
    return numbers.astype(np.int64) if "int" in name else numbers


def _unpacked(raw: NDArray[np.uint8], name: str, order: str) -> NDArray[np.generic]:
    """Codes in order, the lowest bits first where several share a byte."""
    bits = CODED[name]
    if bits == 16:
        return raw.view(f"{order}u2")
    if bits == 8:
        return raw
    spread = np.unpackbits(raw, bitorder="little")
    return spread[: len(spread) // bits * bits].reshape(-1, bits) @ (1 << np.arange(bits))


def nested(checkpoint: Checkpoint, info: TensorInfo) -> object:
    """Read a tensor as nested lists of numbers. Raises UsageError for more than a million."""
    if info.numel > MOST_VALUES:
        raise UsageError(
            f"{info.name!r} has {info.numel:,} values, too many to print",
            hint="take a part: --slice '0,:5'",
        )
    if info.numel:
        return array(checkpoint, info).tolist()
    outer = info.shape[: info.shape.index(0)]
    if math.prod(outer) > MOST_VALUES:
        raise UsageError(f"{info.name!r} is empty, but in {math.prod(outer):,} rows")
    return np.empty((*outer, 0)).tolist()


def first_bad(checkpoint: Checkpoint, info: TensorInfo) -> tuple[int, ...] | None:
    """Index of the first NaN or infinity in row-major order, None where all are finite."""
    if not info.shape:
        return None if np.isfinite(array(checkpoint, info)).all() else ()
    rows = max(1, MOST_VALUES // max(1, info.numel // max(info.shape[0], 1)))
    for start in range(0, info.shape[0], rows):
        part = sliced(info, f"{start}:{start + rows}")
        bad = np.flatnonzero(~np.isfinite(array(checkpoint, part)))
        if len(bad):
            index = np.unravel_index(bad[0], part.shape)
            return (start + int(index[0]), *map(int, index[1:]))
    return None
