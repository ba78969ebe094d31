"""The torch room of pairs: the same questions as the NumPy room's, on a device of torch's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.numeric.change import NO_CHANGE, Change, merge
from paramcli.numeric.codes import CODED, COMPLEX
from paramcli.numeric.device import Device, device_of, together, told
from paramcli.numeric.device_numbers import bits_of, distances, numbers_of

if TYPE_CHECKING:
    import torch

    from paramcli.numeric.change import Tolerance
    from paramcli.numeric.pairs import PairOfBlocks

__all__ = ["TorchPairs", "open_pairs"]


def open_pairs(name: str) -> TorchPairs:
    """Return the room of a device ("cuda"). Raises ParamcliError where there is none."""
    return TorchPairs(device_of(name))


class _Both(NamedTuple):
    """The same elements of both, by the parts of each, their difference, and whose bits differ."""

    a: torch.Tensor
    b: torch.Tensor
    difference: torch.Tensor
    unlike: torch.Tensor

    def where(self, mask: torch.Tensor) -> _Both:
        """Those of some elements."""
        return _Both(*(each[mask] for each in self))


class TorchPairs:
    """Compares blocks on one device, for several threads; see `pairs` for what is measured."""

    threads = True

    def __init__(self, device: torch.device) -> None:
        self._device = Device(device)

    @told
    def compare(self, pair: PairOfBlocks, tolerance: Tolerance | None) -> Change:
        """Compare two blocks."""
        total = NO_CHANGE
        for raws in self._device.pieces(*pair):
            total = merge(total, _change(self._both(pair, *raws), tolerance))
        return total

    def _both(self, pair: PairOfBlocks, one: torch.Tensor, other: torch.Tensor) -> _Both:
        import torch

        kind = pair.a.dtype
        step = 2 if kind in COMPLEX else 1
        first, second = bits_of(one, pair.a), bits_of(other, pair.b)
        a = numbers_of(first, kind, self._device)
        b = numbers_of(second, pair.b.dtype, self._device)
        same = kind == pair.b.dtype
        if same and CODED.get(kind, 8) >= 8:
            unlike = first != second
        else:
            unlike = a.view(torch.int64) != b.view(torch.int64)
        exact = same and kind in ("int64", "uint64")
        difference = distances(first, second, kind) if exact else a - b
        a, b, difference = (each.view(-1, step) for each in (a, b, difference))
        return _Both(a, b, difference, unlike.view(-1, step).any(dim=1))


def _change(both: _Both, tolerance: Tolerance | None) -> Change:
    """Compare elements; those that are not finite on both sides are counted apart."""
    a, b, difference, unlike = both
    n = len(a)
    sizes = _moduli(difference)
    if tolerance is not None:
        unlike = unlike & ~(sizes <= tolerance.atol + tolerance.rtol * _moduli(b))
    relative = (sizes / _moduli(a)).nan_to_num(0.0, math.inf)  # nought by nought is nought
    changed, *squares, largest, most = together(
        unlike.sum(), *(each.square().sum() for each in both[:3]), sizes.max(), relative.max()
    )
    if not math.isfinite(largest):
        finite = [each.isfinite().all(dim=1) for each in (a, b)]
        if not bool((finite[0] & finite[1]).all()):
            return _with_odd_ones(both, tolerance, finite[0] & finite[1])
    of_a, of_b, apart = (_norm(total, part) for total, part in zip(squares, both[:3], strict=True))
    return Change(n, int(changed), of_a, of_b, apart, largest, most)


def _with_odd_ones(both: _Both, tolerance: Tolerance | None, finite: torch.Tensor) -> Change:
    """Compare what is finite on both sides, and count what is not apart."""
    odd = both.unlike & ~finite
    a_nan, b_nan = (each.isnan().any(dim=1) for each in both[:2])
    odd &= ~(a_nan & b_nan)
    nan = int((odd & (a_nan | b_nan)).sum())
    infinite = int(odd.sum()) - nan
    found = _change(both.where(finite), tolerance) if bool(finite.any()) else NO_CHANGE
    return found._replace(
        n=len(both.a), changed=found.changed + nan + infinite, nan=nan, infinite=infinite
    )


def _moduli(parts: torch.Tensor) -> torch.Tensor:
    return parts[:, 0].abs() if parts.shape[1] == 1 else parts[:, 0].hypot(parts[:, 1])


def _norm(squares: float, numbers: torch.Tensor) -> float:
    """The Euclidean norm, also where the sum of `squares` is no float64."""
    if 1e-270 < squares < math.inf:
        return math.sqrt(squares)
    largest = float(numbers.abs().max())
    if not largest or math.isinf(largest):
        return largest
    return float((numbers / largest).square().sum().sqrt()) * largest
