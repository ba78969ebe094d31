"""What stands out of a difference: the modules that moved, and what probably made it."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from paramcli.verbs.diff.names import parse_rename
from paramcli.verbs.diff.report import Cause, Module

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paramcli.numeric.change import Change
    from paramcli.verbs.diff.report import DTypeChange, Renamed

__all__ = ["likely_cause", "modules"]

_LAYER = re.compile(r"^(?P<stem>(?:[^.]*\.)*?)(?P<layer>[0-9]{1,9})(?P<rest>(?:\..*)?)$")
_NEARLY_ALL = 0.9


def modules(names: Iterable[str], changed: Mapping[str, Change | None]) -> tuple[Module, ...]:
    """Roll the changes of compared tensors up into modules, in order of their first name.

    `rel_l2` is that of all changed tensors of a module taken together: 0 where none is, NaN where
    one changed by no known amount or by a NaN.
    """
    totals: dict[tuple[int | None, str], list[float]] = {}
    for name in names:
        tensors = totals.setdefault(_place(name), [0, 0, 0.0, 0.0])
        tensors[0] += 1
        if name in changed:
            change = changed[name]
            tensors[1] += 1
            known = change is not None and not change.nan and not change.infinite
            tensors[2] = math.hypot(tensors[2], change.difference if change and known else math.nan)
            tensors[3] = math.hypot(tensors[3], change.a if change else math.nan)
    return tuple(
        Module(layer, name, int(count), int(moved), _relative(difference, base))
        for (layer, name), (count, moved, difference, base) in totals.items()
    )


def _relative(difference: float, base: float) -> float:
    return difference / base if base else (math.inf if difference else 0.0)


def _place(name: str) -> tuple[int | None, str]:
    """The layer that a tensor belongs to, and its module with `*` for the layer's number."""
    module = name.rpartition(".")[0] or name
    found = _LAYER.match(module)
    if found is None:
        return None, module
    return int(found["layer"]), f"{found['stem']}*{found['rest']}"


def likely_cause(
    renamed: Sequence[Renamed],
    dtypes: Sequence[DTypeChange],
    *,
    matched: int,
    only_a: int,
    only_b: int,
) -> Cause | None:
    """Name what explains nearly all of the difference, and the options that set it aside."""
    total = matched + max(only_a, only_b)
    if not matched:
        return Cause("the two have no name in common", None) if only_a and only_b else None
    ruled = [one for one in renamed if one.rules]
    if _nearly_all(len(ruled), total):
        return _renaming(ruled, total)
    casts = Counter((one.a, one.b) for one in dtypes)
    for (a, b), count in casts.most_common(1):
        if _nearly_all(count, matched):
            return Cause(f"{count:,} tensors are {a} in A and {b} in B", "--ignore-dtype")
    if not only_a and _nearly_all(only_b, matched):
        return Cause(f"B has all names of A and {only_b:,} more", "--subset")
    return None


def _nearly_all(count: int, total: int) -> bool:
    return count > 1 and count >= _NEARLY_ALL * total


def _renaming(ruled: Sequence[Renamed], total: int) -> Cause:
    """Say by what rules names match, and the options that apply them, where these are proved."""
    rules = list(dict.fromkeys(rule for one in ruled for rule in one.rules))
    rules.sort(key=lambda rule: -rule[0].count("."))  # the more particular ones first
    words = ", ".join(_words(old, new) for old, new in rules)
    number = f"all {total:,}" if len(ruled) == total else f"{len(ruled):,} of {total:,}"
    texts = [f"{old}={new}" for old, new in rules]
    option = " ".join(f"--rename '{text}'" for text in texts) if _hold(texts, ruled) else None
    return Cause(f"{number} names match after {words}", option)


def _hold(texts: Sequence[str], ruled: Sequence[Renamed]) -> bool:
    """Whether these rules, one after another, make of each name of A what B calls it."""
    renames = [parse_rename(text) for text in texts]
    for one in ruled:
        name = one.a
        for rename in renames:
            name = rename(name)
        if name != one.b:
            return False
    return True


def _words(old: str, new: str) -> str:
    if not new:
        return f"stripping {old}"
    return f"rewriting {old} to {new}" if old else f"adding {new}"
