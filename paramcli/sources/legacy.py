"""torch.save's stream of before PyTorch 1.6: five pickles, then the storages one after another.

Layout: `torch/serialization.py` (`_legacy_save`, `_legacy_load`). Unlike torch, which must read
the whole file, this reads the pickles and eight bytes of each storage.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, repeat
from operator import add
from struct import unpack
from typing import TYPE_CHECKING

from paramcli.errors import CUT_SHORT, SourceError
from paramcli.files import HeaderWindow
from paramcli.sources.foreign import describe
from paramcli.sources.pickles.calls import TensorCalls
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import TypedStorage
from paramcli.sources.pickles.rebuild import BUILDERS, number
from paramcli.sources.pickles.safety import judge
from paramcli.sources.pickles.storages import StorageTable, key_text
from paramcli.tensors import Place, Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.files import File
    from paramcli.sources import Request

__all__ = ["LegacyFile", "PickleStream", "open_legacy"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAGIC_READ = 64
_FIRST_READ = 1 << 17
_LENGTH = 8
"""Bytes of the number of elements that stands before each storage."""


class PickleStream:
    """Pickles in a file from `offset` on, each read in growing pieces: no length is known."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.offset = 0
        self.machines: list[Machine] = []

    def next(self, table: StorageTable | None = None) -> object:
        """Run the pickle at `offset` and move just past it."""
        start = self.offset
        machine = Machine(
            self._piece(start, _FIRST_READ), self.file.path, base=start, more=self._piece,
            persistent=table.persistent if table else None,
            calls=TensorCalls(table.many, legacy=True) if table else None,
            builders=table.builders if table else BUILDERS,
        )  # fmt: skip
        self.machines.append(machine)
        value = machine.run()
        self.offset += machine.position
        return value

    def _piece(self, start: int, size: int) -> bytes:
        return self.file.read(start, max(min(size, self.file.size - start), 0))


class _Declared(StorageTable):
    """Storages that come after the pickles: what the object says of them has to do until then."""

    def persistent(self, identity: object) -> object:
        """Answer ("storage", …, view or None) and ("module", class, file, source)."""
        if type(identity) is not tuple or not identity:
            return super().persistent(identity)  # says what is wrong with it
        if identity[0] == "module" and len(identity) == 4:
            return identity[1]  # the class of a module, beside the source that it once had
        whole, view = super().persistent(identity[:5]), identity[5:]
        if view in ((), (None,)) or type(whole) is not TypedStorage:
            return whole
        if len(view) != 1 or type(view[0]) is not tuple or len(view[0]) != 3:
            raise ValueError("a view of a storage that says neither where nor how long")
        start, count = number(view[0][1]), number(view[0][2])
        if start + count > whole.numel:
            raise ValueError("a view reaches past the end of its storage")
        return whole._replace(start=start, numel=count)


def open_legacy(file: File, request: Request) -> Checkpoint:
    """Open a legacy stream. Raises SourceError where its pickles or storages are damaged."""
    stream = LegacyFile(file)
    root, machines = stream.run()
    return replace(
        from_tree(root, request, file=file.path, form="torch-legacy"),
        producer=f"torch.save of before PyTorch 1.6, protocol {_PROTOCOL}",
        pickle=judge(*machines),
        locate=stream.locate,
    )


class LegacyFile:
    """One legacy stream: its object, and where the storages lie that come after it."""

    def __init__(self, file: File) -> None:
        self._file, self.path = file, file.path
        self._keys: Sequence[str] = ()
        self._starts: Sequence[int] = ()

    def run(self) -> tuple[object, list[Machine]]:
        """Run its pickles and find its storages; return the object and the machines that ran."""
        file = self._file
        stream = PickleStream(file)
        if not _is_magic(file) or stream.next() != _MAGIC or stream.next() != _PROTOCOL:
            what, hint = describe(file.head(4096))
            raise SourceError(what, path=file.path, hint=hint)
        stream.next()  # of the machine that wrote it; numbers are little-endian on every one
        table = _Declared(file.path)
        root = stream.next(table)
        self._keys, self._starts = _places(file, stream.next(), table, stream.offset)
        return root, stream.machines

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict(zip(self._keys, self._starts, strict=True))

    def locate(self, storage: Storage) -> Place | None:
        """Where a storage lies in the file on disk."""
        place = self._places.get(str(storage.key))
        if place is None:
            return None
        return Place(self._file.disk_path, self._file.start + place + _LENGTH)


def _is_magic(file: File) -> bool:
    """Whether a number that could be the magic one comes first: some pickles are very long."""
    try:
        return type(Machine(file.head(_MAGIC_READ), file.path).run()) is int
    except SourceError:
        return False


def _places(
    file: File, keys: object, table: StorageTable, start: int
) -> tuple[list[str], list[int]]:
    """The keys, and where their storages begin: they follow in order, each after its length.

    Raises SourceError where the keys are not those of the object, or a length is another one.
    """
    if type(keys) is not list:
        raise SourceError("the list of storages is no list", path=file.path, offset=start)
    try:
        names = keys if set(map(type, keys)) == {str} else [key_text(key) for key in keys]
    except ValueError as error:
        raise SourceError(f"the list of storages: {error}", path=file.path, offset=start) from None
    known, counts, nbytes = table.lengths()
    at = dict(zip(known, range(len(known)), strict=True))
    unlike = SourceError(
        "the list of storages is not that of the tensors", path=file.path, offset=start
    )
    try:
        order = [at[name] for name in names]
    except KeyError:
        raise unlike from None
    if not len(set(order)) == len(order) == len(known):
        raise unlike
    numels = tuple(map(counts.__getitem__, order))
    sizes = map(nbytes.__getitem__, order)
    places = list(accumulate(map(add, sizes, repeat(_LENGTH)), initial=start))
    end = places.pop()
    # Of a file on another machine the lengths must do that the pickles state, and their sum.
    if not file.far:
        _check_lengths(file, names, places, numels)
    if end > file.size:
        raise SourceError(
            "the file ends inside a storage", path=file.path, offset=file.size, hint=CUT_SHORT
        )
    return names, places


def _check_lengths(
    file: File, names: Sequence[str], places: Sequence[int], numels: Sequence[int]
) -> None:
    """Hold the lengths that stand before the storages against those that the tensors state."""
    there = bisect_right(places, file.size - _LENGTH)
    window = HeaderWindow(file, (places[-1] - places[0]) // len(places) if places else 0, _LENGTH)
    written = unpack(f"<{there}q", window.every(places[:there], _LENGTH))
    if written != numels[:there]:
        place = next(i for i, length in enumerate(written) if length != numels[i])
        raise SourceError(
            f"storage {names[place]} states another length than its tensors",
            path=file.path, offset=places[place],
        )  # fmt: skip
