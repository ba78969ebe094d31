"""What the shell offers after a local target: its tensors and modules, its trees, and schemes.

Nothing is said of what is wrong, no code of a class target runs, and no address is asked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer  # noqa: TC002 - Typer reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paramcli.checkpoint import Checkpoint

__all__ = ["complete_name", "complete_rule", "complete_scheme", "complete_tree"]

_MANY = 40
"""Names beyond which they are offered a part of their path at a time."""


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """Offer names of tensors, and paths of modules where there are many."""
    found = _opened(context, everything=bool(context.params.get("everything")))
    names = [info.name for info in found or () if info.name.startswith(incomplete)]
    if len(names) <= _MANY:
        return names
    return _steps(names, len(incomplete))


def complete_tree(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the trees of a training checkpoint."""
    found = _opened(context, everything=True)
    trees = found.trees if found is not None else ()
    return [tree.path for tree in trees if tree.path.startswith(incomplete)]


def complete_scheme(incomplete: str) -> list[str]:
    """Offer schemes, their other names, and recipes that ship."""
    from paramcli.schemes import recipes, registry

    known = {*registry.names(), *registry.ALIASES, *recipes.names()}
    return sorted(name for name in known if name.startswith(incomplete))


def complete_rule(context: typer.Context, incomplete: str) -> list[str]:
    """Offer names of tensors, and schemes after the `=`."""
    pattern, equals, scheme = incomplete.partition("=")
    if equals:
        return [f"{pattern}={name}" for name in complete_scheme(scheme)]
    return complete_name(context, incomplete)


def _steps(names: Iterable[str], start: int) -> list[str]:
    """Cut names after the next dot from `start` on."""
    ends = ((name, name.find(".", start)) for name in names)
    return list(dict.fromkeys(name if end < 0 else name[: end + 1] for name, end in ends))


def _opened(context: typer.Context, *, everything: bool) -> Checkpoint | None:
    from paramcli.sources import open as open_target

    given = context.params
    # Where the value of an option is asked for, what stands before it has not been taken apart.
    named = [given.get("target"), *(given.get("targets") or ()), given.get("a"), *context.args]
    paths = [one for one in named if isinstance(one, str) and one]
    target = next((one for one in paths if os.path.lexists(os.path.expanduser(one))), None)
    if target is None:
        return None
    key = given.get("key")
    try:
        return open_target(
            target,
            key=None if everything or not isinstance(key, str) else key,
            everything=everything,
        )
    except Exception:  # noqa: BLE001 - the command itself will say what is wrong
        return None
