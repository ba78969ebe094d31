"""`--find-equal`: names that hold the same bytes without a tie, as a save that lost it leaves them.

A few bytes of each tensor tell which could be the same, so most are never read whole; what agrees
there is compared byte by byte. Only what does not lie in one piece is hashed (SHA-256).
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from paramcli.content.digest import digest
from paramcli.content.equal import equal
from paramcli.content.places import Stretch, stretch
from paramcli.content.samples import Sampler
from paramcli.verbs.tie.report import Equal, LeftOut
from paramcli.workers import available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import DType, TensorInfo

    Progress = Callable[[int, int], None]
    Shapes = Counter[tuple[DType, tuple[int, ...]]]

__all__ = ["TINY", "find_equal"]

TINY = 64
"""Bytes below which equal tensors are no evidence of a tie."""
_MATRIX = 2
_SAMPLES = 16
_TOGETHER = 256
"""Pairs that are compared by the same workers, of which there may be very many."""
_ROUNDS = 2
"""How often what is left is compared with one of it, before all that is left is hashed."""


class _Found(NamedTuple):
    """A tensor whose bytes are looked at.

    `shape` is that of its bytes in row-major order, `flipped` says that the tensor is the
    transpose of the matrix that lies so.
    """

    info: TensorInfo
    place: Stretch
    shape: tuple[int, ...]
    flipped: bool

    @property
    def width(self) -> int:
        return self.info.dtype.bits // 8


def find_equal(
    checkpoint: Checkpoint, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[tuple[Equal, ...], LeftOut]:
    """Find names that are not tied and whose bytes are equal, those of transposes included.

    Left out are tensors below 64 bytes and those that are one number over and over, which many
    are without being tied. Raises SourceError where bytes cannot be read.
    """
    views: dict[object, TensorInfo] = {}
    tiny = 0
    for info in checkpoint:
        start, end = info.extent
        repeated = info.nbytes > 2 * (end - start)
        if info.layout != "strided" or info.dtype.bits % 8 or not info.storage.file or repeated:
            continue
        if info.nbytes < TINY:
            tiny += 1
        else:
            views.setdefault(info.view, info)
    lying: dict[tuple[DType, Stretch], _Found] = {}
    others: list[TensorInfo] = []
    for info in views.values():
        found = _laid(checkpoint, info)
        if found is None:
            others.append(info)
        else:
            lying.setdefault((info.dtype, found.place), found)  # others there are tied to it
    with Sampler() as sampler:
        classes, constant = _classes(sampler, lying.values(), workers or available(), progress)
        pairs = _turned(sampler, [members[0] for members in classes], workers, progress)
    equals = [*_of_classes(classes, pairs)]
    hashed, more = _hashed(checkpoint, others)
    place = {info.name: number for number, info in enumerate(checkpoint)}
    found_all = sorted(equals + hashed, key=lambda one: (place[one.names[0]], one.relation))
    return tuple(found_all), LeftOut(tiny, constant + more)


def _laid(checkpoint: Checkpoint, info: TensorInfo) -> _Found | None:
    """Say where a tensor lies in one piece, by rows or by columns; None where it does not."""
    place = stretch(checkpoint, info)
    if place is None:
        return None
    if info.contiguous:
        return _Found(info, place, info.shape, flipped=False)
    if len(info.shape) == _MATRIX:
        return _Found(info, place, info.shape[::-1], flipped=True)
    return None


def _classes(
    sampler: Sampler, found: Iterable[_Found], workers: int, progress: Progress | None
) -> tuple[list[list[_Found]], int]:
    """Put together those whose bytes are the same in one order; count what is constant."""
    buckets: dict[tuple[DType, tuple[int, ...], bytes], list[_Found]] = {}
    found = list(found)
    shapes = Counter((one.info.dtype, one.shape) for one in found)
    for one in found:
        if _alone(shapes, one.info.dtype, one.shape):
            continue
        key = one.info.dtype, one.shape, sampler.sample(one.place, one.width)
        buckets.setdefault(key, []).append(one)
    plain, constant = [], 0
    for (_, _, sample), members in buckets.items():
        width = members[0].width
        if sample == sample[:width] * (len(sample) // width):
            kept = _varied(members, workers)
            constant += len(members) - len(kept)
            members = kept  # noqa: PLW2901 - those that are left
        if members:
            plain.append(members)
    classes: list[list[_Found]] = []
    for _ in range(_ROUNDS):
        plain = _compared(plain, classes, workers, progress)
    for members in plain:
        by_digest: dict[bytes, list[_Found]] = {}
        for one in members:
            by_digest.setdefault(digest(one.place), []).append(one)
        classes += by_digest.values()
    return classes, constant


def _compared(
    open_: Sequence[Sequence[_Found]],
    classes: list[list[_Found]],
    workers: int,
    progress: Progress | None,
) -> list[list[_Found]]:
    """Part from each bucket those whose bytes are its first one's, as a class; return the rests."""
    pairs = [(members[0], other) for members in open_ for other in members[1:]]
    total = sum(one.place.nbytes for one, _ in pairs)
    verdicts = iter(
        equal(
            [(one.place, other.place) for one, other in pairs], workers=workers,
            progress=progress and (lambda done: progress(done, total)),
        )
    )  # fmt: skip
    rests = []
    for first, *others in open_:
        told = [(one, next(verdicts)) for one in others]
        classes.append([first, *(one for one, same in told if same)])
        rests.append([one for one, same in told if not same])
    return [rest for rest in rests if rest]


def _alone(shapes: Shapes, dtype: DType, shape: tuple[int, ...]) -> bool:
    """Whether no other tensor could be equal to one of this type and shape, nor its transpose."""
    return shapes[dtype, shape] == 1 and (shape == shape[::-1] or not shapes[dtype, shape[::-1]])


def _varied(members: Sequence[_Found], workers: int) -> list[_Found]:
    """Keep what is not one element over and over: that equals itself moved by one element."""
    moved = []
    for one in members:
        file, offset, size = one.place
        left = size - one.width
        moved.append((Stretch(file, offset, left), Stretch(file, offset + one.width, left)))
    verdicts = equal(moved, workers=workers)
    return [one for one, constant in zip(members, verdicts, strict=True) if not constant]


def _turned(
    sampler: Sampler, found: Sequence[_Found], workers: int | None, progress: Progress | None
) -> list[tuple[int, int]]:
    """Pair matrices, by number, of which one lies in memory as the transpose of the other.

    No two of them are equal, so none is the transpose of two.
    """
    likely = _likely(sampler, found)
    pairs: list[tuple[int, int]] = []
    while some := list(islice(likely, _TOGETHER)):
        taken = set(chain.from_iterable(pairs))
        pairs += _proven(found, filter(taken.isdisjoint, some), workers, progress)
    return pairs


def _proven(
    found: Sequence[_Found],
    likely: Iterable[tuple[int, int]],
    workers: int | None,
    progress: Progress | None,
) -> list[tuple[int, int]]:
    """Keep the pairs of which one is the other's transpose by all their bytes."""
    from paramcli.numeric.turned import Pair, turned

    numbers = list(likely)
    pairs = [
        Pair(two.place, one.place, (two.shape[0], two.shape[1]), two.width)
        for one, two in ((found[one], found[two]) for one, two in numbers)
    ]
    total = sum(pair.a.nbytes for pair in pairs)
    verdicts = turned(
        pairs, workers=workers, progress=progress and (lambda done: progress(done, total))
    )
    return [pair for pair, same in zip(numbers, verdicts, strict=True) if same]


def _likely(sampler: Sampler, found: Sequence[_Found]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of which a few elements agree."""
    shapes = {(one.info.dtype, one.shape) for one in found}
    by_print: dict[object, list[int]] = {}
    for number, one in enumerate(found):
        if (
            len(one.shape) != _MATRIX
            or min(one.shape) == 1
            or (one.info.dtype, one.shape[::-1]) not in shapes
        ):
            continue
        straight, across = (_elements(sampler, one, across=turn) for turn in (False, True))
        for other in by_print.get((one.info.dtype, one.shape, straight), ()):
            yield other, number
        by_print.setdefault((one.info.dtype, one.shape[::-1], across), []).append(number)


def _elements(sampler: Sampler, one: _Found, *, across: bool) -> bytes:
    """Read a few elements; `across` those at the places that its transpose would have them."""
    rows, columns = one.shape
    if across:
        rows, columns = columns, rows
    taken = []
    for number in range(_SAMPLES):
        row, column = number * rows // _SAMPLES, number * 5 % _SAMPLES * columns // _SAMPLES
        at = column * rows + row if across else row * columns + column
        taken.append(sampler.read(one.place, at * one.width, one.width))
    return b"".join(taken)


def _of_classes(
    classes: Sequence[Sequence[_Found]], pairs: Sequence[tuple[int, int]]
) -> Iterator[Equal]:
    """Say of each class, and of those that are its transposes, what is equal and what is turned."""
    joined = {other: classes[number] for number, other in pairs}
    for number, members in enumerate(classes):
        if number in joined:
            continue
        turn = next((classes[b] for a, b in pairs if a == number), ())
        straight = [m for m in members if not m.flipped] + [m for m in turn if m.flipped]
        across = [m for m in members if m.flipped] + [m for m in turn if not m.flipped]
        for side in (straight, across):
            if len(side) > 1:
                yield _alike([one.info for one in side], "same")
        if straight and across:
            yield _alike([straight[0].info, across[0].info], "transposed")


def _alike(members: Sequence[TensorInfo], relation: Literal["same", "transposed"]) -> Equal:
    first, *rest = members
    names = tuple(info.name for info in members)
    return Equal(names, relation, first.dtype.name, first.shape, sum(info.nbytes for info in rest))


def _hashed(checkpoint: Checkpoint, found: Sequence[TensorInfo]) -> tuple[list[Equal], int]:
    """Compare by SHA-256 what must be gathered or unpacked, where two can be alike."""
    shapes = Counter((info.dtype, info.shape) for info in found)
    digests: dict[tuple[DType, tuple[int, ...], bytes], list[TensorInfo]] = {}
    order = {info.name: number for number, info in enumerate(found)}
    constant = 0
    for info in found:
        if not _alone(shapes, info.dtype, info.shape):
            digest = _digest(checkpoint, info)
            if digest is None:
                constant += 1
            else:
                digests.setdefault((info.dtype, info.shape, digest), []).append(info)
    equals = [_alike(members, "same") for members in digests.values() if len(members) > 1]
    for first, *_ in digests.values():
        if len(first.shape) == _MATRIX and shapes[first.dtype, first.shape[::-1]]:
            turned = first._replace(shape=first.shape[::-1], stride=first.stride[::-1])
            across = turned.dtype, turned.shape, _digest(checkpoint, turned) or b""
            other = digests.get(across, [first])[0]
            if order[first.name] < order[other.name]:
                equals.append(_alike([first, other], "transposed"))
    return equals, constant


def _digest(checkpoint: Checkpoint, info: TensorInfo) -> bytes | None:
    """Return the SHA-256 of a tensor's elements, None where all are the same one."""
    from paramcli.numeric.gather import Gathered

    made, constant = sha256(), True
    width, first = max(1, info.dtype.bits // 8), b""
    for piece in Gathered(checkpoint, info).pieces():
        first = first or bytes(piece[:width])
        constant = constant and piece == first * (len(piece) // width)
        made.update(piece)
    return None if constant else made.digest()
