"""Storages as a pickle declares them, by the persistent ids that stand for them."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

from paramcli.checkpoint import Storage
from paramcli.sources.pickles.nodes import Global, TypedStorage
from paramcli.sources.pickles.rebuild import BUILDERS, STORAGE_DTYPES, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.checkpoint import DType
    from paramcli.sources.pickles.rebuild import Builder

__all__ = ["StorageTable", "key_text"]

_new = tuple.__new__


class StorageTable:
    """The storages of one pickle by key. As in torch, the first mention of a key says what it is.

    `prefix` makes a key unique in the file. A container that knows its storages beforehand
    overrides `holds`.
    """

    def __init__(self, path: str, prefix: str = "") -> None:
        self.path = path
        self.prefix = prefix
        self.by_key: dict[str, TypedStorage] = {}
        self.builders: Mapping[str, Builder] = BUILDERS

    def holds(self, keys: Sequence[str], sizes: Sequence[int]) -> bool:  # noqa: ARG002 - for those that know
        """Whether the container has all these storages, each at least this long in bytes."""
        return True

    def one(self, dtype: DType, key: str, numel: int) -> TypedStorage:
        """Return the storage of a key. Raises ValueError where it is not there, or too short."""
        name = self.prefix + key
        found = self.by_key.get(name)
        if found is None:
            size = dtype.nbytes(numel)
            if size and not self.holds([name], [size]):
                raise ValueError(f"storage {key!r} is not in the file, or is too short")
            found = TypedStorage(Storage(self.path, name, size), dtype, 0, numel)
            self.by_key[name] = found
        return found

    def many(
        self, dtypes: Sequence[DType], keys: Sequence[str], numels: Sequence[int]
    ) -> list[TypedStorage] | None:
        """Return the storages of new keys; None where one is not new, not there, or too short."""
        names = [self.prefix + key for key in keys] if self.prefix else keys
        sizes = [dtype.bits * numel >> 3 for dtype, numel in zip(dtypes, numels, strict=True)]
        if not self.by_key.keys().isdisjoint(names) or not self.holds(names, sizes):
            return None
        made = map(_new, repeat(Storage), zip(repeat(self.path), names, sizes, strict=False))
        fields = zip(made, dtypes, repeat(0), numels, strict=False)
        typed: list[TypedStorage] = list(map(_new, repeat(TypedStorage), fields))
        by_key = dict(zip(names, typed, strict=True))
        if len(by_key) < len(typed):
            return None
        self.by_key.update(by_key)
        return typed

    def persistent(self, identity: object) -> object:
        """Answer the id ("storage", class, key, location, numel)."""
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise ValueError("a persistent id that is not a storage's")
        _, cls, key, _, numel = identity
        dtype = STORAGE_DTYPES.get(cls.path) if type(cls) is Global else None
        if dtype is None:
            raise ValueError("a storage of no known class")
        return self.one(dtype, key_text(key), number(numel))


def key_text(key: object) -> str:
    """Return a storage's key as text: a memory address may be written as number or as text."""
    if type(key) is int and key.bit_length() <= 64:
        return str(key)
    if type(key) is str:
        return key
    raise ValueError("a storage whose key is neither text nor an address")
