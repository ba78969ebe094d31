"""Which names share bytes on one side and not on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.verbs.diff.report import TieChange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo

__all__ = ["compare_ties", "kept_by_a_tie"]


def kept_by_a_tie(
    groups: Sequence[Group], left: Mapping[str, TensorInfo], matched: Mapping[str, object]
) -> set[str]:
    """Names that the other side lacks, but whose bytes it has under the name of a tied partner."""
    return {
        name
        for group in groups
        if group.relation == "same" and any(other in matched for other in group.names)
        for name in group.names
        if name in left
    }


def compare_ties(a: Sequence[Group], b: Sequence[Group], matched: Mapping[str, str]) -> TieChange:
    """Compare groups as sets of names, those of A by what B calls them.

    A group none of whose names are on the other side says nothing about sharing.
    """
    back = {there: here for here, there in matched.items()}
    ours = {_called(group, matched): group.names for group in a if _met(group, matched)}
    theirs = {_called(group, {}): group.names for group in b if _met(group, back)}
    return TieChange(
        tuple(names for key, names in ours.items() if key not in theirs),
        tuple(names for key, names in theirs.items() if key not in ours),
    )


def _met(group: Group, matched: Mapping[str, str]) -> bool:
    return any(name in matched for name in group.names)


def _called(group: Group, names: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    return group.relation, frozenset(names.get(name, name) for name in group.names)
