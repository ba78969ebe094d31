"""torch.save's stream of before PyTorch 1.6: five pickles, then the storages one after another.

Layout: `torch/serialization.py` (`_legacy_save`, `_legacy_load`). Unlike torch, which must read
the whole file, this reads the pickles and eight bytes of each storage.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint, Place, Storage
from paramcli.errors import CUT_SHORT, SourceError
from paramcli.files import HeaderWindow
from paramcli.sources.foreign import describe
from paramcli.sources.pickles.calls import TensorCalls
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.nodes import TypedStorage
from paramcli.sources.pickles.rebuild import BUILDERS, number
from paramcli.sources.pickles.safety import judge
from paramcli.sources.pickles.storages import StorageTable, key_text
from paramcli.sources.pickles.trees import from_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.files import File
    from paramcli.sources import Request

__all__ = ["LegacyFile", "PickleStream", "open_legacy"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAGIC_READ = 64
_FIRST_READ = 1 << 17


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
            self._piece(start, _FIRST_READ), self.file.path, base=start,
            more=lambda size: self._piece(start + len(machine.data), size),
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
        self._offsets: dict[str, int] = {}

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
        self._offsets = _offsets(file, stream.next(), table, stream.offset)
        return root, stream.machines

    def locate(self, storage: Storage) -> Place | None:
        """Where a storage lies in the file on disk."""
        offset = self._offsets.get(str(storage.key))
        return None if offset is None else Place(self._file.disk_path, self._file.start + offset)


def _is_magic(file: File) -> bool:
    """Whether a number that could be the magic one comes first: some pickles are very long."""
    try:
        return type(Machine(file.head(_MAGIC_READ), file.path).run()) is int
    except SourceError:
        return False


def _offsets(file: File, keys: object, table: StorageTable, start: int) -> dict[str, int]:
    """Where each storage's bytes begin: they follow in order of their keys, each after its length.

    Raises SourceError where the keys are not those of the object, or a length is another one.
    """
    if type(keys) is not list:
        raise SourceError("the list of storages is no list", path=file.path, offset=start)
    try:
        names = [key_text(key) for key in keys]
    except ValueError as error:
        raise SourceError(f"the list of storages: {error}", path=file.path, offset=start) from None
    lengths = table.lengths()
    unlike = SourceError(
        "the list of storages is not that of the tensors", path=file.path, offset=start
    )
    try:
        numels, sizes = zip(*map(lengths.__getitem__, names), strict=True) if names else ((), ())
    except KeyError:
        raise unlike from None
    starts = list(accumulate(sizes, lambda at, nbytes: at + 8 + nbytes, initial=start + 8))
    end = starts.pop() - 8
    offsets = dict(zip(names, starts, strict=True))
    if not len(offsets) == len(names) == len(lengths):
        raise unlike
    # Of a file on another machine the lengths must do that the pickles state, and their sum.
    if not file.far:
        _check_lengths(file, names, starts, numels)
    if end > file.size:
        raise SourceError(
            "the file ends inside a storage", path=file.path, offset=file.size, hint=CUT_SHORT
        )
    return offsets


def _check_lengths(
    file: File, names: Sequence[str], starts: Sequence[int], numels: Sequence[int]
) -> None:
    """Hold the lengths that stand before the storages against those that the tensors state."""
    there = bisect_right(starts, file.size)
    typical = (starts[-1] - starts[0]) // len(starts) if starts else 0
    written = HeaderWindow(file, typical, 8).every((at - 8 for at in starts[:there]), 8)
    if written != b"".join(numel.to_bytes(8, "little") for numel in numels[:there]):
        for place, numel in enumerate(numels[:there]):
            if int.from_bytes(written[8 * place : 8 * place + 8], "little", signed=True) != numel:
                raise SourceError(
                    f"storage {names[place]} states another length than its tensors",
                    path=file.path, offset=starts[place] - 8,
                )  # fmt: skip
