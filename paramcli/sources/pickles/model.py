"""Which tree of a training checkpoint is the model."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint, Tree
from paramcli.errors import SourceError, UsageError
from paramcli.sources.pickles.nodes import Dict, Record
from paramcli.sources.pickles.trees import (
    flatten,
    holds,
    is_leaf,
    is_module,
    is_state_dict,
    members,
)
from paramcli.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.sources import Request

__all__ = ["from_tree"]

MAX_ROWS = 100_000
"""Of a list of numbers alone: a longer one is a single value, not a row for each."""

MODEL_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network",
    "net_state_dict", "weights", "params", "policy", "serialized_state_dict",
)  # fmt: skip
"""Where trainers keep the model's own weights, the likeliest first."""

_AVERAGE = r"(^|[_.-])(ema|swa)($|[_.-])"
_AUXILIARY = (
    rf"{_AVERAGE}|opt([gd]|im(izer)?s?)?($|[_.-])|optim|sched|scaler"
    r"|(^|[_.-])(rng|amp|callbacks?|loops?)($|[_.-])|shadow|random_state|hyper_?param"
    r"|^(args|config|cfg|epoch|step|global_step|iteration|loss|best.*)$"
)
"""What lies beside the model in a training checkpoint, by name."""


def from_tree(root: object, request: Request, *, file: str, form: str) -> Checkpoint:
    """Make a checkpoint of the tree that a request picks. `file` is for errors.

    It is the one asked for, else the model's own where that is clear, else all there is. Raises
    UsageError for a key that is not there, SourceError for trees that are damaged or beyond all
    bounds.
    """
    try:
        return _picked(root, request, file, partial(Checkpoint, origin=request.target, format=form))
    except ValueError as error:
        raise SourceError(f"damaged pickle: {error}", path=file) from None


def _picked(
    root: object, request: Request, file: str, made: Callable[..., Checkpoint]
) -> Checkpoint:
    key = request.key
    if key is None and is_state_dict(root):
        return made(entries=flatten(root, file)[0])  # a state dict and nothing else
    if type(root) in (list, tuple) and len(root) > MAX_ROWS and is_leaf(root, {}):  # type: ignore[arg-type]
        return made(entries=(), values=(("", root),))
    tensors, values = flatten(root, file)
    barren: set[int] = set()
    trees = tuple(
        Tree(name, len(flatten(node, file)[0]))
        for name, node in members(root)
        if holds(node, barren)
    )
    made = partial(made, values=values, trees=trees)
    if request.everything:
        return made(entries=tensors)
    if key is not None:
        return made(entries=flatten(_at(root, key, trees), file)[0], key=key)
    chosen, node = _choose(root)
    if not chosen:
        return made(entries=tensors, notes=_ambiguous(root, trees))
    name = ".".join(chosen)
    others = [f"{tree.path} ({tree.tensors:,})" for tree in trees if tree.path != chosen[0]]
    note = f"picked {name!r}"
    if others:
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        note += f"; also here: {', '.join(others[:6])}{more} (--key picks another, --all shows all)"
    return made(entries=flatten(node, file)[0], key=name, notes=(note,))


def _ambiguous(root: object, trees: tuple[Tree, ...]) -> tuple[str, ...]:
    """Say so where several trees are listed together and one of them may be what is wanted."""
    found = members(root)
    names = [tree.path for tree in trees if not _is_auxiliary(tree.path)]
    if is_module(root) or len(trees) < 2 or len(names) == len(found) or _has_own(found):
        return ()
    listed = ", ".join(f"{tree.path} ({tree.tensors:,})" for tree in trees[:6])
    return (f"no one tree is clearly the model, so all are listed: {listed} (--key picks one)",)


def _choose(root: object) -> tuple[list[str], object]:
    """Walk from the root to the model's weights as long as the way is clear."""
    path: list[str] = []
    barren: set[int] = set()
    node = root
    while not is_module(node):
        found = members(node)
        holders = {name: child for name, child in found if holds(child, barren)}
        plain = [name for name in holders if not _is_auxiliary(name)] or [
            name for name in holders if re.search(_AVERAGE, name, re.IGNORECASE)
        ]
        known = next((name for name in MODEL_KEYS if name in holders), None)
        if known is not None and (not path or plain == [known]):
            step = known
        elif _has_own(found):
            break
        elif len(plain) == 1 and not path and type(holders[plain[0]]) in (Dict, Record):
            step = plain[0]
        else:
            break
        path.append(step)
        node = holders[step]
    return path, node


def _has_own(found: list[tuple[str, object]]) -> bool:
    """Whether the model's own tensors stand among these, which is then a state dict itself."""
    return any(type(child) is TensorInfo and not _is_auxiliary(name) for name, child in found)


def _is_auxiliary(name: str) -> bool:
    return re.search(_AUXILIARY, name, re.IGNORECASE) is not None  # compiled when first needed


def _at(root: object, key: str, trees: tuple[Tree, ...]) -> object:
    """Return the node at a dotted path; names on the way may hold dots themselves."""
    node, rest = root, key
    while rest:
        found = dict(members(node))
        step = next(
            (name for name in sorted(found, key=len, reverse=True)
             if rest == name or rest.startswith(f"{name}.")), None,
        )  # fmt: skip
        if step is None:
            listed = ", ".join(tree.path for tree in trees[:8])
            hint = f"there is: {listed}" if listed else "the file holds one tree only"
            raise UsageError(f"no tree {key!r} in this file", hint=hint)
        node, rest = found[step], rest[len(step) + 1 :]
    return node
