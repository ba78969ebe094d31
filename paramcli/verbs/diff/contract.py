"""A checkpoint held against a lock: shapes with names for sizes, ties that must be, and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.lock import resolve, violations
from paramcli.verbs.diff.report import ShapeChange, TieChange, Violation
from paramcli.verbs.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.lock import Lock
    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo

__all__ = ["broken_rules", "broken_ties", "unfitting"]

_SHOWN = 3


def unfitting(
    lock: Lock, pairs: Sequence[tuple[str, TensorInfo, TensorInfo]], *, swapped: bool
) -> Iterator[ShapeChange]:
    """Shapes that do not fit their lines; `swapped` says that the lock is B."""
    actual = {(other if swapped else one).name: (name, one, other) for name, one, other in pairs}
    shapes = {key: (one if swapped else other).shape for key, (_, one, other) in actual.items()}
    for key, fit in resolve(lock, shapes).fits.items():
        if fit.fits is False:
            expected, found = fit.shape, shapes[key]
            a, b = (found, expected) if swapped else (expected, found)
            yield ShapeChange(actual[key][0], a, b, why=fit.why)


def broken_ties(
    lock: Lock, groups: Sequence[Group], called: Mapping[str, str], *, swapped: bool
) -> TieChange:
    """Groups of the lock that are not tied; `called` are the other side's names by the lock's."""
    group_of = {
        name: group.id for group in groups if group.relation == "same" for name in group.names
    }
    missing = tuple(
        group.names
        for group in lock.rules.tied
        if any(name in called for name in group.names)
        and not _together(group_of.get(called.get(name, "")) for name in group.names)
    )
    return TieChange(only_b=missing) if swapped else TieChange(only_a=missing)


def _together(ids: Iterable[str | None]) -> bool:
    found = set(ids)
    return len(found) == 1 and None not in found


def broken_rules(
    lock: Lock, checkpoint: Checkpoint, entries: tuple[TensorInfo, ...], *, values: bool
) -> tuple[Violation, ...]:
    """Rules of the lock that some of a checkpoint's tensors break; `values` may be read for it."""
    totals = survey(checkpoint, entries).totals
    dtypes: dict[str, list[str]] = {}
    for info in entries:
        dtypes.setdefault(info.dtype.name, []).append(info.name)
    found = [
        Violation(*one)
        for one in violations(
            lock, count=totals.unique_numel, nbytes=totals.unique_bytes, dtypes=dtypes
        )
    ]
    if lock.rules.finite and values and any(info.storage.file for info in entries):
        from paramcli.verbs.show import check_finite

        report, _ = check_finite(checkpoint, [info.name for info in entries])
        bad = [f"{one.info.name} at {list(one.first_bad or ())}" for one in report.tensors]
        if bad:
            more = f" and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
            message = f"NaN or infinity in {', '.join(bad[:_SHOWN])}{more}"
            found.append(Violation("finite", message, lock.rules.lines["finite"]))
    return tuple(found)
