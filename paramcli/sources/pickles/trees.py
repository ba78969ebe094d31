"""What a pickle describes as trees of tensors: the members of its containers, and flat names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from paramcli.errors import SourceError
from paramcli.sources.pickles.nodes import Dict, Global, Record, Set
from paramcli.sources.pickles.rebuild import meaning
from paramcli.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeGuard

    from paramcli.tensors import Kind

__all__ = ["flatten", "holds", "is_leaf", "is_module", "is_state_dict", "members"]

MAX_DEPTH = 10_000
MAX_REPEATED = 100_000
MAX_TEXT = 1 << 26
_CONTAINERS = frozenset([Dict, Set, Record, list, tuple, TensorInfo])
_TENSOR_GROUPS: tuple[tuple[str, Kind], ...] = (
    ("_parameters", "parameter"),
    ("_buffers", "buffer"),
)
_NUMBERS: dict[type, type] = {bool: int, float: int}  # whose equal values are equal keys
_new = tuple.__new__

_PACKED = "torch.ScriptObject"
"""A quantized module's packed weights: its state is their contents and the class's name."""
_CONVOLUTION = r"torch\.(ao\.)?nn\.(intrinsic\.)?quantized\..*\bconv"
_IN_CONVOLUTION = {10: "weight", 11: "bias"}
"""Where its tensors stand in the state of a quantized convolution, which is a tuple.

Source: `__getstate__` in `torch/ao/nn/quantized/modules/conv.py`.
"""


def flatten(
    root: object, file: str
) -> tuple[tuple[TensorInfo, ...], tuple[tuple[str, object], ...]]:
    """Return the tensors below `root` by dotted path, and the values that are no tensors."""
    if type(root) is TensorInfo:
        return (_named("", root),), ()
    tensors: list[TensorInfo] = []
    values: list[tuple[str, object]] = []
    if is_state_dict(root):
        keys: list[Any] = root.pairs[::2]
        if _are_names(keys):
            children: list[Any] = root.pairs[1::2]
            named = zip(keys, children, strict=True)
            # Runs of calls name their tensors at once: here are those that came one by one.
            return tuple([info if info[0] is key else _named(key, info) for key, info in named]), ()
        tensors = [_named(name, child) for name, child in members(root)]  # type: ignore[arg-type]
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
    ways = [iter(members(root))]
    above, around, seen = [id(root)], {id(root)}, {id(root)}
    plain: dict[int, bool] = {}
    repeated = text = 0
    while ways:
        for name, child in ways[-1]:
            if is_leaf(child, plain):
                text += len(name) + sum(map(len, names)) + len(names)
                if text > MAX_TEXT:
                    raise _boundless(file)
                yield ".".join((*names, name)) if names else name, child
            elif id(child) not in around:
                inner = members(child)
                repeated += 1 + len(inner) if id(child) in seen else 0
                seen.add(id(child))
                around.add(id(child))
                above.append(id(child))
                names.append(name)
                ways.append(iter(inner))
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


def is_leaf(node: object, plain: dict[int, bool]) -> bool:
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
        for _, child in members(node):
            if type(child) is TensorInfo:
                return True
            if type(child) in _CONTAINERS:
                inner.append(child)
        if not inner:
            barren.add(id(node))
        pending += inner
    barren |= seen
    return False


def is_state_dict(node: object) -> TypeGuard[Dict]:
    """Whether a node is a dictionary of tensors and nothing else."""
    return type(node) is Dict and set(map(type, node.pairs[1::2])) == {TensorInfo}


def is_module(node: object) -> bool:
    """Whether a record is a whole pickled `torch.nn.Module`."""
    return type(node) is Record and {"_parameters", "_modules"} <= set(_attributes(node))


def members(node: object) -> list[tuple[str, object]]:
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
            return members(state[0])
        names = _IN_CONVOLUTION if re.match(_CONVOLUTION, record.path) else {}
        children += [(names.get(at, str(at)), child) for at, child in enumerate(state)]
    if type(record.args) is tuple:
        children += [(str(index), child) for index, child in enumerate(record.args)]
    children += [(str(index), child) for index, child in enumerate(record.items)]
    if record.pairs:
        children += members(Dict(record.pairs))
    children += attributes.items()
    return children


def _module_members(attributes: dict[str, object]) -> list[tuple[str, object]]:
    """A module's own tensors and its submodules, in the order of its state dict."""
    children: list[tuple[str, object]] = []
    passing = attributes.get("_non_persistent_buffers_set")
    left_out = {name for name in passing.items if type(name) is str} if type(passing) is Set else ()
    for group, kind in _TENSOR_GROUPS:
        for name, child in members(attributes.get(group)):
            if type(child) is TensorInfo and name not in left_out:
                children.append((name, child._replace(kind=kind)))
    children += [
        (name, child)
        for name, child in attributes.items()
        if type(child) is Record and child.path == _PACKED
    ]
    children += [
        (name, child) for name, child in members(attributes["_modules"]) if child is not None
    ]
    return children


def _attributes(record: Record) -> dict[str, object]:
    state = record.state
    dicts = state if type(state) is tuple else (state,)  # (attributes, slots)
    return {name: child for part in dicts if type(part) is Dict for name, child in members(part)}
