"""What a pickle can describe, kept as data: names, calls that were not made, and containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramcli.tensors import DType, Storage

__all__ = ["Dict", "Global", "Record", "Set", "TypedStorage", "describe"]


class Global:
    """A dotted name that the pickle asked for. It is never imported."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Dict:
    """A dictionary as it was written: keys and values in turn, duplicates included."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[object]) -> None:
        self.pairs = pairs


class Set:
    """A set as it was written."""

    __slots__ = ("items",)

    def __init__(self, items: list[object]) -> None:
        self.items = items


class Record:
    """A call that was not made: the function, its arguments, and what was put in afterwards."""

    __slots__ = ("args", "function", "items", "pairs", "state")

    def __init__(self, function: object, args: object) -> None:
        self.function = function
        self.args = args
        self.state: object = None
        self.items: list[object] = []
        self.pairs: list[object] = []

    @property
    def path(self) -> str:
        """The dotted name of the function, "" where it is not a plain global."""
        return self.function.path if isinstance(self.function, Global) else ""


class TypedStorage(NamedTuple):
    """A storage as a pickle names it: `numel` elements of `dtype` from element `start` on."""

    storage: Storage
    dtype: DType
    start: int
    numel: int


_SHOWN = 5
_LONGEST = 200


def describe(node: object) -> str:
    """Say what a value is in a line, shortened: nothing of it is run to find out."""
    if type(node) is list:
        return f"[{_listed(node)}]"
    if type(node) is Set:
        return f"{{{_listed(node.items)}}}"
    if type(node) is tuple:
        return f"({_listed(list(node))})"
    return _plain(node)


def _listed(items: list[object]) -> str:
    more = f", … {len(items):,} in all" if len(items) > _SHOWN else ""
    return ", ".join(map(_plain, items[:_SHOWN])) + more


def _plain(node: object) -> str:
    text = f"{type(node).__name__.lower()}"
    if node is None or type(node) in (bool, float, complex):
        text = str(node)
    elif type(node) is int:
        large = node.bit_length() > _LONGEST
        text = f"an integer of {node.bit_length():,} bits" if large else str(node)
    elif type(node) is str:
        rest = f"… {len(node):,} characters" if len(node) > _LONGEST else ""
        text = f"{node[:_LONGEST]!r}{rest}"
    elif type(node) is bytes:
        text = f"{len(node):,} bytes"
    elif type(node) is Global:
        text = node.path
    elif type(node) is Record:
        text = f"{node.path or 'a call'}(…), not run"
    elif type(node) is TypedStorage:
        text = f"a storage of {node.numel:,} {node.dtype.name}"
    return text
