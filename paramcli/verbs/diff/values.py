"""Whose values differ, and by how much: bytes first, then numbers only where bytes differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.content.equal import equal
from paramcli.content.places import side_by_side
from paramcli.errors import UsageError
from paramcli.numeric.change import NO_CHANGE, Change, merge
from paramcli.verbs.diff.report import Metrics, ValueChange
from paramcli.workers import available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.change import Tolerance
    from paramcli.tensors import TensorInfo

    Pair = tuple[TensorInfo, TensorInfo]
    Progress = Callable[[int, int], None]
    Verdict = bool | Change | None
    """True for equal, a change, False for one of no known amount, None where nothing is known."""

__all__ = ["How", "Verdicts", "compare_values", "has_bytes", "metrics_of"]


class How(NamedTuple):
    """How values are compared: by checksums alone, with what tolerance and metrics, and where."""

    quick: bool = False
    metrics: bool = True
    tolerance: Tolerance | None = None
    device: str = "cpu"
    workers: int | None = None


class Verdicts(NamedTuple):
    """By the number of a pair: whose values are equal, whose changed (None: by no known amount).

    A pair that is in neither could not be compared.
    """

    equal: frozenset[int]
    changed: Mapping[int, Change | None]


def compare_values(
    a: Checkpoint,
    b: Checkpoint,
    pairs: Sequence[Pair],
    how: How,
    progress: Progress | None = None,
) -> Verdicts:
    """Compare pairs of tensors of one shape. Views that several names share are read once."""
    views: dict[object, Pair] = {}
    of_pair: list[list[object] | None] = []
    for one, other in pairs:
        inner = _views(one, other)
        keys: list[object] = [(x.view, y.view) for x, y in inner or ()]
        of_pair.append(None if inner is None else keys)
        views.update(zip(keys, inner or (), strict=True))
    found = _of_views(a, b, list(views.values()), how, progress)
    by_key = dict(zip(views, found, strict=True))
    same: set[int] = set()
    changed: dict[int, Change | None] = {}
    for number, keys_ in enumerate(of_pair):
        if keys_ is None:  # they are put together of other parts
            changed[number] = None
            continue
        verdicts = [by_key[key] for key in keys_]
        changes = [verdict for verdict in verdicts if verdict is not True]
        if not changes:
            same.add(number)
        elif None not in changes:
            changed[number] = _together(changes)
    return Verdicts(frozenset(same), changed)


def _views(one: TensorInfo, other: TensorInfo) -> list[Pair] | None:
    """The plain tensors behind both names side by side, None where they are not alike."""
    if not one.parts and not other.parts:
        return [(one, other)]
    ours, theirs = list(one.views()), list(other.views())
    alike = [(x.name.rpartition(".")[2], x.shape) for x in ours] == [
        (y.name.rpartition(".")[2], y.shape) for y in theirs
    ]
    alike = one.layout == other.layout and len(ours) == len(theirs) and alike
    return list(zip(ours, theirs, strict=True)) if alike else None


def _of_views(
    a: Checkpoint, b: Checkpoint, pairs: list[Pair], how: How, progress: Progress | None
) -> list[Verdict]:
    found: list[Verdict] = [None if one.numel else True for one, _ in pairs]
    if how.quick:
        if {a.format, b.format} != {"torch-zip"}:
            raise UsageError(
                "--quick compares checksums, and only zips of torch.save state them",
                hint="leave it out to compare the values themselves",
            )
        for number in _readable(pairs, found):
            found[number] = _by_checksum(a, b, pairs[number])
    todo = _readable(pairs, found)
    total = sum(pairs[number][0].nbytes for number in todo)

    def advance(nbytes: int) -> None:
        if progress is not None:
            progress(nbytes, total)

    places = {number: side_by_side((a, pairs[number][0]), (b, pairs[number][1])) for number in todo}
    placed = {number: place for number, place in places.items() if place is not None}
    verdicts = equal(list(placed.values()), workers=how.workers or available(), progress=advance)
    for number, same in zip(placed, verdicts, strict=True):
        found[number] = same
    rest = [number for number in todo if found[number] is not True]
    if rest:
        for number, verdict in _by_numbers(a, b, pairs, rest, how):
            found[number] = verdict if verdict is not None else found[number]
    return found


def _readable(pairs: list[Pair], found: list[Verdict]) -> list[int]:
    """Numbers of the pairs without a verdict whose bytes are there on both sides."""
    return [
        number
        for number, pair in enumerate(pairs)
        if found[number] is None and all(map(has_bytes, pair))
    ]


def _by_numbers(
    a: Checkpoint, b: Checkpoint, pairs: list[Pair], rest: list[int], how: How
) -> Iterator[tuple[int, Verdict]]:
    """Look at numbers where bytes differ, or cannot be laid side by side."""
    from paramcli.numeric.compare import comparable, compare, differ
    from paramcli.numeric.gather import same

    numbers = []
    for index in rest:
        one, other = pairs[index]
        if comparable(one, other):
            numbers.append(index)
        elif one.dtype == other.dtype:
            yield index, same(a, one, b, other)
    compared = [pairs[index] for index in numbers]
    if not how.metrics:
        for index, unlike in zip(numbers, differ(a, b, compared, how.tolerance), strict=True):
            yield index, not unlike
        return
    changes = compare(
        a, b, compared, tolerance=how.tolerance, workers=how.workers, device=how.device
    )
    for index, change in zip(numbers, changes, strict=True):
        yield index, change if change.changed else True


def _by_checksum(a: Checkpoint, b: Checkpoint, pair: Pair) -> bool | None:
    """Whether the checksums that both archives state agree; None where they do not decide."""
    one, other = pair
    first, second = a.checksum(one.storage), b.checksum(other.storage)
    if first is None or second is None or one[1:5] != other[1:5] or a.byteorder != b.byteorder:
        return None
    if first == second and one.storage.nbytes == other.storage.nbytes:
        return True
    whole = one.extent == (0, one.storage.nbytes) and other.extent == (0, other.storage.nbytes)
    return False if whole else None


def has_bytes(info: TensorInfo) -> bool:
    """Whether a tensor's elements are there to be read."""
    return bool(info.storage.file or not info.numel)


def _together(changes: Sequence[Verdict]) -> Change | None:
    """Merge the changes of a composite's parts; None where one has none to tell."""
    total = NO_CHANGE
    for change in changes:
        if not isinstance(change, Change):
            return None
        total = merge(total, change)
    return total


def metrics_of(name: str, change: Change | None) -> ValueChange:
    """What is reported of a change."""
    if change is None:
        return ValueChange(name, None)
    plain = _metrics(change)
    if not change.nan and not change.infinite:
        return ValueChange(name, plain)
    odd = math.nan if change.nan else math.inf
    ieee = plain._replace(max_abs=odd, max_rel=odd, l2=odd, rel_l2=odd, cosine=math.nan)
    return ValueChange(name, ieee, change.nan, change.infinite, plain)


def _metrics(change: Change) -> Metrics:
    return Metrics(
        max_abs=change.max_abs,
        max_rel=change.max_rel,
        l2=change.difference,
        rel_l2=change.relative,
        cosine=change.cosine,
        changed=change.changed,
        changed_fraction=change.changed / change.n if change.n else 0.0,
    )
