"""What samples of values suggest: tensors near one of the other side's, and near no other.

Weights that were trained apart have nothing to do with each other: that samples of them correlate
at all is chance. Those of a tensor that was tuned, or rounded to another type, nearly coincide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paramcli.content.samples import Sampler
from paramcli.verbs.diff.values import has_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.diff.side import Side

    Floats = NDArray[Any]

__all__ = ["near", "sample"]

_SAMPLE = 4096
_FEWEST, _MOST = 64, 256
"""Numbers of a sample that are compared: 64 correlate by 0.5 by chance once in 30,000 times."""
_MOST_ALIKE = 1 << 14
"""Tensors of one shape, on either side, beyond which nothing is looked for among them."""
_ROWS = 512
"""Tensors of A that are compared at a time, each with all of that shape of B."""
_NEAR, _APART = 0.9, 0.5
"""Correlations: of what is taken to be the same, and of what all others must stay below."""


def sample(info: TensorInfo) -> TensorInfo:
    """The first elements in row-major order, as many whole rows as may be, however they lie."""
    shape: list[int] = []
    room = _SAMPLE
    for size in reversed(info.shape):
        shape.insert(0, min(size, max(room, 1)))
        room //= max(shape[0], 1)
    return info._replace(shape=tuple(shape))


def near(a: Side, b: Side) -> dict[str, str]:
    """Map names of A to the one of B whose values they are near, where that is plain."""
    by_shape: dict[tuple[int, ...], tuple[list[TensorInfo], list[TensorInfo]]] = {}
    for number, side in enumerate((a, b)):
        for info in filter(_floats, side.named.values()):
            by_shape.setdefault(info.shape, ([], []))[number].append(info)
    found: dict[str, str] = {}
    with Sampler() as sampler:
        for ours, theirs in by_shape.values():
            if ours and theirs and max(len(ours), len(theirs)) <= _MOST_ALIKE:
                here = _profiles(sampler, a.checkpoint, ours)
                there = _profiles(sampler, b.checkpoint, theirs)
                found.update(_near(here, there))
    return found


def _floats(info: TensorInfo) -> bool:
    from paramcli.numeric.summary import measurable

    few = info.numel < _FEWEST
    return not few and "float" in info.dtype.name and has_bytes(info) and measurable(info)


def _profiles(
    sampler: Sampler, checkpoint: Checkpoint, infos: Sequence[TensorInfo]
) -> dict[str, Floats]:
    """Samples, centred and of length one, without those that do not vary or are not finite."""
    import numpy as np

    from paramcli.numeric.values import array, decoded

    swapped = checkpoint.byteorder == "big"
    found = {}
    for info in infos:
        part = sample(info)
        content = sampler.piece(checkpoint, part, 0, part.nbytes)
        read = decoded(content, part, swapped=swapped) if content else array(checkpoint, part)
        numbers = read.ravel()[:: -(-part.numel // _MOST)].astype(np.float64)
        with np.errstate(all="ignore"):
            numbers -= numbers.mean()
            length = float(np.sqrt(numbers @ numbers))
        if 0 < length < np.inf:
            found[info.name] = (numbers / length).astype(np.float32)
    return found


def _near(here: dict[str, Floats], there: dict[str, Floats]) -> Iterator[tuple[str, str]]:
    import numpy as np

    if not here or not there:
        return
    names, others = list(here), list(there)
    theirs = np.array(list(there.values())).T
    of_row = np.zeros(len(names), np.intp)
    of_column = np.zeros(len(others), np.intp)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(names), _ROWS):
        alike = np.array([here[name] for name in names[start : start + _ROWS]]) @ theirs
        maybe = alike > _APART
        of_row[start : start + _ROWS] = maybe.sum(axis=1)
        of_column += maybe.sum(axis=0)
        rows, columns = np.nonzero(alike > _NEAR)
        pairs += zip((rows + start).tolist(), columns.tolist(), strict=True)
    for row, column in pairs:
        if of_row[row] == of_column[column] == 1:
            yield names[row], others[column]
