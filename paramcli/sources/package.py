"""Archives of torch.package: pickles of any names, whose storages lie beside them in `.data/`.

Layout: `torch/package/package_exporter.py`. The source code that comes along is not looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from paramcli.errors import SourceError
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import Dict, Record
from paramcli.sources.pickles.safety import judge
from paramcli.sources.pickles.storages import key_text
from paramcli.sources.torchzip import Entries, TorchArchive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request
    from paramcli.sources.archive import Archive
    from paramcli.sources.pickles.machine import Machine
    from paramcli.tensors import DType, Storage

__all__ = ["open_package"]

_REFUSED = "it is an archive of torch.package, for torch.package.PackageImporter"
_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def open_package(archive: Archive, folder: str, request: Request) -> Checkpoint:
    """Open an archive: a tree for each of its pickles, by its path."""
    package = _Package(archive, folder)
    pairs: list[object] = []
    machines: list[Machine] = []
    for name in package.pickles():
        root, machine = package.run(name)
        pairs += [name.removesuffix(".pkl"), root]
        machines.append(machine)
    if not pairs:
        raise SourceError(
            "an archive of torch.package that holds no pickles", path=archive.file.path,
            hint="it is code alone",
        )  # fmt: skip
    base = from_tree(Dict(pairs), request, file=archive.file.path, form="torch-zip")
    return replace(
        base,
        producer="torch.package.PackageExporter",
        pickle=judge(*machines, refused=_REFUSED),
        byteorder=package.byteorder,
        locate=package.locate,
        unpack=package.unpack,
    )


class _Storages(Entries):
    """Storages whose entries are named by their keys and `.storage`."""

    def many(
        self, dtypes: Sequence[DType], keys: Sequence[str], numels: Sequence[int]
    ) -> list[Storage] | None:
        return super().many(dtypes, [_entry(key) for key in keys], numels)

    def persistent(self, identity: object) -> object:
        """Answer an id; an object that rebuilds itself from the package stays a record."""
        if type(identity) is tuple and len(identity) > 2:
            if identity[0] == "reduce_package":
                return Record(*identity[-2:])
            identity = (*identity[:2], _entry(identity[2]), *identity[3:])
        return super().persistent(identity)


def _entry(key: object) -> str:
    return f"{key_text(key)}.storage"


class _Package(TorchArchive):
    """An archive whose pickles all share its storages."""

    def __init__(self, archive: Archive, folder: str) -> None:
        super().__init__(archive, folder)
        self.storages = _Storages(archive, f"{folder}/.data/")

    def pickles(self) -> Iterator[str]:
        """Yield the paths of pickles below the archive's folder, whatever they are named."""
        start = f"{self.folder}/"
        for name in self.archive.names:
            path = name.removeprefix(start)
            if path == name or path.startswith(".data/") or path.endswith(".py"):
                continue
            if self.archive.read(name).startswith(_PROTOCOLS):
                yield path
