"""torch.save's zip format (PyTorch 1.6 and later), and which other archive of torch a zip is.

Layout: `torch/serialization.py` (`_save`, `_load`) and `caffe2/serialize/inline_container.cc`.
"""

from __future__ import annotations

from dataclasses import replace
from operator import le
from typing import TYPE_CHECKING, Literal

from paramcli.checkpoint import Checkpoint, in_parts
from paramcli.errors import SourceError
from paramcli.sources.archive import Archive
from paramcli.sources.pickles.calls import TensorCalls
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.safety import judge
from paramcli.sources.pickles.storages import StorageTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.files import File
    from paramcli.sources import Request
    from paramcli.tensors import Place, Storage

__all__ = ["METADATA", "Entries", "TorchArchive", "folder_of", "metadata_text", "open_zip"]

METADATA = "paramcli.json"
"""An entry of our own, which torch passes over: `{"version": 1, "metadata": {text: text}}`."""
_METADATA_VERSION = 1
_MAX_METADATA = 100_000_000
_MAX_VERSION = 10


def open_zip(file: File, request: Request) -> Checkpoint:
    """Open a zip archive: torch.save's own, another of torch's, or a zip of such files."""
    archive = Archive(file)
    top = next(iter(archive.names), "").partition("/")[0]  # spares most files the search
    if f"{top}/data.pkl" in archive.names or any(map(_is_data, archive.names)):
        folder = folder_of(archive)
        if f"{folder}/constants.pkl" in archive.names:
            from paramcli.sources.torchscript import open_script

            return open_script(TorchArchive(archive, folder), request)
        return _open_save(TorchArchive(archive, folder), request)
    if f"{top}/archive_format" in archive.names:
        from paramcli.sources.exported import open_exported

        return open_exported(TorchArchive(archive, top), request)
    if f"{top}/.data/extern_modules" in archive.names:
        from paramcli.sources.package import open_package

        return open_package(archive, top, request)
    if any(name.endswith("/model.json") for name in archive.names):
        from paramcli.sources.torchscript import open_old_script

        return open_old_script(archive, request)
    from paramcli.sources.bundle import open_bundle

    return open_bundle(archive, request)


def _is_data(name: str) -> bool:
    return name == "data.pkl" or name.endswith("/data.pkl")


def folder_of(archive: Archive) -> str:
    """The one top folder of an archive of torch.save. Raises SourceError where it is not so."""
    # What the first and the last name in order begin with, all names between them do.
    first, last = min(archive.names), max(archive.names)
    folder = first.partition("/")[0]
    together = first.startswith(f"{folder}/") and last.startswith(f"{folder}/")
    if not together or f"{folder}/data.pkl" not in archive.names:
        raise SourceError(
            "the archive has not the one top folder that torch.save gives it",
            path=archive.file.path,
        )
    return folder


class Entries(StorageTable):
    """Storages that are entries of an archive, named by a prefix and their keys."""

    def __init__(self, archive: Archive, prefix: str) -> None:
        super().__init__(archive.file.path, prefix)
        self._archive = archive

    def held(self, names: Sequence[str], sizes: Sequence[int]) -> Sequence[str] | None:
        """Return the archive's own text of these names, None where it has not all of them."""
        found = self._archive.sizes(names)
        return found[0] if found is not None and all(map(le, sizes, found[1])) else None


class TorchArchive:
    """One archive of torch.save: its pickles run with its storages as persistent ids."""

    def __init__(self, archive: Archive, folder: str) -> None:
        self.archive, self.folder = archive, folder
        self.path = archive.file.path
        self.byteorder: Literal["little", "big"] = "little"
        self.version: int | None = None
        self.storages = Entries(archive, f"{folder}/data/")
        self.unpack = in_parts(lambda storage: archive.unpack(str(storage.key)))
        self._check_names()
        if f"{folder}/byteorder" in archive.names:
            order = archive.read(f"{folder}/byteorder")
            if order not in (b"little", b"big"):
                raise SourceError("a byte order that is neither little nor big", path=self.path)
            self.byteorder = "little" if order == b"little" else "big"
        if f"{folder}/version" in archive.names:
            version = archive.read(f"{folder}/version").strip()
            if not version.isdigit() or not 1 <= int(version[:9]) <= _MAX_VERSION:
                raise SourceError(
                    f"format version {version[:20]!r} is not known",
                    path=self.path, hint="it may need a newer paramcli",
                )  # fmt: skip
            self.version = int(version)

    def _check_names(self) -> None:
        """Refuse names that torch, which looks them up without regard to case, would confuse."""
        names = self.archive.names
        joined = "\0".join(names)
        if joined != joined.lower() and len(set(map(str.lower, names))) < len(names):
            raise SourceError(
                "two entries differ in upper and lower case alone", path=self.path,
                hint="torch.load would read either one; such a file is made to deceive",
            )  # fmt: skip

    def run(self, name: str = "data.pkl") -> tuple[object, Machine]:
        """Run a pickle of the archive; its storages are the entries below `data/`."""
        content = self.archive.read(f"{self.folder}/{name}")
        machine = Machine(
            content, f"{self.path}!{name}", persistent=self.storages.persistent,
            calls=TensorCalls(self.storages.many, legacy=False),
        )  # fmt: skip
        return machine.run(), machine

    def locate(self, storage: Storage) -> Place | None:
        """Where a storage lies in the file, None where it is compressed."""
        return self.archive.place(str(storage.key))

    def metadata(self) -> dict[str, str]:
        """Return the metadata that this program wrote, none where another one wrote the file."""
        name = f"{self.folder}/{METADATA}"
        entry = self.archive.stated(name)
        if entry is None:
            return {}
        import json

        if entry.size > _MAX_METADATA:
            raise SourceError(f"{METADATA} of {entry.size:,} bytes", path=self.path)
        try:
            told = json.loads(self.archive.read(name).decode())
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{METADATA} cannot be read: {error}", path=self.path) from None
        found = told.get("metadata") if type(told) is dict else None
        if type(found) is not dict or told.get("version") != _METADATA_VERSION:
            raise SourceError(
                f"{METADATA} is of no known version", path=self.path,
                hint="it may need a newer paramcli",
            )  # fmt: skip
        if not all(type(text) is str and _is_text(key + text) for key, text in found.items()):
            raise SourceError(f"{METADATA} does not map text to text", path=self.path)
        return found

    def checksum(self, storage: Storage) -> int | None:
        """The CRC-32 that the archive states of a storage's entry, as long as that is all of it."""
        entry = self.archive.stated(str(storage.key))
        if entry is None or not self.archive.summed or entry.size != storage.nbytes:
            return None
        return entry.crc


def _is_text(text: str) -> bool:
    """Whether UTF-8 can hold it: JSON can write half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _open_save(archive: TorchArchive, request: Request) -> Checkpoint:
    root, machine = archive.run()
    base = from_tree(root, request, file=archive.path, form="torch-zip")
    return replace(
        base,
        producer=f"torch.save, archive version {archive.version or 'unknown'}",
        pickle=judge(machine),
        byteorder=archive.byteorder,
        metadata=archive.metadata(),
        locate=archive.locate,
        unpack=archive.unpack,
        checksum=archive.checksum,
    )


def metadata_text(metadata: Mapping[str, str]) -> bytes:
    """Write the content of the entry that holds metadata, keys sorted."""
    import json  # which reading other files does without

    told = {"version": _METADATA_VERSION, "metadata": dict(sorted(metadata.items()))}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
