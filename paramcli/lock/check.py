"""The rules of a lock that metadata alone can break."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.lock.model import Lock

__all__ = ["Violation", "violations"]

_SHOWN = 3


class Violation(NamedTuple):
    """A rule that does not hold, what breaks it in words, and the line it stands on."""

    rule: str
    message: str
    line: int


def violations(
    lock: Lock, *, count: int, nbytes: int, dtypes: Mapping[str, Sequence[str]]
) -> tuple[Violation, ...]:
    """Hold a checkpoint's sums against `count_max`, `bytes_max` and `dtype`.

    `count` and `nbytes` are its unique elements and bytes, what is shared counted once;
    `dtypes` maps torch's name of each element type to the names of the tensors that have it.
    """
    rules, found = lock.rules, []
    for rule, most, actual, what in (
        ("count_max", rules.count_max, count, "unique parameters"),
        ("bytes_max", rules.bytes_max, nbytes, "unique bytes"),
    ):
        if most is not None and actual > most:
            found.append((rule, f"{actual:,} {what}, {actual - most:,} more than {most:,}"))
    for dtype, names in dtypes.items():
        if rules.dtype and names and dtype not in rules.dtype:
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            listed = ", ".join(names[:_SHOWN]) + more
            found.append(("dtype", f"{listed}: {dtype}, not {' or '.join(rules.dtype)}"))
    return tuple(Violation(rule, message, rules.lines[rule]) for rule, message in found)
