"""Storages as a pickle declares them, by the persistent ids that stand for them."""

from __future__ import annotations

from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING

from paramcli.sources.pickles.nodes import Global, TypedStorage
from paramcli.sources.pickles.rebuild import BUILDERS, STORAGE_DTYPES, number
from paramcli.tensors import Storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.sources.pickles.rebuild import Builder
    from paramcli.tensors import DType

    Batch = tuple[Sequence[str], Sequence[Storage], Sequence[DType], Sequence[int]]
    """Names, what was made of them, element types, and counts of elements."""

__all__ = ["StorageTable", "key_text"]

_nbytes_of = attrgetter("nbytes")


class StorageTable:
    """The storages of one pickle by key. As in torch, the first mention of a key says what it is.

    `prefix` makes a key unique in the file. A container that knows its storages beforehand
    overrides `held`.
    """

    def __init__(self, path: str, prefix: str = "") -> None:
        self.path = path
        self.prefix = prefix
        self.builders: Mapping[str, Builder] = BUILDERS
        self._by_name: dict[str, TypedStorage] = {}
        self._names: set[str] = set()
        self._numbered: set[str] = set()  # keys that are written as numbers
        self._batches: list[Batch] = []

    def held(
        self,
        names: Sequence[str],
        sizes: Sequence[int],  # noqa: ARG002 - for those that know
    ) -> Sequence[str] | None:
        """Return these names, None where the container lacks one, or it is shorter in bytes."""
        return names

    def one(self, dtype: DType, key: str, numel: int) -> TypedStorage:
        """Return the storage of a key. Raises ValueError where it is not there, or too short."""
        name = self.prefix + key
        found = self.known().get(name)
        if found is None:
            # Storages of types narrower than a byte count bytes.
            size = numel if dtype.bits < 8 else dtype.nbytes(numel)
            elements = numel * 8 // dtype.bits if dtype.bits < 8 else numel
            if size and self.held([name], [size]) is None:
                raise ValueError(f"storage {key!r} is not in the file, or is too short")
            found = TypedStorage(Storage(self.path, name, size), dtype, 0, elements)
            self._by_name[name] = found
            self._names.add(name)
        return found

    def many(
        self, dtypes: Sequence[DType], keys: Sequence[str], numels: Sequence[int]
    ) -> list[Storage] | None:
        """Return the storages of new keys; None where one is not new, not there, or too short."""
        wanted = list(map(self.prefix.__add__, keys)) if self.prefix else keys
        sizes = [dtype[1] * numel >> 3 for dtype, numel in zip(dtypes, numels, strict=True)]
        names = self.held(wanted, sizes)
        if names is None:
            return None
        before = len(self._names)
        self._names.update(names)
        if len(self._names) < before + len(names):
            return None
        fields = zip(repeat(self.path), names, sizes, strict=False)
        made: list[Storage] = list(map(tuple.__new__, repeat(Storage), fields))
        self._batches.append((names, made, dtypes, numels))
        return made

    def known(self) -> dict[str, TypedStorage]:
        """All storages so far, by name. Batches wait until somebody asks: most are never shared."""
        for names, made, dtypes, numels in self._batches:
            fields = zip(made, dtypes, repeat(0), numels, strict=False)
            self._by_name.update(zip(names, map(TypedStorage._make, fields), strict=True))
        self._batches.clear()
        return self._by_name

    def lengths(self) -> tuple[list[str], list[int], list[int]]:
        """Names, elements and bytes of all storages so far, each in the same order."""
        ones = self._by_name.values()
        names, numels = list(self._by_name), [one.numel for one in ones]
        sizes = [one.storage.nbytes for one in ones]
        for more, made, _, counts in self._batches:
            names += more
            numels += counts
            sizes += map(_nbytes_of, made)
        return names, numels, sizes

    def persistent(self, identity: object) -> object:
        """Answer the id ("storage", class, key, location, numel)."""
        if type(identity) is str and identity.startswith("("):
            raise ValueError("a storage named as pickle protocol 0 does, which no torch can read")
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise ValueError("a persistent id that is not a storage's")
        _, cls, key, _, numel = identity
        dtype = STORAGE_DTYPES.get(cls.path) if type(cls) is Global else None
        if dtype is None:
            raise ValueError("a storage of no known class")
        name = key_text(key)
        if (name in self._numbered) != (type(key) is int) and self.prefix + name in self._names:
            raise ValueError(f"storage {name!r} is named by a number and by text")
        if type(key) is int:
            self._numbered.add(name)
        return self.one(dtype, name, number(numel))


def key_text(key: object) -> str:
    """Return a storage's key as text: a memory address may be written as number or as text."""
    if type(key) is int and key.bit_length() <= 64:
        return str(key)
    if type(key) is str:
        return key
    raise ValueError("a storage whose key is neither text nor an address")
