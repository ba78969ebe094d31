"""`list`: every tensor of a checkpoint with its size and what it shares, and the totals."""

from __future__ import annotations

import math
from collections import Counter
from itertools import compress
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from paramcli.sharing import share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramcli.checkpoint import Checkpoint, Pickle, Tree
    from paramcli.lock import Lock
    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.safety import SafetyReport

__all__ = ["DTypeTotal", "ListReport", "Order", "Totals", "survey"]

_dtype_and_shape, _parts = itemgetter(slice(1, 3)), attrgetter("parts")
Order = Literal["file", "name", "count", "bytes"]


class Totals(NamedTuple):
    """Sums over names, and over unique bytes: what is shared counts once in the latter two."""

    tensors: int
    numel: int
    bytes: int
    unique_numel: int
    unique_bytes: int


class DTypeTotal(NamedTuple):
    """Names, elements and bytes of one element type (by name, shared ones each time)."""

    dtype: str
    tensors: int
    numel: int
    bytes: int


class ListReport(NamedTuple):
    """What `list` shows of one target.

    `tensors` are in the order asked for; `group_of` maps a name to the id of its sharing group;
    `check` is what `--check safe` found, None where it was not asked for.
    """

    target: str
    format: str
    key: str | None
    tensors: tuple[TensorInfo, ...]
    groups: tuple[Group, ...]
    group_of: Mapping[str, str]
    totals: Totals
    by_dtype: tuple[DTypeTotal, ...]
    metadata: Mapping[str, str]
    trees: tuple[Tree, ...]
    pickle: Pickle | None
    problems: tuple[str, ...]
    lock: Lock | None = None
    check: SafetyReport | None = None


def survey(
    checkpoint: Checkpoint,
    entries: tuple[TensorInfo, ...] | None = None,
    *,
    order: Order = "file",
) -> ListReport:
    """List `entries` (all of the checkpoint's by default) in the order asked for.

    Sharing groups and totals are those of the entries that are listed.
    """
    listed = checkpoint.entries if entries is None else entries
    groups = share(listed)
    composite = [*compress(listed, map(_parts, listed))]
    plain = [info for info in listed if not info.parts] if composite else listed
    by_dtype: dict[str, list[int]] = {}
    for (dtype, shape), tensors in Counter(map(_dtype_and_shape, plain)).items():
        count = 0 if -1 in shape else math.prod(shape)
        _add(by_dtype, dtype.name, tensors, tensors * count, tensors * dtype.nbytes(count))
    for info in composite:
        _add(by_dtype, info.dtype.name, 1, info.numel, info.nbytes)
    rows = tuple(
        sorted(
            (DTypeTotal(name, *sums) for name, sums in by_dtype.items()), key=lambda row: -row.bytes
        )
    )
    count, size = sum(row.numel for row in rows), sum(row.bytes for row in rows)
    twice_count, twice_bytes = _counted_twice(listed, groups)
    return ListReport(
        target=checkpoint.origin,
        format=checkpoint.format,
        key=checkpoint.key,
        tensors=_ordered(listed, order),
        groups=groups,
        group_of={name: group.id for group in groups for name in group.names},
        totals=Totals(len(listed), count, size, count - twice_count, size - twice_bytes),
        by_dtype=rows,
        metadata=checkpoint.metadata,
        trees=checkpoint.trees,
        pickle=checkpoint.pickle,
        problems=checkpoint.problems,
        lock=checkpoint.lock,
    )


def _add(by_dtype: dict[str, list[int]], dtype: str, *amounts: int) -> None:
    sums = by_dtype.setdefault(dtype, [0, 0, 0])
    for index, amount in enumerate(amounts):
        sums[index] += amount


def _counted_twice(listed: tuple[TensorInfo, ...], groups: tuple[Group, ...]) -> tuple[int, int]:
    """Elements and bytes that the sums over names count more than once."""
    if not groups:
        return 0, 0
    members = {name for group in groups for name in group.names}
    by_name = {info.name: info for info in listed if info.name in members}
    count = size = 0
    for group in groups:
        infos = [by_name[name] for name in group.names]
        named = sum(info.nbytes for info in infos)
        unique = infos[0].nbytes if group.relation == "same" else min(named, _covered(infos))
        size += named - unique
        count += sum(info.numel for info in infos) - unique * 8 // max(infos[0].dtype.bits, 1)
    return count, size


def _covered(infos: list[TensorInfo]) -> int:
    """Bytes that the extents of some overlapping views cover together."""
    covered = reach = 0
    for start, end in sorted(view.extent for info in infos for view in info.views()):
        covered += max(0, end - max(start, reach))
        reach = max(reach, end)
    return covered


def _ordered(listed: tuple[TensorInfo, ...], order: Order) -> tuple[TensorInfo, ...]:
    if order == "name":
        from paramcli.select import natural

        return tuple(sorted(listed, key=lambda info: natural(info.name)))
    if order == "count":
        return tuple(sorted(listed, key=lambda info: -info.numel))
    if order == "bytes":
        return tuple(sorted(listed, key=lambda info: -info.nbytes))
    return listed
