"""The tar files of PyTorch before 0.1.10: members `pickle`, `tensors` and `storages`.

Layout: `torch/serialization.py` (`legacy_load`). torch refuses them under `weights_only=True`.
"""

from __future__ import annotations

import tarfile
from dataclasses import replace
from struct import Struct
from typing import IO, TYPE_CHECKING, cast

from paramcli.errors import SourceError
from paramcli.sources.legacy import PickleStream
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import Global, TypedStorage
from paramcli.sources.pickles.rebuild import BUILDERS, STORAGE_DTYPES, number, strided
from paramcli.sources.pickles.safety import judge
from paramcli.sources.pickles.storages import StorageTable, key_text
from paramcli.sources.sharded import SUFFIXES
from paramcli.tensors import Place

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.files import File
    from paramcli.sources import Request
    from paramcli.tensors import TensorInfo

__all__ = ["open_tar"]

_MAX_MEMBERS = 100
_RANK = Struct("<i4x")


def open_tar(file: File, request: Request) -> Checkpoint:
    """Open a tar checkpoint. Raises SourceError for other tars and for damaged ones."""
    members = _members(file)
    missing = [name for name in ("pickle", "storages") if name not in members]
    if missing:
        inside = next((name for name in members if name.endswith(SUFFIXES)), "the checkpoint")
        raise SourceError(
            "a tar archive, but no checkpoint of PyTorch's first years", path=file.path,
            hint=f"unpack it with tar -xf and open {inside} inside",
        )  # fmt: skip
    reader = _Reader(file.disk_path)
    reader.read_storages(members["storages"])
    if "tensors" in members:
        reader.read_tensors(members["tensors"])
    stream = PickleStream(members["pickle"])
    root = stream.next(reader)
    base = from_tree(root, request, file=file.path, form="torch-tar")
    return replace(
        base,
        producer="torch.save of before PyTorch 0.1.10",
        pickle=judge(*stream.machines, refused="it reads no tar files"),
        locate=lambda storage: reader.places.get(str(storage.key)),
    )


def _members(file: File) -> dict[str, File]:
    found: dict[str, File] = {}
    try:
        # Only headers are read through it: the content of a member is never extracted.
        with tarfile.open(fileobj=cast("IO[bytes]", _Positioned(file)), mode="r:") as archive:
            for _ in range(_MAX_MEMBERS):
                member = archive.next()
                if member is None:
                    break
                if member.isreg() and not member.issparse():
                    end = member.offset_data + member.size
                    if end > file.size:
                        raise SourceError("a tar member is cut short", path=file.path)
                    found[member.name.removeprefix("./")] = file.section(
                        member.offset_data, member.size, member.name
                    )
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        raise SourceError(f"damaged tar archive: {error}", path=file.path) from None
    return found


class _Positioned:
    """The few methods of a binary file that `tarfile` needs to walk over headers."""

    def __init__(self, file: File) -> None:
        self._file, self._at = file, 0

    def read(self, size: int = -1) -> bytes:
        left = max(self._file.size - self._at, 0)
        content = self._file.read(self._at, left if size < 0 else min(size, left))
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: self._file.size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at


class _Reader(StorageTable):
    """Storages and tensors by the numbers that the object's pickle calls them."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.places: dict[str, Place] = {}
        self._tensors: dict[str, TensorInfo] = {}
        self._views: dict[str, TypedStorage] = {}
        # Other programs write the id itself where the pickle of torch marks it as one.
        self.builders = {**BUILDERS, "torch._utils._rebuild_tensor_v2": self._rebuild}

    def _rebuild(self, args: tuple[object, ...]) -> TensorInfo:
        storage, *rest = args[:4]
        return strided(self.persistent(storage) if type(storage) is tuple else storage, *rest)

    def read_storages(self, member: File) -> None:
        """Read (key, location, class), length and bytes of each storage, then the views."""
        stream = PickleStream(member)
        for _ in range(_counted(stream.next(), member)):
            entry = stream.next()
            if type(entry) is not tuple or len(entry) != 3 or type(entry[2]) is not Global:
                raise SourceError("a storage without key and class", path=member.path)
            key, _, cls = entry
            dtype = STORAGE_DTYPES.get(cls.path)
            if dtype is None or type(key) not in (str, int):
                raise SourceError("a storage of no known class", path=member.path)
            length = int.from_bytes(member.read(stream.offset, 8), "little")
            try:
                name = key_text(key)
            except ValueError as error:
                raise SourceError(str(error), path=member.path) from None
            typed = self.one(dtype, name, _counted(length, member))
            start = stream.offset + 8
            if start + typed.storage.nbytes > member.size:
                raise SourceError("the file ends inside a storage", path=member.path)
            self.places[name] = Place(member.disk_path, member.start + start)
            stream.offset = start + typed.storage.nbytes
        if stream.offset < member.size:
            try:
                self._read_views(stream.next())
            except ValueError as error:
                raise SourceError(f"a view of a storage: {error}", path=member.path) from None

    def _read_views(self, views: object) -> None:
        for view in views if type(views) is list else ():
            if type(view) is tuple and len(view) == 4 and key_text(view[1]) in self.known():
                root = self.known()[key_text(view[1])]
                typed = root._replace(start=number(view[2]), numel=number(view[3]))
                if typed.start + typed.numel <= root.numel:
                    self._views[key_text(view[0])] = typed

    def read_tensors(self, member: File) -> None:
        """Read (key, storage, class), then rank, sizes, strides and offset of each tensor."""
        stream = PickleStream(member)
        for _ in range(_counted(stream.next(), member)):
            entry = stream.next()
            if type(entry) is not tuple or len(entry) != 3:
                raise SourceError("a tensor without key and storage", path=member.path)
            (rank,) = _RANK.unpack(member.read(stream.offset, 8))
            if not 0 <= rank <= 255:
                raise SourceError(f"a tensor of rank {rank}", path=member.path)
            numbers = Struct(f"<{2 * rank + 1}q")
            found = numbers.unpack(member.read(stream.offset + 8, numbers.size))
            stream.offset += 8 + numbers.size
            try:
                self._tensors[key_text(entry[0])] = strided(
                    self._typed(key_text(entry[1])), found[-1], found[:rank], found[rank:-1]
                )
            except ValueError as error:
                raise SourceError(str(error), path=member.path) from None

    def _typed(self, key: str) -> object:
        return self._views.get(key) or self.known().get(key)

    def persistent(self, identity: object) -> object:
        """Answer a number with its tensor or storage; a tuple names a module's class first."""
        if type(identity) is tuple and len(identity) > 1 and identity[0] == "storage":
            return super().persistent(identity)
        if type(identity) is tuple and identity:
            return identity[0]
        if type(identity) in (str, int):
            name = key_text(identity)
            found = self._tensors.get(name) or self._typed(name)
            if found is not None:
                return found
        raise ValueError("a tensor that the file does not hold")


def _counted(value: object, member: File) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise SourceError("a count that is no number", path=member.path)
    return value
