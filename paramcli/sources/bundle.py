"""Files of torch.save inside a zip archive: a tree for each, as Stable-Baselines3 writes them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from paramcli.errors import SourceError
from paramcli.sources.archive import STORED, Archive
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import Dict
from paramcli.sources.pickles.safety import judge
from paramcli.sources.torchzip import TorchArchive, folder_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request
    from paramcli.sources.pickles.machine import Machine
    from paramcli.tensors import Place, Storage

__all__ = ["Bundle", "open_bundle"]


class Bundle:
    """Files of torch.save that are entries of an archive, each read where it lies.

    `machines` are those that ran, `byteorder` that of the last file.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.machines: list[Machine] = []
        self.byteorder: Literal["little", "big"] = "little"
        self._places: dict[str, Callable[[Storage], Place | None]] = {}
        self._unpackers: dict[str, Callable[[Storage, int, memoryview], None]] = {}

    def open(self, name: str) -> object:
        """Return what the file of this name describes. Raises SourceError where it is none."""
        file = self._archive.file
        entry = self._archive.entry(name)
        assert entry is not None
        if entry.method != STORED:
            raise SourceError(
                f"{name!r} is compressed inside the archive", path=file.path,
                hint="unzip it and open the file itself",
            )  # fmt: skip
        section = file.section(entry.offset, entry.size, name)
        if section.head(4) == b"PK\3\4":
            inner = Archive(section)
            part = TorchArchive(inner, folder_of(inner))
            root, machine = part.run()
            self.machines.append(machine)
            self._places[part.path], self._unpackers[part.path] = part.locate, part.unpack
            self.byteorder = part.byteorder
            return root
        from paramcli.sources.legacy import LegacyFile

        stream = LegacyFile(section)
        root, ran = stream.run()
        self.machines += ran
        self._places[stream.path] = stream.locate
        return root

    def locate(self, storage: Storage) -> Place | None:
        """Where a storage of one of the files lies, None where it is compressed."""
        return self._places[storage.file](storage)

    def unpack(self, storage: Storage, start: int, target: memoryview) -> None:
        """Fill a buffer with a compressed storage's bytes from a byte on."""
        self._unpackers[storage.file](storage, start, target)


def open_bundle(archive: Archive, request: Request) -> Checkpoint:
    """Open a zip of .pth files: each is a tree of its own."""
    names = [name for name in archive.names if name.endswith((".pth", ".pt"))]
    if not names:
        raise _foreign(archive)
    bundle = Bundle(archive)
    pairs: list[object] = []
    for name in names:
        pairs += [name.rpartition(".")[0], bundle.open(name)]
    base = from_tree(Dict(pairs), request, file=archive.file.path, form="torch-zip")
    refused = "a zip of several files is not one of torch.save"
    return replace(
        base,
        pickle=judge(*bundle.machines, refused=refused),
        byteorder=bundle.byteorder,
        locate=bundle.locate,
        unpack=bundle.unpack,
    )


def _foreign(archive: Archive) -> SourceError:
    path = archive.file.path
    if any(name.endswith(".npy") for name in archive.names):
        return SourceError(
            "a NumPy .npz archive, which holds arrays and no checkpoint", path=path,
            hint="numpy.load reads it; safetensors.numpy.save_file makes it a target",
        )  # fmt: skip
    return SourceError(
        "a zip archive, but not one that torch.save wrote", path=path,
        hint="unzip it and open the checkpoint inside",
    )  # fmt: skip
