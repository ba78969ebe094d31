"""Schemes that make matrices and kernels of a structure: identity, orthogonal, sparse."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from paramcli.errors import UsageError
from paramcli.schemes.draws import Filler, Normal, Uniform
from paramcli.schemes.law import Law, Marked, Piece, Whole, number, whole
from paramcli.schemes.orthonormal import memory, orthonormalize
from paramcli.schemes.stream import Key
from paramcli.schemes.variance import kaiming_normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paramcli.schemes.subject import Subject

    Shape = tuple[int, ...]
    Matrix = NDArray[np.float64]

__all__ = ["delta_orthogonal", "dirac", "eye", "icnr", "orthogonal", "sparse"]

_MATRIX = 2


def eye(subject: Subject) -> Law:
    """The identity matrix, as far as it fits; what a Linear then passes on. `eye_`."""
    _check_rank("eye", subject, (_MATRIX,))
    rows, columns = subject.shape
    places = partial(_diagonal, min(rows, columns), columns + 1)
    return whole(subject, Marked(places), 1 / max(rows, columns, 1), "eye")


def dirac(subject: Subject, groups: int | None = None) -> Law:
    """A convolution that passes on as many channels as it can, in each group. `dirac_`.

    `groups` are the module's own if not given.
    """
    _check_rank("dirac", subject, (3, 4, 5))
    groups = subject.groups if groups is None else groups
    rows, columns, *kernel = subject.shape
    if groups < 1 or rows % groups:
        raise UsageError(f"{subject.name}: {rows} output channels cannot be {groups} groups")
    each = min(rows // groups, columns)
    size = math.prod(kernel)
    marks = [
        ((group * (rows // groups) + place) * columns + place) * size + _center(kernel)
        for group in range(groups)
        for place in range(each)
    ]
    return whole(
        subject, Marked(partial(_marks, marks)), groups * each / max(subject.numel, 1), "dirac"
    )


def orthogonal(subject: Subject, gain: float = 1.0) -> Law:
    """gain·Q, uniform among all matrices of orthonormal rows or columns. `orthogonal_`.

    Saxe, McClelland, Ganguli 2014, arXiv:1312.6120. What follows the first dimension is flattened;
    q, k, v and the gates of an RNN are a matrix each. std = gain / √max(rows, columns). Needs a
    whole matrix at once, in float64, and takes a core about 3·10⁻¹⁰ s for each element and row,
    20 s for 4096 x 4096; twice that for float64.
    """
    if len(subject.shape) < _MATRIX:
        raise _wrong_rank("orthogonal", subject, "2 or more")
    rows, columns = _flat(subject.shape)
    heights = subject.parts or (rows,)
    double = subject.dtype.name == "float64"
    fills = [
        Whole(
            (height, columns),
            memory(min(height, columns), max(height, columns)),
            partial(_orthogonal, (height, columns), gain, double),
        )
        for height in heights
    ]
    square = sum(min(height, columns) for height in heights) / max(rows * columns, 1)
    return _wholes(fills, gain * math.sqrt(square), f"orthogonal(gain={number(gain)})")


def delta_orthogonal(subject: Subject, gain: float = 1.0) -> Law:
    """A convolution whose centre is orthogonal, all else zero: it keeps norms, however deep.

    Xiao et al. 2018, arXiv:1806.05393. At least as many output channels as input channels, as for
    `jax.nn.initializers.delta_orthogonal`.
    """
    _check_rank("delta_orthogonal", subject, (3, 4, 5))
    rows, columns = subject.shape[:2]
    if rows < columns:
        raise UsageError(
            f"{subject.name}: delta_orthogonal needs as many outputs as inputs, not {rows} for "
            f"{columns}"
        )
    double = subject.dtype.name == "float64"
    fill = Whole(
        subject.shape,
        memory(columns, rows) + 8 * subject.numel,
        partial(_delta_orthogonal, subject.shape, gain, double),
    )
    std = gain * math.sqrt(columns / max(subject.numel, 1))
    return _wholes([fill], std, f"delta_orthogonal(gain={number(gain)})")


def sparse(subject: Subject, sparsity: float, std: float = 0.01) -> Law:
    """N(0, std²) but for ⌈sparsity·rows⌉ zeros in each column, anywhere. `sparse_`.

    Martens 2010, "Deep learning via Hessian-free optimization". Needs the whole matrix at once.
    """
    _check_rank("sparse", subject, (_MATRIX,))
    if not 0 <= sparsity <= 1:
        raise UsageError(f"sparse: sparsity={sparsity!r} is no fraction")
    rows, columns = subject.shape
    zeros = math.ceil(sparsity * rows)
    fill = Whole((rows, columns), 32 * subject.numel, partial(_sparse, (rows, columns), zeros, std))
    words = f"sparse({number(sparsity)}, std={number(std)})"
    return _wholes([fill], std * math.sqrt(1 - zeros / max(rows, 1)), words)


def icnr(
    subject: Subject, upscale: int = 2, mode: str = "fan_in", nonlinearity: str = "relu"
) -> Law:
    """kaiming_normal, the same for all that a PixelShuffle of `upscale` puts side by side.

    Aitken et al. 2017, arXiv:1707.02937: each kernel stands upscale² times in a row, so that what
    comes out starts without a checkerboard.
    """
    _check_rank("icnr", subject, (3, 4, 5))
    copies = upscale ** (len(subject.shape) - 2)
    if upscale < 1 or subject.shape[0] % copies:
        raise UsageError(
            f"{subject.name}: {subject.shape[0]} channels cannot be shuffled into {copies} places"
        )
    law = kaiming_normal(subject, mode, nonlinearity)
    size = math.prod(subject.shape[1:])
    pieces = tuple(
        Piece(row * size, (row + 1) * size, law.pieces[0].fill, row // copies * size)
        for row in range(subject.shape[0] if size else 0)
    )
    return law._replace(pieces=pieces, words=f"icnr({upscale}), {law.words}")


def _wholes(fills: list[Whole], std: float, words: str) -> Law:
    pieces: list[Piece] = []
    start = 0
    for fill in fills:
        size = math.prod(fill.shape)
        if size:
            pieces.append(Piece(start, start + size, fill, start))
        start += size
    return Law(tuple(pieces), 0.0 if pieces else None, std if pieces else None, words)


def _gaussian(count: int, length: int, key: Key, origin: int) -> Matrix:
    numbers = np.empty(count * length)
    Filler().fill(Normal(), "float64", key, origin, numbers)
    return numbers.reshape(count, length)


def _orthogonal(shape: tuple[int, int], gain: float, double: bool, key: Key, origin: int) -> Matrix:  # noqa: FBT001
    short, long = sorted(shape)
    vectors = _gaussian(short, long, key, origin)
    orthonormalize(vectors, double=double)
    vectors *= gain
    return vectors if shape == (short, long) else np.ascontiguousarray(vectors.T)


def _delta_orthogonal(shape: Shape, gain: float, double: bool, key: Key, origin: int) -> Matrix:  # noqa: FBT001
    rows, columns, *kernel = shape
    out = np.zeros((rows * columns, math.prod(kernel)))
    out[:, _center(kernel)] = _orthogonal((rows, columns), gain, double, key, origin).ravel()
    return out.reshape(shape)


def _sparse(shape: tuple[int, int], zeros: int, std: float, key: Key, origin: int) -> Matrix:
    """Zeros stand where each column's least of so many numbers of another stream do."""
    numbers = _gaussian(*shape, key, origin)
    numbers *= std
    order = np.empty(numbers.size)
    Filler().fill(Uniform(), "float64", Key(key.salt, key.start), origin, order)
    least = np.argsort(order.reshape(shape), axis=0, kind="stable")[:zeros]
    np.put_along_axis(numbers, least, 0.0, axis=0)
    return numbers


def _diagonal(count: int, step: int, start: int, stop: int) -> NDArray[np.int64]:
    first, end = -(-start // step), min(count, -(-stop // step))
    return np.arange(first, max(first, end), dtype=np.int64) * step


def _marks(marks: list[int], start: int, stop: int) -> NDArray[np.int64]:
    places = np.array(marks, np.int64)
    return places[np.searchsorted(places, start) : np.searchsorted(places, stop)]


def _center(kernel: list[int]) -> int:
    """Place of the middle in a kernel, the upper one of two."""
    place = 0
    for size in kernel:
        place = place * size + size // 2
    return place


def _flat(shape: Shape) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _check_rank(scheme: str, subject: Subject, ranks: tuple[int, ...]) -> None:
    if len(subject.shape) not in ranks:
        raise _wrong_rank(scheme, subject, " or ".join(map(str, ranks)))


def _wrong_rank(scheme: str, subject: Subject, ranks: str) -> UsageError:
    return UsageError(
        f"{subject.name}: {scheme} is for tensors of rank {ranks}, not {len(subject.shape)}"
    )
