"""Which names share bytes: those whose views meet in the same storage."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paramcli.tensors import Storage, TensorInfo

__all__ = ["Group", "share"]


class Group(NamedTuple):
    """Names that share bytes: the "same" view, or an "overlap".

    `bytes` are the shared ones, 0 where a lock leaves open how many.
    """

    id: str
    names: tuple[str, ...]
    relation: Literal["same", "overlap"]
    bytes: int


_storage, _parts, _key = attrgetter("storage"), attrgetter("parts"), attrgetter("key")


def share(entries: Iterable[TensorInfo]) -> tuple[Group, ...]:
    """Group the names whose views meet in the same storage.

    Views of one storage are swept in order of their first byte with a running end, so that
    nested and chained overlaps meet in one group. A group is "same" where all its members have
    one dtype, shape, stride and offset.
    """
    entries = tuple(entries)
    if _apart(list(map(_storage, entries))) and not any(map(_parts, entries)):
        return ()
    by_storage: dict[Storage, list[tuple[int, int, int, TensorInfo]]] = {}
    for order, info in enumerate(entries):
        for view in info.views():
            start, end = view.extent
            if end > start and view.storage.nbytes:
                by_storage.setdefault(view.storage, []).append((start, end, order, info))
    found: list[tuple[int, list[TensorInfo], int]] = []
    for spans in by_storage.values():
        if len(spans) > 1:
            found.extend(_clusters(spans))
    found.sort(key=lambda cluster: cluster[0])
    return tuple(
        _group(f"g{number}", members, shared)
        for number, (_, members, shared) in enumerate(found, 1)
    )


def _apart(storages: list[Storage]) -> bool:
    """Whether no two are the same. Their keys alone, which hash faster, tell it of most files."""
    count = len(storages)
    return len(set(map(_key, storages))) == count or len(set(storages)) == count


def _group(name: str, members: list[TensorInfo], shared: int) -> Group:
    names = tuple(info.name for info in members)
    if len({info.view for info in members}) > 1:
        return Group(name, names, "overlap", shared)
    start, end = members[0].extent
    return Group(name, names, "same", 0 if members[0].open else min(shared, end - start))


def _clusters(
    spans: list[tuple[int, int, int, TensorInfo]],
) -> Iterator[tuple[int, list[TensorInfo], int]]:
    """Yield (order of the first name, members in order, bytes that two or more of them view)."""
    if len({span[2] for span in spans}) < len(spans):
        spans = _of_each_name(spans)
    spans.sort(key=lambda span: span[:3])
    cluster: dict[int, TensorInfo] = {}
    reach = shared = 0
    twice = 0  # end of the bytes already known to be viewed twice
    beyond = 1 << 63  # no view begins there: it closes the last cluster
    for start, end, order, info in [*spans, (beyond, beyond, -1, spans[0][3])]:
        if start >= reach and cluster:
            if len(cluster) > 1:
                first = min(cluster)
                yield first, [cluster[order] for order in sorted(cluster)], shared
            cluster, shared, twice = {}, 0, 0
        overlap = min(reach, end)
        shared += max(0, overlap - max(start, twice)) if cluster else 0
        twice = max(twice, overlap)
        reach = max(reach, end)
        cluster[order] = info


def _of_each_name(
    spans: list[tuple[int, int, int, TensorInfo]],
) -> list[tuple[int, int, int, TensorInfo]]:
    """Join what one composite views twice: that is not shared with another name."""
    joined: list[tuple[int, int, int, TensorInfo]] = []
    for span in sorted(spans, key=lambda span: (span[2], *span[:2])):
        start, end, order, info = span
        if joined and joined[-1][2] == order and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]), order, info)
        else:
            joined.append(span)
    return joined
