"""TorchScript archives: a module's attributes in a pickle, and its classes as text beside it.

Only the text says which tensors are parameters and which buffers; it is read, never compiled.
Layout: `torch/csrc/jit/docs/serialization.md`, and for `model.json` (PyTorch 1.0 to 1.3)
`torch/csrc/jit/serialization/import_legacy.cpp`.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint, in_parts
from paramcli.errors import SourceError, a_few
from paramcli.sources.pickles.model import from_tree
from paramcli.sources.pickles.nodes import Dict, Record, TypedStorage
from paramcli.sources.pickles.rebuild import strided
from paramcli.sources.pickles.safety import judge
from paramcli.sources.pickles.trees import holds
from paramcli.tensors import DTYPES, Storage, TensorInfo

if TYPE_CHECKING:
    from paramcli.sources import Request
    from paramcli.sources.archive import Archive
    from paramcli.sources.torchzip import TorchArchive
    from paramcli.tensors import Kind

__all__ = ["open_old_script", "open_script"]

_CLASS = re.compile(r"^class (\w+)\((\w*)\):$((?:\n(?:  .*)?)*)", re.MULTILINE)
_NAMES = re.compile(r'"((?:[^"\\]|\\.)*)"')
_REFUSED = "it is a TorchScript archive, for torch.jit.load"
_MAX_MODULES = 100_000
_OLD_DTYPES = {
    "FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16",
    "INT64": "int64", "INT32": "int32", "INT16": "int16", "INT8": "int8", "UINT8": "uint8",
    "BYTE": "uint8", "BOOL": "bool",
}  # fmt: skip


class _Class:
    """One class of the archive's code: the names that it calls parameters and buffers."""

    def __init__(self, body: str) -> None:
        self.parameters = _listed(body, "__parameters__") or set()
        # Archives of before PyTorch 1.5 list no buffers: any other tensor attribute is one.
        self.buffers = _listed(body, "__buffers__")

    def kind(self, name: str) -> Kind | None:
        """Return what a tensor attribute is to the module, None where it is but an attribute."""
        if name in self.parameters:
            return "parameter"
        return "buffer" if self.buffers is None or name in self.buffers else None


def _listed(body: str, field: str) -> set[str] | None:
    match = re.search(rf"^  {field} = \[(.*)\]$", body, re.MULTILINE)
    return None if match is None else set(_NAMES.findall(match[1]))


def open_script(archive: TorchArchive, request: Request) -> Checkpoint:
    """Open an archive of PyTorch 1.4 or later. Lists what its `state_dict()` would."""
    root, machine = archive.run()
    module, left_out = _as_module(root, _classes(archive))
    base = from_tree(module, request, file=archive.path, form="torchscript")
    return replace(
        base,
        notes=base.notes + _noted(left_out),
        producer=f"torch.jit.save, archive version {archive.version or 'unknown'}",
        pickle=judge(machine, refused=_REFUSED),
        byteorder=archive.byteorder,
        locate=archive.locate,
        unpack=archive.unpack,
    )


def _classes(archive: TorchArchive) -> dict[str, _Class]:
    """Every class of the code, by its dotted name as the pickle has it."""
    prefix = f"{archive.folder}/code/"
    found: dict[str, _Class] = {}
    for name in archive.archive.names:
        if name.startswith(prefix) and name.endswith(".py"):
            module = name.removeprefix(prefix).removesuffix(".py").replace("/", ".")
            text = archive.archive.read(name).decode(errors="replace")
            for match in _CLASS.finditer(text):
                if match[2] == "Module":
                    found[f"{module}.{match[1]}"] = _Class(match[3])
    return found


def _noted(left_out: list[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    listed = a_few(list(dict.fromkeys(left_out)))
    many = "attributes hold" if len(left_out) > 1 else "attribute holds"
    return (f"{len(left_out):,} {many} tensors that are not in its state dict: {listed}",)


def _as_module(root: object, classes: dict[str, _Class]) -> tuple[object, list[str]]:
    """Rewrite the records of modules as those of eager ones, so that one walk serves both.

    Beside it return the attributes that hold other tensors, such as packed weights.
    """
    made: dict[int, Record] = {}
    left_out: list[str] = []
    barren: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if type(node) is not Record or id(node) in made or node.path not in classes:
            continue
        module = made[id(node)] = Record(node.function, ())
        groups: dict[object, Dict] = {kind: Dict([]) for kind in ("parameter", "buffer", "module")}
        for name, child in _state(node):
            kind: str | None = None
            if type(child) is TensorInfo:
                kind = classes[node.path].kind(name)
            elif type(child) is Record and child.path in classes:
                kind = "module"
                pending.append(child)
            if kind in groups:
                groups[kind].pairs += (name, child)
            elif type(child) is TensorInfo or holds(child, barren):
                left_out.append(name)
        labels = ("_parameters", "_buffers", "_modules")
        module.state = Dict([*chain.from_iterable(zip(labels, groups.values(), strict=True))])
        if len(made) > _MAX_MODULES:
            raise SourceError(f"more than {_MAX_MODULES:,} modules")
    for module in made.values():
        modules = module.state.pairs[5]  # type: ignore[attr-defined]
        modules.pairs[1::2] = [made[id(child)] for child in modules.pairs[1::2]]
    return made.get(id(root), root), left_out


def _state(module: Record) -> list[tuple[str, object]]:
    """Attributes by name; a module that pickles itself in another way is one attribute, its own."""
    if type(module.state) is not Dict:
        return [(module.path.rpartition(".")[2], module.state)]
    pairs = module.state.pairs
    named = zip(pairs[::2], pairs[1::2], strict=True)
    return [(name, child) for name, child in named if type(name) is str]


def open_old_script(archive: Archive, request: Request) -> Checkpoint:
    """Open an archive of PyTorch 1.0 to 1.3, whose modules stand in `model.json`."""
    path = archive.file.path
    name = next(name for name in archive.names if name.endswith("/model.json"))
    folder = name.removesuffix("/model.json")
    try:
        model = json.loads(archive.read(name))
        tensors = [_old_tensor(archive, folder, tensor) for tensor in model.get("tensors", [])]
        entries = tuple(_old_entries(model["mainModule"], tensors))
    except (
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise SourceError(f"damaged model.json: {error!r}", path=path) from None

    return Checkpoint(
        origin=request.target, format="torchscript", producer="torch.jit.save of PyTorch 1.0",
        entries=entries, pickle=judge(refused=_REFUSED),
        locate=lambda storage: archive.place(str(storage.key)),
        unpack=in_parts(lambda storage: archive.unpack(str(storage.key))),
    )  # fmt: skip


def _old_tensor(archive: Archive, folder: str, tensor: dict[str, object]) -> TensorInfo:
    dtype = DTYPES[_OLD_DTYPES[str(tensor["dataType"])]]
    key = f"{folder}/{tensor['data']['key']}"  # type: ignore[index]
    entry = archive.stated(key)
    if entry is None:
        raise KeyError(key)
    nbytes = entry.size
    storage = TypedStorage(
        Storage(archive.file.path, key, nbytes), dtype, 0, nbytes * 8 // dtype.bits
    )
    dims, strides = (
        tuple(int(n) for n in tensor.get(field, ()))  # type: ignore[attr-defined]
        for field in ("dims", "strides")
    )
    return strided(storage, int(str(tensor.get("offset", 0))), dims, strides)


def _old_entries(main: dict[str, object], tensors: list[TensorInfo]) -> list[TensorInfo]:
    found: list[TensorInfo] = []
    pending: list[tuple[str, dict[str, object]]] = [("", main)]
    while pending:
        prefix, module = pending.pop()
        for parameter in module.get("parameters", ()):  # type: ignore[attr-defined]
            info = tensors[int(parameter["tensorId"])]
            kind: Kind = "buffer" if parameter.get("isBuffer") else "parameter"
            found.append(info._replace(name=f"{prefix}{parameter['name']}", kind=kind))
        children = reversed(module.get("submodules", ()))  # type: ignore[call-overload]
        pending += [(f"{prefix}{child['name']}.", child) for child in children]
    return found
