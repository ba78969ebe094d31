"""What a pickle can describe, kept as data: names, calls that were not made, and containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramcli.checkpoint import DType, Storage

__all__ = ["Dict", "Global", "Record", "Set", "TypedStorage"]


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
