"""Archives of torch.export (.pt2): weights as they are, and JSON that says how to view them.

Layout: `torch/export/pt2_archive/_package.py`, and `torch/_export/serde/schema.py` for the numbers
of element types. The program, its sample inputs and what is compiled beside them are not looked at.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paramcli.errors import DAMAGED, SourceError, a_few
from paramcli.sources.bundle import Bundle
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import Dict, TypedStorage
from paramcli.sources.pickles.rebuild import META, numbers, strided
from paramcli.sources.pickles.safety import judge
from paramcli.tensors import DTYPES, Storage, TensorInfo

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request
    from paramcli.sources.torchzip import TorchArchive
    from paramcli.tensors import Place

__all__ = ["open_exported"]

_REFUSED = "it is an archive of torch.export, for torch.export.load"
_WEIGHTS, _CONSTANTS = "weights", "constants"
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16",
    28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
_STRIDED = 7
_OBJECTS = ("custom_obj_", "opaque_obj_")
"""What names of entries begin with that are pickled objects."""
_MAX_JSON = 1 << 28


def open_exported(archive: TorchArchive, request: Request) -> Checkpoint:
    """Open an archive: the state dict of its program, or a tree for each of several programs."""
    found = _Exported(archive)
    names = found.programs()
    if not names:
        raise SourceError(
            "an archive of torch.export that holds no weights of a program", path=archive.path,
            hint="compiled code keeps them inside; open the checkpoint that it was made from",
        )  # fmt: skip
    programs = [(name, found.program(name)) for name in names]
    root = (
        programs[0][1] if len(programs) == 1 else Dict([part for pair in programs for part in pair])
    )
    base = from_tree(root, request, file=archive.path, form="torch-zip")
    return replace(
        base,
        notes=base.notes + _noted(found.objects),
        producer="torch.export.save",
        pickle=judge(*found.bundle.machines, refused=_REFUSED),
        byteorder=archive.byteorder,
        locate=found.locate,
        unpack=found.unpack,
        checksum=archive.checksum,
    )


def _noted(objects: list[str]) -> tuple[str, ...]:
    if not objects:
        return ()
    return (f"not looked into, since they are no tensors: {a_few(objects)}",)


class _Exported:
    """The tensors of an archive.

    `bundle` are the few that are files of torch.save inside it, `objects` the names of constants
    that are no tensors.
    """

    def __init__(self, archive: TorchArchive) -> None:
        self._outer, self._archive = archive, archive.archive
        self.bundle = Bundle(archive.archive)
        self.objects: list[str] = []

    def programs(self) -> list[str]:
        """Return the names of programs whose weights are here, in order."""
        folder = f"{self._outer.folder}/data/{_WEIGHTS}/"
        ends = (f"_{_WEIGHTS}_config.json", ".pt")
        found = [
            name.removeprefix(folder).removesuffix(end)
            for name in self._archive.names
            for end in ends
            if name.startswith(folder) and name.endswith(end)
        ]
        return list(dict.fromkeys(found))

    def program(self, name: str) -> object:
        """Return a program's state dict, with its constants beside it if it has any."""
        weights, constants = self._tensors(_WEIGHTS, name), self._tensors(_CONSTANTS, name)
        if type(constants) is Dict and not constants.pairs:
            return weights
        return Dict(["state_dict", weights, "constants", constants])

    def _tensors(self, part: str, name: str) -> object:
        folder = f"{self._outer.folder}/data/{part}/"
        whole, config = f"{folder}{name}.pt", f"{folder}{name}_{part}_config.json"
        if whole in self._archive.names:  # until PyTorch 2.8
            return self.bundle.open(whole)
        entry = self._archive.stated(config)
        if entry is None:
            return Dict([])
        if entry.size > _MAX_JSON:
            raise SourceError(f"{config} of {entry.size:,} bytes", path=self._outer.path)
        pairs: list[object] = []
        try:
            for key, payload in json.loads(self._archive.read(config))["config"].items():
                if payload["path_name"].startswith(_OBJECTS):
                    self.objects.append(key)
                else:
                    pairs += (key, self._payload(folder, payload))
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise SourceError(
                f"damaged {config}: {error!r}", path=self._outer.path, hint=DAMAGED
            ) from None
        return Dict(pairs)

    def _payload(self, folder: str, payload: dict[str, Any]) -> TensorInfo:
        key = folder + payload["path_name"]
        entry = self._archive.stated(key)
        if entry is None:
            raise KeyError(key)
        info: object
        if payload["use_pickle"]:
            info = self.bundle.open(key)
        else:
            info = self._view(key, entry.size, payload["tensor_meta"])
        if type(info) is not TensorInfo:
            raise ValueError(f"{key} is no tensor")
        return info._replace(kind="parameter" if payload["is_param"] else "buffer")

    def _view(self, key: str, nbytes: int, meta: dict[str, Any]) -> TensorInfo:
        dtype = DTYPES[_DTYPES[meta["dtype"]]]
        shape, stride = (
            numbers([size["as_int"] for size in meta[field]]) for field in ("sizes", "strides")
        )
        if meta["layout"] != _STRIDED:
            raise ValueError(f"layout {meta['layout']}")
        if not nbytes and 0 not in shape:  # of a program that was exported without values
            return TensorInfo("", dtype, shape, stride, 0, META, layout="meta")
        storage = Storage(self._outer.path, key, nbytes)
        whole = TypedStorage(storage, dtype, 0, nbytes * 8 // dtype.bits)
        return strided(whole, meta["storage_offset"]["as_int"], shape, stride)

    def locate(self, storage: Storage) -> Place | None:
        """Where a storage lies in the file, None where it is compressed."""
        inner = storage.file != self._outer.path
        return self.bundle.locate(storage) if inner else self._outer.locate(storage)

    def unpack(self, storage: Storage, start: int, target: memoryview) -> None:
        """Fill a buffer with a compressed storage's bytes from a byte on."""
        inner = storage.file != self._outer.path
        (self.bundle if inner else self._outer).unpack(storage, start, target)
