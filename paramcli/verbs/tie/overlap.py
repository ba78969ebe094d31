"""How views of one storage lie to each other, to the byte: without numbers, so without NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.tie.report import Form

__all__ = ["form_of"]

_MOST_UNITS = 1 << 27
_MOST_RUNS = 1 << 20
"""Units of a map of touched bytes, and runs painted on it, beyond which views are taken to meet."""


def form_of(members: Sequence[TensorInfo]) -> Form:
    """Say how the members of a sharing group lie to each other."""
    views = list({info.view: info for info in members}.values())
    if len(views) == 1:
        return "same"
    if any(info.parts or info.open for info in views):
        return "overlap"
    if all(info.dense and info.extent == views[0].extent for info in views):
        if len({info.dtype for info in views}) > 1:
            return "recast"
        permuted = len({tuple(_order(info)) for info in views}) == 1
        return "transposed" if permuted else "reshaped"
    start = min(info.extent[0] for info in views)
    end = max(info.extent[1] for info in views)
    if any(info.dense and info.extent == (start, end) for info in views):
        return "nested" if all(info.dense for info in views) else "strided"
    return "overlap" if _meet(views, start, end) else "interleaved"


def _order(info: TensorInfo) -> list[tuple[int, int]]:
    """Strides and sizes as they lie in memory, however the dimensions are turned."""
    return sorted(
        (step, size) for step, size in zip(info.stride, info.shape, strict=True) if size != 1
    )


def _meet(views: Sequence[TensorInfo], start: int, end: int) -> bool:
    """Whether any two views touch the same byte, found by painting them one after another."""
    if any(info.dtype.bits % 8 for info in views):
        return True
    unit = math.gcd(
        *(info.dtype.bits // 8 for info in views), *(info.extent[0] - start for info in views)
    )
    plans = [_plan(info, start, unit) for info in views]
    runs = sum(math.prod(size for size, _ in plan.outer) for plan in plans)
    if (end - start) // unit > _MOST_UNITS or runs > _MOST_RUNS:
        return True
    touched = bytearray((end - start) // unit)
    for plan in plans:
        places = plan.places()
        if any(1 in touched[place] for place in places):
            return True
        for place in places:  # it may well touch a byte twice itself
            touched[place] = b"\1" * len(touched[place])
    return False


class _Plan(NamedTuple):
    """Units that a view touches: runs from `first` on, over and over by size and step of `outer`.

    A run is `length` units long, of which every `step`-th is touched.
    """

    first: int
    outer: list[tuple[int, int]]
    length: int
    step: int

    def places(self) -> list[slice]:
        """List the runs as slices."""
        starts = [self.first]
        for size, step in self.outer:
            starts = [start + index * step for start in starts for index in range(size)]
        return [slice(start, start + self.length, self.step) for start in starts]


def _plan(info: TensorInfo, start: int, unit: int) -> _Plan:
    """Cover the units of a view by few runs: along what lies together, or the longest dimension."""
    run = info.dtype.bits // 8 // unit
    width, first = run, (info.offset * info.dtype.bits // 8 - start) // unit
    outer = []
    for step, size in _order(info):
        if step * width == run:
            run *= size
        elif step:  # a step of zero touches nothing new
            outer.append((size, step * width))
    if run > 1 or not outer:
        return _Plan(first, outer, run, 1)
    size, step = max(outer)
    outer.remove((size, step))
    return _Plan(first, outer, size * step - step + 1, step)
