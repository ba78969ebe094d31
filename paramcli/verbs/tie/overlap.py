"""How views of one storage lie to each other, to the byte: without numbers, so without NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.checkpoint import TensorInfo
    from paramcli.verbs.tie.report import Form

__all__ = ["form_of"]

_MOST_UNITS = 1 << 28
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
    if (end - start) // unit > _MOST_UNITS:
        return True
    touched, runs = bytearray((end - start) // unit), 0
    for info in views:
        mine = list(_runs(info, start, unit))
        runs += len(mine)
        if runs > _MOST_RUNS or any(1 in touched[place] for place in mine):
            return True
        for place in mine:  # it may well touch a byte twice itself
            touched[place] = b"\1" * len(range(*place.indices(len(touched))))
    return False


def _runs(info: TensorInfo, start: int, unit: int) -> Iterator[slice]:
    """Yield the units that a view touches, as slices with a step that cover it together."""
    width = info.dtype.bits // 8 // unit
    at = (info.offset * info.dtype.bits // 8 - start) // unit
    run, steps = width, []
    for step, size in _order(info):
        if step * width == run:
            run *= size
        elif step:  # a step of zero touches nothing new
            steps.append((size, step * width))
    if run == 1 and steps:  # the longest dimension is painted at once
        size, step = max(steps)
        steps.remove((size, step))
        inner = [(size * step - step + 1, step)]
    else:
        inner = [(run, 1)]
    places = [at]
    for size, step in steps:
        places = [place + index * step for place in places for index in range(size)]
        if len(places) > _MOST_RUNS:
            break
    for place in places:
        for length, step in inner:
            yield slice(place, place + length, step)
