"""What the tests of schemes share: subjects of a shape, laws put into memory, tests of samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from paramcli.checkpoint import Checkpoint
from paramcli.numeric.codes import CODED, COMPLEX, WIDE, values
from paramcli.schemes.draws import Filler
from paramcli.schemes.fill import fill
from paramcli.schemes.registry import parse
from paramcli.schemes.roles import subjects
from paramcli.schemes.stream import Key, key
from paramcli.tensors import DTYPES, Storage, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from paramcli.schemes.law import Law
    from paramcli.schemes.subject import Subject

KEY = key(0, "weight")
_FILLER = Filler()


def checkpoint(shapes: Mapping[str, tuple[int, ...]], dtype: str = "float32") -> Checkpoint:
    """A checkpoint of names and shapes alone."""
    entries = []
    for place, (name, shape) in enumerate(shapes.items()):
        kind = DTYPES[dtype]
        stride = tuple(math.prod(shape[at + 1 :]) for at in range(len(shape)))
        storage = Storage("", place, kind.nbytes(math.prod(shape)))
        entries.append(TensorInfo(name, kind, shape, stride, 0, storage))
    return Checkpoint(origin="made", format="safetensors", entries=tuple(entries))


def subject(
    *shape: int, name: str = "fc.weight", dtype: str = "float32", **changes: Any
) -> Subject:
    """A subject that names and shapes tell, but for what is changed."""
    return subjects(checkpoint({name: shape}, dtype))[name]._replace(**changes)


def law(text: str, of: Subject) -> Law:
    """What a scheme makes of a subject."""
    return parse(text).law(of)


def memory(dtype: str, count: int) -> NDArray[Any]:
    """Room for numbers of a type, in NumPy's own or as codes."""
    if dtype in WIDE:
        return np.empty(count, WIDE[dtype])
    if dtype in COMPLEX:
        return np.empty(count, {"complex64": "c8", "complex128": "c16"}.get(dtype, "u4"))
    return np.empty(count, np.uint16 if CODED[dtype] > 8 else np.uint8)


def filled(
    law: Law, dtype: str, start: int, stop: int, *, of: Key = KEY, made: Any = None
) -> NDArray[Any]:
    """Elements of a tensor, narrow ones as codes."""
    out = memory(dtype, stop - start)
    fill(law, dtype, of, start, out, filler=_FILLER, made=made)
    return out


def sample(text: str, of: Subject, seed: int = 0) -> NDArray[np.float64]:
    """All elements of a tensor as float64, in its shape."""
    dtype = of.dtype.name
    codes = filled(law(text, of), dtype, 0, of.numel, of=key(seed, of.name))
    numbers = values(dtype)[codes] if dtype in CODED else codes.astype(np.float64)
    return numbers.reshape(of.shape)


def p_value(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Kolmogorov and Smirnov's test of two samples: how likely so large a distance is."""
    both = np.sort(np.concatenate([ours.ravel(), theirs.ravel()]))
    steps = (
        np.searchsorted(np.sort(one.ravel()), both, side="right") / one.size
        for one in (ours, theirs)
    )
    one, other = steps
    effective = math.sqrt(ours.size * theirs.size / (ours.size + theirs.size))
    x = effective * float(np.abs(one - other).max())
    if x < 0.2:
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, 2 * math.fsum(terms))
