"""Ties made, undone and copied, as lazy overlays: entries point elsewhere, and no byte is moved.

What is refused says what stands against it: shapes, types, views that only overlap, and how far
values are apart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError, UsageError
from paramcli.select import compile_pattern, near
from paramcli.tensors import Place, Storage, row_major
from paramcli.verbs.tie.overlap import form_of
from paramcli.verbs.tie.report import Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

__all__ = ["Changed", "like", "tie", "untie"]

_SHOWN = 3


class Changed(NamedTuple):
    """A checkpoint with its ties changed, and what was changed."""

    checkpoint: Checkpoint
    changes: tuple[Change, ...]


def tie(
    checkpoint: Checkpoint, names: Sequence[str], *, winner: str | None = None, force: bool = False
) -> Changed:
    """Tie names: all view the bytes of `winner`, the first by default, wherever theirs were.

    Raises UsageError for a name that is not there, for shapes or types that differ, views that
    only overlap, and values that differ unless that is forced.
    """
    by_name = {info.name: info for info in checkpoint}
    kept = names[0] if winner is None else winner
    wanted = list(dict.fromkeys(names))
    for name in (*wanted, kept):
        if name not in by_name:
            inside = [other for other in by_name if other.startswith(f"{name}.")]
            close = (inside or [other for other in near(name, by_name) if other in by_name])[
                :_SHOWN
            ]
            raise UsageError(
                f"there is no tensor {name!r}",
                hint=f"did you mean {' or '.join(close)}?" if close else "paramcli list shows all",
            )
    if kept not in wanted:
        raise UsageError(f"--winner {kept} is none of {', '.join(wanted)}")
    if len(wanted) == 1:
        raise UsageError(f"{kept} cannot be tied to itself alone", hint="name two tensors or more")
    views = {name: by_name[kept] for name in wanted if name != kept}
    pointed = _pointed(checkpoint, by_name, views, kept, force=force)
    changes = (Change("tied", tuple(pointed), kept),) if pointed else ()
    return Changed(_with(checkpoint, tuple((by_name | pointed).values())), changes)


def untie(checkpoint: Checkpoint, patterns: Sequence[str]) -> Changed:
    """Give each name that is picked, and shares bytes, bytes of its own.

    Of names all of which are picked the first keeps those that they shared. Raises UsageError
    where nothing that is picked shares.
    """
    compiled = [compile_pattern(text) for text in patterns]
    by_name = {info.name: info for info in checkpoint}
    moved: dict[str, TensorInfo] = {}
    places: dict[Storage, TensorInfo] = {}
    changes = []
    for group in checkpoint.groups():
        picked = [name for name in group.names if any(one.matches(name) for one in compiled)]
        if len(picked) == len(group.names):
            picked.remove(group.names[0])
        for name in picked:
            info = by_name[name]
            _check_plain(info)
            own = Storage(info.storage.file, f"{info.storage.key}/{name}", info.nbytes)
            stride = info.stride if info.dense and not info.marks else row_major(info.shape)
            moved[name] = info._replace(storage=own, offset=0, stride=stride, marks=())
            places[own] = info
        if picked:
            changes.append(Change("untied", tuple(picked)))
    if not moved:
        raise UsageError(
            f"--untie {' '.join(patterns)} picks no name that shares bytes",
            hint="paramcli tie without options lists those that do",
        )
    entries = tuple(moved.get(info.name, info) for info in checkpoint)
    return Changed(_copied(checkpoint, entries, places), tuple(changes))


def like(checkpoint: Checkpoint, other: Checkpoint, *, force: bool = False) -> Changed:
    """Put the ties of another checkpoint, a model class say, onto this one.

    A name that this one lacks is added where one that it is tied to is there. Views that are
    transposes or parts are put on as the other has them. Raises UsageError as `tie` does.
    """
    theirs = {info.name: info for info in other}
    ours = {info.name: info for info in checkpoint}
    if not ours.keys() & theirs.keys():
        raise UsageError(f"{other.origin} has no name of {checkpoint.origin}")
    changes: list[Change] = []
    for group in other.groups():
        here = [name for name in group.names if name in ours]
        if not here:
            continue
        base = _base([theirs[name] for name in here])
        kept = ours[base.name]
        views = {name: _laid(theirs[name], base, kept) for name in group.names if name != base.name}
        added = {
            name: view._replace(name=name, kind=kept.kind)
            for name, view in views.items()
            if name not in ours
        }
        if added:
            changes.append(Change("added", tuple(added), base.name))
        moved = {name: view for name, view in views.items() if name in ours}
        pointed = _pointed(checkpoint, ours, moved, base.name, force=force)
        if pointed:
            changes.append(Change("tied", tuple(pointed), base.name))
        ours |= added | pointed
    return Changed(_with(checkpoint, tuple(ours.values())), tuple(changes))


def _base(members: Sequence[TensorInfo]) -> TensorInfo:
    """The first member that holds the bytes of all, else the first."""
    start = min(info.extent[0] for info in members)
    end = max(info.extent[1] for info in members)
    whole = (info for info in members if info.contiguous and info.extent == (start, end))
    return next(whole, members[0])


def _laid(theirs: TensorInfo, base: TensorInfo, ours: TensorInfo) -> TensorInfo:
    """Lay a view over our tensor as it lies over the base on the other side."""
    _check_plain(ours)
    if not base.open:
        _check_shape(base, ours)
    if theirs.view == base.view:
        return ours
    start, end = theirs.extent
    inside = base.extent[0] <= start and end <= base.extent[1]
    if not (inside and ours.contiguous and base.contiguous and theirs.dtype == base.dtype):
        raise UsageError(
            f"{theirs.name} cannot be laid over {ours.name}, which does not hold all its bytes"
        )
    return ours._replace(
        shape=theirs.shape,
        stride=theirs.stride,
        offset=ours.offset + theirs.offset - base.offset,
        marks=theirs.marks,
    )


def _pointed(
    checkpoint: Checkpoint,
    ours: Mapping[str, TensorInfo],
    views: Mapping[str, TensorInfo],
    kept: str,
    *,
    force: bool,
) -> dict[str, TensorInfo]:
    """Have names view other bytes, after all that stands against it was looked for."""
    pointed = {}
    for name, view in views.items():
        mine = ours[name]
        if mine.view == view.view:
            continue
        for info in (mine, view):
            _check_plain(info)
        _check_shape(view, mine)
        if mine.dtype != view.dtype:
            raise UsageError(
                f"{name} is {mine.dtype.name} and {kept} {view.dtype.name}, so they cannot be tied"
            )
        _check_apart(checkpoint, mine, view, kept)
        if not force:
            _check_values(checkpoint, mine, view, kept)
        pointed[name] = mine._replace(
            storage=view.storage, stride=view.stride, offset=view.offset, marks=view.marks
        )
    return pointed


def _check_plain(info: TensorInfo) -> None:
    if info.layout != "strided":
        raise UsageError(f"{info.name} is {info.layout.replace('_', ' ')}; only plain tensors tie")


def _check_shape(one: TensorInfo, other: TensorInfo) -> None:
    if one.shape != other.shape:
        turned = " (--like puts transposes on)" if one.shape == other.shape[::-1] else ""
        raise UsageError(
            f"{other.name} is {list(other.shape)} and {one.name} {list(one.shape)}, so they cannot "
            f"be tied{turned}"
        )


def _check_apart(checkpoint: Checkpoint, mine: TensorInfo, view: TensorInfo, kept: str) -> None:
    """Refuse what would make one view of two that share only some of their bytes."""
    if mine.storage != view.storage:
        return
    start, end = max(mine.extent[0], view.extent[0]), min(mine.extent[1], view.extent[1])
    if start < end and form_of([mine, view]) != "interleaved":
        raise UsageError(
            f"{mine.name} and {kept} overlap in bytes {start:,} to {end:,} of {checkpoint.origin} "
            "without being the same view",
            hint=f"give {mine.name} bytes of its own first: --untie {mine.name}",
        )


def _check_values(checkpoint: Checkpoint, mine: TensorInfo, view: TensorInfo, kept: str) -> None:
    from paramcli.verbs.diff.values import How, compare_values

    verdicts = compare_values(checkpoint, checkpoint, [(mine, view)], How())
    if verdicts.equal:
        return
    hint = f"--force gives {mine.name} the bytes of {kept}; --winner picks whose bytes stand"
    if not verdicts.changed:
        raise SourceError(
            f"{mine.name} and {kept} have no values to compare", path=checkpoint.origin,
            hint="--force ties them all the same",
        )  # fmt: skip
    change = verdicts.changed[0]
    how = "their values differ"
    if change is not None:
        odd = change.nan + change.infinite
        how += f" in {change.changed:,} of {change.n:,} elements, by at most {change.max_abs:.6g}"
        how += f", {odd:,} of them not finite" if odd else ""
    raise UsageError(f"{mine.name} and {kept}: {how}", hint=hint)


def _with(checkpoint: Checkpoint, entries: tuple[TensorInfo, ...]) -> Checkpoint:
    """Put other entries into a checkpoint. What an index stated of all bytes holds no more."""
    metadata = dict(checkpoint.metadata)
    if checkpoint.format.startswith("sharded"):
        metadata.pop("total_size", None)
    return replace(checkpoint, entries=entries, metadata=metadata)


def _copied(
    checkpoint: Checkpoint, entries: tuple[TensorInfo, ...], places: Mapping[Storage, TensorInfo]
) -> Checkpoint:
    """Return a checkpoint with storages of its own, each a copy of what a view of the old holds."""

    def locate(storage: Storage) -> Place | None:
        info = places.get(storage)
        place = checkpoint.locate(info.storage if info else storage)
        if info is None or place is None:
            return place
        dense = info.dense and not info.marks and info.offset * info.dtype.bits % 8 == 0
        return Place(place.file, place.offset + info.extent[0]) if dense else None

    def unpack(storage: Storage, start: int, target: memoryview) -> None:
        info = places.get(storage)
        if info is None:
            checkpoint.unpack(storage, start, target)
        elif info.dense and not info.marks:
            checkpoint.fill(info.storage, info.extent[0] + start, target)
        else:
            from paramcli.numeric.gather import Gathered

            Gathered(checkpoint, info).fill(start, target)

    def checksum(storage: Storage) -> int | None:
        return None if storage in places else checkpoint.checksum(storage)

    draw = None
    if checkpoint.draw is not None:
        inner = checkpoint.draw

        def draw(storage: Storage, start: int, target: memoryview) -> None:
            (unpack if storage in places else inner)(storage, start, target)

    return replace(
        _with(checkpoint, entries), locate=locate, unpack=unpack, checksum=checksum, draw=draw
    )
