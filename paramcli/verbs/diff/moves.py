"""Tensors that are called otherwise and have the same bytes, which alone prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.content.equal import equal
from paramcli.content.places import side_by_side
from paramcli.content.samples import Sampler
from paramcli.verbs.diff.report import Ambiguous

if TYPE_CHECKING:
    from paramcli.verbs.diff.side import Side

__all__ = ["Moves", "moved"]


class Moves(NamedTuple):
    """Names of A and B whose bytes are the same and nobody else's, and those that many share."""

    proven: dict[str, str]
    ambiguous: list[Ambiguous]


def moved(a: Side, b: Side, *, workers: int) -> Moves:
    """Pair tensors of the same type, shape and bytes, where no other has these."""
    prints: list[dict[object, list[str]]] = [{}, {}]
    common = {(info.dtype, info.shape) for info in a.named.values()} & {
        (info.dtype, info.shape) for info in b.named.values()
    }
    with Sampler() as sampler:
        for found, side in zip(prints, (a, b), strict=True):
            for name, info in side.named.items():
                if (info.dtype, info.shape) not in common or info.parts:
                    continue
                digest = sampler.print(side.checkpoint, info)
                if digest is not None:
                    found.setdefault((info.dtype, info.shape, digest), []).append(name)
    shared = [(prints[0][key], prints[1][key]) for key in prints[0] if key in prints[1]]
    single = [(ours[0], theirs[0]) for ours, theirs in shared if len(ours) == len(theirs) == 1]
    pairs = [
        (x, y, side_by_side((a.checkpoint, a.named[x]), (b.checkpoint, b.named[y])))
        for x, y in single
    ]
    placed = [(x, y, pair) for x, y, pair in pairs if pair is not None]
    verdicts = equal([pair for *_, pair in placed], workers=workers)
    proven = {x: y for (x, y, _), same in zip(placed, verdicts, strict=True) if same}
    ambiguous = [
        Ambiguous(tuple(ours), tuple(theirs), "the same bytes under several names")
        for ours, theirs in shared
        if len(ours) > 1 or len(theirs) > 1
    ]
    return Moves(proven, ambiguous)
