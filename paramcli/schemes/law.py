"""What a scheme makes of a tensor: what each stretch of it is drawn from, and what to expect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.schemes.draws import Normal, TruncatedNormal, Uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from paramcli.schemes.draws import Draw
    from paramcli.schemes.stream import Key
    from paramcli.schemes.subject import Subject

__all__ = [
    "Constant", "Fill", "Given", "Law", "Marked", "Piece", "Whole", "constant", "drawn", "join",
    "number", "whole",
]  # fmt: skip


class Constant(NamedTuple):
    """The same number everywhere."""

    value: float


class Given(NamedTuple):
    """What the model's own constructor gives: nothing is drawn."""


class Marked(NamedTuple):
    """Zeros, and ones at `places(start, stop)`: element numbers within the tensor, ascending."""

    places: Callable[[int, int], NDArray[np.int64]]


class Whole(NamedTuple):
    """Values that cannot be drawn one by one: `make` gives all of a part at once.

    `make(key, origin)` returns float64 in `shape`, made of the random numbers of a tensor's stream
    from element `origin` on; it takes about `memory` bytes.
    """

    shape: tuple[int, ...]
    memory: int
    make: Callable[[Key, int], NDArray[np.float64]]


Fill = Constant | Given | Marked | Whole | Uniform | Normal | TruncatedNormal


class Piece(NamedTuple):
    """A run of elements in row-major order, from `start` up to `stop`, and what it is filled with.

    Its first element gets what element `origin` of the tensor's stream is: its own as a rule.
    """

    start: int
    stop: int
    fill: Fill
    origin: int


class Law(NamedTuple):
    """What fills a whole tensor: pieces that cover it once, in order.

    `mean` and `std` are those that its elements are expected to have, None where they are not
    known in closed form. `words` say it shortly: "normal(std=0.0625)".
    """

    pieces: Sequence[Piece]
    mean: float | None
    std: float | None
    words: str


def constant(subject: Subject, value: float, words: str | None = None) -> Law:
    """Fill a tensor with one number."""
    words = words or {0.0: "zeros", 1.0: "ones"}.get(value) or f"constant({number(value)})"
    return join(subject, [(subject.numel, Constant(value))], words)


def drawn(subject: Subject, draw: Draw, words: str | None = None) -> Law:
    """Draw a tensor element by element; the padding row of an embedding stays zero."""
    if isinstance(draw, Uniform) and draw.low == draw.high:
        return constant(subject, draw.low, words)
    words = words or _words(draw)
    if subject.padding is None or not subject.numel:
        return join(subject, [(subject.numel, draw)], words)
    row = subject.numel // subject.shape[0]
    before = subject.padding % subject.shape[0] * row
    runs: list[tuple[int, Fill]] = [
        (before, draw), (row, Constant(0.0)), (subject.numel - before - row, draw)
    ]  # fmt: skip
    return join(subject, runs, f"{words}, row {subject.padding} zero")


def join(subject: Subject, runs: Sequence[tuple[int, Fill]], words: str) -> Law:
    """Lay fills one after another, each over so many elements, and add up their moments."""
    pieces: list[Piece] = []
    start = 0
    for count, fill in runs:
        if count:
            pieces.append(Piece(start, start + count, fill, start))
        start += count
    assert start == subject.numel
    first = second = 0.0
    for piece in pieces:
        mean, std = _moments(piece.fill)
        weight = (piece.stop - piece.start) / subject.numel
        first += weight * mean
        second += weight * (mean * mean + std * std)
    if len({piece.fill for piece in pieces}) == 1:
        return Law(tuple(pieces), *_moments(pieces[0].fill), words)
    if not pieces:
        return Law((), None, None, words)
    return Law(tuple(pieces), first, math.sqrt(max(0.0, second - first * first)), words)


def whole(subject: Subject, fill: Marked | Given, square: float | None, words: str) -> Law:
    """One fill over all of a tensor, whose elements are 1 so often as `square` says, else 0."""
    pieces = (Piece(0, subject.numel, fill, 0),) if subject.numel else ()
    if square is None or not pieces:
        return Law(pieces, None, None, words)
    return Law(pieces, square, math.sqrt(max(0.0, square - square * square)), words)


def number(value: float) -> str:
    """Write a number with six digits."""
    return f"{value:.6g}"


def _words(draw: Draw) -> str:
    if isinstance(draw, Uniform):
        return f"uniform({number(draw.low)}, {number(draw.high)})"
    parts = [f"mean={number(draw.mean)}"] if draw.mean else []
    parts.append(f"std={number(draw.std)}")
    if isinstance(draw, Normal):
        return f"normal({', '.join(parts)})"
    bounds = f"{number(draw.low)}σ to {number(draw.high)}σ"
    if draw.low == -draw.high:
        bounds = f"cut={number(draw.high)}"
    return f"trunc_normal({', '.join([*parts, bounds])})"


def _moments(fill: Fill) -> tuple[float, float]:
    """Mean and standard deviation of one element."""
    if isinstance(fill, Constant):
        return fill.value, 0.0
    if isinstance(fill, Uniform):
        return (fill.low + fill.high) / 2, (fill.high - fill.low) / math.sqrt(12)
    if isinstance(fill, Normal):
        return fill.mean, fill.std
    assert isinstance(fill, TruncatedNormal)
    mean, std = _truncated(fill.low, fill.high)
    return fill.mean + fill.std * mean, fill.std * std


def _truncated(low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of a standard normal between two bounds."""
    if low > 0:
        mean, std = _truncated(-high, -low)
        return -mean, std
    between = (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2))) / 2
    at_low, at_high = _density(low), _density(high)
    mean = (at_low - at_high) / between
    bent = (_times(low, at_low) - _times(high, at_high)) / between
    return mean, math.sqrt(max(0.0, 1 + bent - mean * mean))


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _times(x: float, density: float) -> float:
    return x * density if density else 0.0
