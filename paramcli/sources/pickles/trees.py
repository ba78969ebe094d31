"""The trees of tensors in what a pickle describes: which one is the model, and its flat names."""

from __future__ import annotations

import re
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from paramcli.checkpoint import Checkpoint, Tree
from paramcli.errors import SourceError, UsageError
from paramcli.sources.pickles.nodes import Dict, Global, Record, Set
from paramcli.sources.pickles.rebuild import meaning
from paramcli.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeGuard

    from paramcli.sources import Request
    from paramcli.tensors import Kind

__all__ = ["Picked", "flatten", "from_tree", "holds", "is_module", "pick"]

MAX_DEPTH = 10_000
MAX_REPEATED = 100_000
MAX_TEXT = 1 << 26
_CONTAINERS = frozenset([Dict, Set, Record, list, tuple, TensorInfo])
_TENSOR_GROUPS: tuple[tuple[str, Kind], ...] = (
    ("_parameters", "parameter"),
    ("_buffers", "buffer"),
)
_NUMBERS: dict[type, type] = {bool: int, float: int}  # whose equal values are equal keys
_new, _name_of = tuple.__new__, itemgetter(0)

_PACKED = "torch.ScriptObject"
"""A quantized module's packed weights: its state is their contents and the class's name."""
_CONVOLUTION = r"torch\.(ao\.)?nn\.(intrinsic\.)?quantized\..*\bconv"
_IN_CONVOLUTION = {10: "weight", 11: "bias"}
"""Where its tensors stand in the state of a quantized convolution, which is a tuple.

Source: `__getstate__` in `torch/ao/nn/quantized/modules/conv.py`.
"""

MODEL_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network",
    "net_state_dict", "weights", "params", "policy",
)  # fmt: skip
"""Where trainers keep the model's own weights, the likeliest first."""

_AVERAGE = r"(^|[_.-])(ema|swa)($|[_.-])"
_AUXILIARY = (
    rf"{_AVERAGE}|opt([gd]|im(izer)?s?)?($|[_.-])|optim|sched|scaler"
    r"|(^|[_.-])(rng|amp|callbacks?|loops?)($|[_.-])|shadow|random_state|hyper_?param"
    r"|^(args|config|cfg|epoch|step|global_step|iteration|loss|best.*)$"
)
"""What lies beside the model in a training checkpoint, by name."""


class Picked(NamedTuple):
    """The tree that is listed: its path (None for all there is), and what else was found."""

    path: str | None
    tensors: tuple[TensorInfo, ...]
    values: tuple[tuple[str, object], ...]
    trees: tuple[Tree, ...]
    notes: tuple[str, ...]


def from_tree(root: object, request: Request, *, file: str, form: str) -> Checkpoint:
    """Make a checkpoint of the tree that a request picks. `file` is for errors."""
    try:
        picked = pick(root, file=file, key=request.key, everything=request.everything)
    except ValueError as error:
        raise SourceError(f"damaged pickle: {error}", path=file) from None
    return Checkpoint(
        origin=request.target,
        format=form,
        entries=picked.tensors,
        key=picked.path,
        trees=picked.trees,
        values=picked.values,
        notes=picked.notes,
    )


def pick(root: object, *, file: str, key: str | None, everything: bool) -> Picked:
    """Choose the tree to list: the one asked for, else the model's own where that is clear.

    Raises UsageError for a `key` that is not there, SourceError for trees beyond all bounds.
    """
    if key is None and _is_state_dict(root):
        return Picked(None, flatten(root, file)[0], (), (), ())  # a state dict and nothing else
    if type(root) in (list, tuple) and len(root) > MAX_REPEATED and _is_leaf(root, {}):  # type: ignore[arg-type]
        return Picked(
            None, (), (("", root),), (), ()
        )  # numbers alone, each of which would be a row
    tensors, values = flatten(root, file)
    barren: set[int] = set()
    trees = tuple(
        Tree(name, len(flatten(node, file)[0]))
        for name, node in _members(root)
        if holds(node, barren)
    )
    if everything:
        return Picked(None, tensors, values, trees, ())
    if key is not None:
        return Picked(key, flatten(_at(root, key, trees), file)[0], values, trees, ())
    chosen, node = _choose(root)
    if not chosen:
        return Picked(None, tensors, values, trees, _ambiguous(root, trees))
    name = ".".join(chosen)
    others = [f"{tree.path} ({tree.tensors:,})" for tree in trees if tree.path != chosen[0]]
    note = f"picked {name!r}"
    if others:
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        note += f"; also here: {', '.join(others[:6])}{more} (--key picks another, --all shows all)"
    return Picked(name, flatten(node, file)[0], values, trees, (note,))


def _ambiguous(root: object, trees: tuple[Tree, ...]) -> tuple[str, ...]:
    """Say so where several trees are listed together and one of them may be what is wanted."""
    members = _members(root)
    names = [tree.path for tree in trees if not _is_auxiliary(tree.path)]
    if is_module(root) or len(trees) < 2 or len(names) == len(members) or _has_own(members):
        return ()
    listed = ", ".join(f"{tree.path} ({tree.tensors:,})" for tree in trees[:6])
    return (f"no one tree is clearly the model, so all are listed: {listed} (--key picks one)",)


def _choose(root: object) -> tuple[list[str], object]:
    """Walk from the root to the model's weights as long as the way is clear."""
    path: list[str] = []
    barren: set[int] = set()
    node = root
    while not is_module(node):
        members = _members(node)
        holders = {name: child for name, child in members if holds(child, barren)}
        plain = [name for name in holders if not _is_auxiliary(name)] or [
            name for name in holders if re.search(_AVERAGE, name, re.IGNORECASE)
        ]
        known = next((name for name in MODEL_KEYS if name in holders), None)
        if known is not None and (not path or plain == [known]):
            step = known
        elif _has_own(members):
            break
        elif len(plain) == 1 and not path and type(holders[plain[0]]) in (Dict, Record):
            step = plain[0]
        else:
            break
        path.append(step)
        node = holders[step]
    return path, node


def _has_own(members: list[tuple[str, object]]) -> bool:
    """Whether the model's own tensors stand among these, which is then a state dict itself."""
    return any(type(child) is TensorInfo and not _is_auxiliary(name) for name, child in members)


def _is_auxiliary(name: str) -> bool:
    return re.search(_AUXILIARY, name, re.IGNORECASE) is not None  # compiled when first needed


def _at(root: object, key: str, trees: tuple[Tree, ...]) -> object:
    """Return the node at a dotted path; names on the way may hold dots themselves."""
    node, rest = root, key
    while rest:
        members = dict(_members(node))
        step = next(
            (name for name in sorted(members, key=len, reverse=True)
             if rest == name or rest.startswith(f"{name}.")), None,
        )  # fmt: skip
        if step is None:
            listed = ", ".join(tree.path for tree in trees[:8])
            hint = f"there is: {listed}" if listed else "the file holds one tree only"
            raise UsageError(f"no tree {key!r} in this file", hint=hint)
        node, rest = members[step], rest[len(step) + 1 :]
    return node


def flatten(
    root: object, file: str
) -> tuple[tuple[TensorInfo, ...], tuple[tuple[str, object], ...]]:
    """Return the tensors below `root` by dotted path, and the values that are no tensors."""
    if type(root) is TensorInfo:
        return (_named("", root),), ()
    tensors: list[TensorInfo] = []
    values: list[tuple[str, object]] = []
    if _is_state_dict(root):
        keys: list[Any] = root.pairs[::2]
        if _are_names(keys):
            children: list[Any] = root.pairs[1::2]
            if all(map(is_, keys, map(_name_of, children))):  # as runs of calls name them at once
                return tuple(children), ()
            return tuple(map(_named, keys, children)), ()
        tensors = [_named(name, child) for name, child in _members(root)]  # type: ignore[arg-type]
    else:
        for path, leaf in _leaves(root, file):
            if type(leaf) is TensorInfo:
                tensors.append(_named(path, leaf))
            else:
                values.append((path, leaf))
    return tuple(_distinct(tensors)), tuple(values)


def _leaves(root: object, file: str) -> Iterator[tuple[str, object]]:
    """Walk to every leaf, without recursion and never around a circle.

    What stands in two places is met twice, but only up to a bound: a few bytes can name the same
    list a billion times.
    """
    names: list[str] = []
    ways = [iter(_members(root))]
    above, around, seen = [id(root)], {id(root)}, {id(root)}
    plain: dict[int, bool] = {}
    repeated = text = 0
    while ways:
        for name, child in ways[-1]:
            if _is_leaf(child, plain):
                text += len(name) + sum(map(len, names)) + len(names)
                if text > MAX_TEXT:
                    raise _boundless(file)
                yield ".".join((*names, name)) if names else name, child
            elif id(child) not in around:
                members = _members(child)
                repeated += 1 + len(members) if id(child) in seen else 0
                seen.add(id(child))
                around.add(id(child))
                above.append(id(child))
                names.append(name)
                ways.append(iter(members))
                break
        else:
            ways.pop()
            around.discard(above.pop())
            del names[-1:]
        if len(ways) > MAX_DEPTH or repeated > MAX_REPEATED:
            raise _boundless(file)


def _boundless(file: str) -> SourceError:
    return SourceError("its containers are nested beyond all bounds", path=file)


def _named(name: str, info: TensorInfo) -> TensorInfo:
    return _new(TensorInfo, (name, *info[1:]))


def _distinct(tensors: list[TensorInfo]) -> list[TensorInfo]:
    """Tell apart names that came out equal, such as those of the keys 1 and "1"."""
    if len({info.name for info in tensors}) == len(tensors):
        return tensors
    taken = {info.name for info in tensors}
    first: set[str] = set()
    result = []
    for info in tensors:
        name, number = info.name, 1
        while name in first:
            number += 1
            other = f"{info.name}#{number}"
            name = other if other not in taken else name
        first.add(name)
        taken.add(name)
        result.append(_named(name, info))
    return result


def _is_leaf(node: object, plain: dict[int, bool]) -> bool:
    """Whether a node is no container, or one of numbers alone; each is looked through once."""
    if type(node) in (list, tuple):
        known = plain.get(id(node))
        if known is None:
            known = not any(type(item) in _CONTAINERS for item in node)  # type: ignore[attr-defined]
            plain[id(node)] = known
        return known
    return type(node) is TensorInfo or type(node) not in _CONTAINERS


def holds(root: object, barren: set[int]) -> bool:
    """Whether a container has a tensor anywhere below; `barren` are those known to have none."""
    seen: set[int] = set()
    pending = [root] if type(root) in _CONTAINERS and type(root) is not TensorInfo else []
    while pending:
        node = pending.pop()
        if id(node) in seen or id(node) in barren:
            continue
        seen.add(id(node))
        inner = []
        for _, child in _members(node):
            if type(child) is TensorInfo:
                return True
            if type(child) in _CONTAINERS:
                inner.append(child)
        if not inner:
            barren.add(id(node))
        pending += inner
    barren |= seen
    return False


def _is_state_dict(node: object) -> TypeGuard[Dict]:
    """Whether a node is a dictionary of tensors and nothing else."""
    return type(node) is Dict and set(map(type, node.pairs[1::2])) == {TensorInfo}


def is_module(node: object) -> bool:
    """Whether a record is a whole pickled `torch.nn.Module`."""
    return type(node) is Record and {"_parameters", "_modules"} <= set(_attributes(node))


def _members(node: object) -> list[tuple[str, object]]:
    """The named children of a container; the last of equal keys counts, in the first's place."""
    found: list[tuple[str, object]] = []
    if type(node) is Dict:
        keys, children = node.pairs[::2], node.pairs[1::2]
        if _are_names(keys):
            found = list(zip(keys, children, strict=True))  # type: ignore[arg-type]
        else:
            found = _last_of_equals(keys, children)
    elif type(node) in (list, tuple):
        found = [(str(index), child) for index, child in enumerate(node)]  # type: ignore[arg-type, var-annotated]
    elif type(node) is Set:
        found = [(str(index), child) for index, child in enumerate(node.items)]
    elif type(node) is Record:
        found = _record_members(node)
    if any(type(child) is Record for _, child in found):
        found = [
            (name, meaning(child) if type(child) is Record else child) for name, child in found
        ]
    return found


def _are_names(keys: list[object]) -> bool:
    """Whether keys are names as they stand: texts, and no two of them equal."""
    return set(map(type, keys)) == {str} and len(set(keys)) == len(keys)


def _last_of_equals(keys: list[object], children: list[object]) -> list[tuple[str, object]]:
    found: dict[tuple[object, str], tuple[str, object]] = {}
    for number, (key, child) in enumerate(zip(keys, children, strict=True)):
        text = _key_text(key)
        # What cannot be compared without running it is taken to be different.
        same = number if text[:1] == "<" else _NUMBERS.get(type(key), type(key))
        found[same, text] = (text, child)
    return list(found.values())


def _key_text(key: object) -> str:
    text = f"<{type(key).__name__.lower()}>"
    if type(key) is str:
        text = key
    elif type(key) is bytes:
        text = key.decode("latin-1")
    elif type(key) is int:
        text = str(key) if key.bit_length() <= 1024 else f"{key:#x}"
    elif key is None or type(key) in (float, bool, complex):
        text = str(key)
    elif type(key) is Global:
        text = key.path
    elif type(key) is tuple and not any(type(part) in _CONTAINERS for part in key):
        text = f"({', '.join(map(_key_text, key))})"
    return text


def _record_members(record: Record) -> list[tuple[str, object]]:
    attributes, state = _attributes(record), record.state
    if "_parameters" in attributes and "_modules" in attributes:
        return _module_members(attributes)
    children: list[tuple[str, object]] = []
    if type(state) is tuple and record.args == () and Dict not in map(type, state):
        if record.path == _PACKED and state:
            return _members(state[0])
        names = _IN_CONVOLUTION if re.match(_CONVOLUTION, record.path) else {}
        children += [(names.get(at, str(at)), child) for at, child in enumerate(state)]
    if type(record.args) is tuple:
        children += [(str(index), child) for index, child in enumerate(record.args)]
    children += [(str(index), child) for index, child in enumerate(record.items)]
    if record.pairs:
        children += _members(Dict(record.pairs))
    children += attributes.items()
    return children


def _module_members(attributes: dict[str, object]) -> list[tuple[str, object]]:
    """A module's own tensors and its submodules, in the order of its state dict."""
    children: list[tuple[str, object]] = []
    passing = attributes.get("_non_persistent_buffers_set")
    left_out = {name for name in passing.items if type(name) is str} if type(passing) is Set else ()
    for group, kind in _TENSOR_GROUPS:
        for name, child in _members(attributes.get(group)):
            if type(child) is TensorInfo and name not in left_out:
                children.append((name, child._replace(kind=kind)))
    children += [
        (name, child)
        for name, child in attributes.items()
        if type(child) is Record and child.path == _PACKED
    ]
    children += [
        (name, child) for name, child in _members(attributes["_modules"]) if child is not None
    ]
    return children


def _attributes(record: Record) -> dict[str, object]:
    state = record.state
    dicts = state if type(state) is tuple else (state,)  # (attributes, slots)
    return {name: child for part in dicts if type(part) is Dict for name, child in _members(part)}
