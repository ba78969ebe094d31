"""The one noun: a checkpoint is an ordered set of named views of storages."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from paramcli.errors import SourceError, one_line
from paramcli.files import open_file
from paramcli.sharing import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from paramcli.lock import Lock
    from paramcli.owners import Held, Owner
    from paramcli.sharing import Group
    from paramcli.tensors import Place, Storage, TensorInfo

__all__ = ["Checkpoint", "Pickle", "Tree", "in_parts"]

_SHOWN = 5


class Tree(NamedTuple):
    """One tree of tensors in a training checkpoint: its dotted path and how many it holds."""

    path: str
    tensors: int


class Pickle(NamedTuple):
    """What the pickles of a file asked for, seen without running any of it.

    `understood` and `inert` are dotted globals: those whose meaning was built as metadata, and
    those kept as records that do nothing. `refused` says why `torch.load(weights_only=True)`
    turns the file down, "" where it does not.
    """

    understood: tuple[str, ...]
    inert: tuple[str, ...]
    refused: str

    def summary(self) -> str:
        """One line: what was seen, what of it was understood, and what torch would say."""
        seen = len(self.understood) + len(self.inert)
        line = f"pickle: nothing run; {seen} global{'' if seen == 1 else 's'} seen, "
        if self.inert:
            shown, rest = self.inert[:_SHOWN], len(self.inert[_SHOWN:])
            more = f" and {rest} more" if rest else ""
            line += f"{len(self.inert)} kept inert: {', '.join(map(one_line, shown))}{more}"
        else:
            line += "all understood"
        return line + (
            f"; weights_only refuses it: {one_line(self.refused)}" if self.refused else ""
        )


def _nowhere(_: Storage) -> None:
    return None


def _no_bytes(_storage: Storage, _start: int, _target: memoryview) -> None:
    raise SourceError("it holds names and shapes, but no values")


def in_parts(
    whole: Callable[[Storage], bytes | bytearray],
) -> Callable[[Storage, int, memoryview], None]:
    """Return an `unpack` for storages that can only be had whole; it keeps the last of them."""
    last: list[tuple[Storage, bytes | bytearray]] = []

    def unpack(storage: Storage, start: int, target: memoryview) -> None:
        if not last or last[0][0] != storage:
            last[:] = [(storage, whole(storage))]
        content = last[0][1][start : start + len(target)]
        if len(content) < len(target):
            raise SourceError("a storage is shorter than it states", path=storage.file)
        target[:] = content

    return unpack


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checkpoint:
    """An ordered set of named views of storages, wherever it came from.

    `producer` is what wrote it, as far as the file tells; `key` is the tree that was picked from
    a training checkpoint, `trees` all that it holds, `values` what in it is no tensor, `notes` what
    the reader should hear on stderr, and `problems` disagreements inside it (an index that names
    what no shard has), `lock` what a lock says beyond its names.

    `locate` says where a storage's bytes lie, None where they lie nowhere or not as they are;
    `unpack` fills a buffer with those that are compressed or scattered, from a byte on. `checksum`
    is the CRC-32 that the file itself states of a storage's bytes, None where it states none. Where
    all bytes are computed rather than stored, `draw` fills a buffer with those of a storage from a
    byte on, and nothing else is asked; a storage of `whole` is made at once for its first piece, so
    one process should draw all of it. `held` says which objects the names of a model class are.
    """

    origin: str
    format: str
    producer: str | None = None
    entries: tuple[TensorInfo, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    trees: tuple[Tree, ...] = ()
    values: tuple[tuple[str, object], ...] = ()
    pickle: Pickle | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    byteorder: Literal["little", "big"] = "little"
    lock: Lock | None = None
    modules: Mapping[str, Owner] = field(default_factory=dict, compare=False)
    held: Mapping[str, Held] = field(default_factory=dict, compare=False)
    locate: Callable[[Storage], Place | None] = field(default=_nowhere, compare=False)
    unpack: Callable[[Storage, int, memoryview], None] = field(default=_no_bytes, compare=False)
    checksum: Callable[[Storage], int | None] = field(default=_nowhere, compare=False)
    draw: Callable[[Storage, int, memoryview], None] | None = field(default=None, compare=False)
    whole: frozenset[Storage] = field(default=frozenset(), compare=False)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.origin!r}, {self.format}: {len(self.entries):,} tensors>"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[TensorInfo]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> TensorInfo:
        for info in self.entries:
            if info.name == name:
                return info
        raise KeyError(name)

    @contextmanager
    def reading(self, storage: Storage) -> Iterator[Callable[[int, memoryview], None]]:
        """Give what fills a buffer with a storage's bytes from a byte on, its file open meanwhile.

        It raises SourceError where the target holds none, or fewer.
        """
        if self.draw is not None:
            yield partial(self.draw, storage)
        elif (place := self.locate(storage)) is None:
            yield partial(self.unpack, storage)
        else:
            offset = place.offset
            with open_file(place.file) as file:
                yield lambda start, target: file.fill(target, offset + start)

    def fill(self, storage: Storage, start: int, target: memoryview) -> None:
        """Fill a buffer with a storage's bytes from byte `start` on. Raises as `reading` does."""
        with self.reading(storage) as read:
            read(start, target)

    def read(self, storage: Storage) -> bytes:
        """Return all bytes of a storage. Raises SourceError as `fill` does."""
        content = bytearray(storage.nbytes)
        self.fill(storage, 0, memoryview(content))
        return bytes(content)

    def groups(self) -> tuple[Group, ...]:
        """The names that share bytes, in order of their first name."""
        return share(self.entries)
