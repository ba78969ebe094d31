"""The torch room of pairs: the same questions as the NumPy room's, on a device of torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paramcli.numeric.change import NO_CHANGE, Change, merge
from paramcli.numeric.codes import COMPLEX
from paramcli.numeric.gpu import device_of
from paramcli.numeric.pairs import Memory, side_by_side

if TYPE_CHECKING:
    import torch

    from paramcli.numeric.change import Tolerance
    from paramcli.numeric.pairs import Numbers, PairOfBlocks

__all__ = ["TorchPairs", "open_pairs"]

_CHUNK = 1 << 22
"""Elements that go to the device together."""


def open_pairs(name: str) -> TorchPairs:
    """Return the room of a device ("cuda"). Raises ParamcliError where there is none."""
    return TorchPairs(device_of(name))


class TorchPairs:
    """Compares whole blocks on one device; see `pairs` for what is measured."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = Memory(_CHUNK)

    def compare(self, pair: PairOfBlocks, tolerance: Tolerance | None) -> Change:
        """Compare two blocks."""
        step = 2 if pair.a.dtype in COMPLEX else 1
        total = NO_CHANGE
        with np.errstate(invalid="ignore"):  # signalling NaNs
            for numbers in side_by_side(pair, self._memory):
                total = merge(total, self._change(numbers, tolerance, step))
        return total

    def _change(self, numbers: Numbers, tolerance: Tolerance | None, step: int) -> Change:
        import torch

        a, b, unlike = (
            torch.from_numpy(each).to(self._device).reshape(-1, step) for each in numbers[:3]
        )
        unlike = unlike.any(dim=1)
        n = len(a)
        if numbers.difference is None:
            difference = a - b
        else:
            difference = torch.from_numpy(numbers.difference).to(self._device).reshape(-1, step)
        both = (a.isfinite() & b.isfinite()).all(dim=1)
        odd = unlike & ~both
        a_nan, b_nan = a.isnan().any(dim=1), b.isnan().any(dim=1)
        odd &= ~(a_nan & b_nan)
        nan = int((odd & (a_nan | b_nan)).sum())
        infinite = int(odd.sum()) - nan
        a, b, difference, unlike = a[both], b[both], difference[both], unlike[both]
        if not len(a):
            return NO_CHANGE._replace(n=n, changed=nan + infinite, nan=nan, infinite=infinite)
        sizes = _moduli(difference)
        if tolerance is not None:
            unlike &= ~(sizes <= tolerance.atol + tolerance.rtol * _moduli(b))
        changed = int(unlike.sum()) + nan + infinite
        relative = sizes / _moduli(a)
        relative = relative[~relative.isnan()]
        return Change(
            n, changed, _norm(a), _norm(b), _norm(difference), float(sizes.max()),
            float(relative.max()) if len(relative) else 0.0, nan, infinite,
        )  # fmt: skip


def _moduli(parts: torch.Tensor) -> torch.Tensor:
    return parts[:, 0].abs() if parts.shape[1] == 1 else parts[:, 0].hypot(parts[:, 1])


def _norm(numbers: torch.Tensor) -> float:
    """The Euclidean norm, also where the squares are no float64."""
    largest = float(numbers.abs().max())
    if not largest or largest == float("inf"):
        return largest
    return float((numbers / largest).square().sum().sqrt()) * largest
