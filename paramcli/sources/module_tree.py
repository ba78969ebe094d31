"""The tensors of a built module by name, in the order of its state dict, with their sharing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from paramcli.errors import SourceError, a_few
from paramcli.owners import Held, Owner
from paramcli.tensors import DTYPES, DType, Storage, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paramcli.tensors import Kind

__all__ = ["Surveyed", "survey"]

"""How many names a note gives."""

_COMPRESSED = ("compressed_indices", "plain_indices", "values")
_PARTS = {
    "sparse_coo": {"indices": "_indices", "values": "_values"},
    "sparse_csr": dict(zip(_COMPRESSED, ("crow_indices", "col_indices", "values"), strict=True)),
    "sparse_csc": dict(zip(_COMPRESSED, ("ccol_indices", "row_indices", "values"), strict=True)),
}
_PARTS["sparse_bsr"] = _PARTS["sparse_csr"]
_PARTS["sparse_bsc"] = _PARTS["sparse_csc"]
"""For each sparse layout its parts, and the method of the tensor that gives each."""


class Surveyed(NamedTuple):
    """The entries of a module's state dict, and notes on what is not among them.

    `unpack` gives their bytes; by name, `owners` are their modules and `held` their objects.
    """

    entries: tuple[TensorInfo, ...]
    notes: tuple[str, ...]
    unpack: Callable[[Storage, int, memoryview], None]
    owners: dict[str, Owner]
    held: Mapping[str, Held]


def survey(module: nn.Module, *, values: bool) -> Surveyed:
    """Walk over a module. Without `values` its tensors hold none, wherever they were built."""
    walk = _Walk("memory" if values else "")
    walk.visit(module, "", ())
    left_out = (
        (walk.transient, "non-persistent buffer", "not in its state dict"),
        (walk.shapeless, "tensor", "left out, having no fixed shape (lazy or nested)"),
        (walk.cycles, "module", "left out, being inside itself"),
    )
    notes = [_note(names, what, why) for names, what, why in left_out if names]
    if not walk.cycles and _listed(module) != walk.names:
        notes.append("its state_dict() is customized; these are the tensors of its module tree")
    return Surveyed(tuple(walk.entries), tuple(notes), walk.unpack, walk.owners, walk.held)


def _note(names: Sequence[str], what: str, why: str) -> str:
    many = len(names) > 1
    return f"{len(names)} {what}{'s' * many} {'are' if many else 'is'} {why}: {a_few(names)}"


def _listed(module: nn.Module) -> list[str] | None:
    """Return the tensor names that `state_dict()` itself gives, None where it fails."""
    try:
        state = module.state_dict(keep_vars=True)
    except Exception:  # noqa: BLE001 - an override can raise whatever it likes
        return None
    return [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and name.rpartition(".")[2] != "_extra_state"
    ]


class _Walk:
    """One pass over a module tree. It takes the turns of `nn.Module.state_dict`."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._storages: dict[Storage, torch.UntypedStorage] = {}
        self.names: list[str] = []
        self.entries: list[TensorInfo] = []
        self.owners: dict[str, Owner] = {}
        self.transient: list[str] = []
        self.shapeless: list[str] = []
        self.cycles: list[str] = []
        self.held: dict[str, Held] = {}
        self._numbers: dict[int, int] = {}
        self._paths: dict[int, str] = {}

    def visit(self, module: nn.Module, prefix: str, ancestors: tuple[nn.Module, ...]) -> None:
        """Add the tensors of `module` and of the modules in it. One met twice has both names."""
        if any(module is other for other in ancestors):
            self.cycles.append(prefix.removesuffix("."))
            return
        owner = _owner(module, prefix, ancestors)
        holder = self._paths.setdefault(id(module), prefix.removesuffix(".")), type(module).__name__
        # The dictionaries themselves, as state_dict() does: subclasses override named_parameters().
        for name, parameter in module._parameters.items():  # noqa: SLF001
            if parameter is not None:
                self._add(prefix + name, parameter, "parameter", (owner, holder))
        for name, buffer in module._buffers.items():  # noqa: SLF001
            if name in module._non_persistent_buffers_set:  # noqa: SLF001
                self.transient.append(prefix + name)
            elif buffer is not None:
                self._add(prefix + name, buffer, "buffer", (owner, holder))
        for name, child in module._modules.items():  # noqa: SLF001
            if child is not None:
                self.visit(child, f"{prefix}{name}.", (*ancestors, module))

    def _add(
        self, name: str, tensor: Tensor, kind: Kind, of: tuple[Owner, tuple[str, str]]
    ) -> None:
        owner, holder = of
        self.names.append(name)
        self.owners[name] = owner
        self.held[name] = Held(id(tensor), *holder)
        if is_lazy(tensor) or tensor.is_nested:
            self.shapeless.append(name)
        else:
            self.entries.append(self._describe(name, tensor, kind))

    def _describe(self, name: str, tensor: Tensor, kind: Kind) -> TensorInfo:
        layout = str(tensor.layout).removeprefix("torch.")
        parts = {label: getattr(tensor, get)() for label, get in _PARTS.get(layout, {}).items()}
        if hasattr(tensor, "__tensor_flatten__"):  # a DTensor or another wrapper
            layout = "dtensor" if type(tensor).__name__ == "DTensor" else "wrapper"
            attributes, _ = tensor.__tensor_flatten__()
            inner = {label: getattr(tensor, label) for label in attributes}
            parts = {
                key.lstrip("_"): part for key, part in inner.items() if isinstance(part, Tensor)
            }
        elif tensor.is_quantized:
            layout = "quantized"
        shape = tuple(tensor.shape)
        plain = layout in ("strided", "quantized")
        return TensorInfo(
            name=name,
            dtype=_dtype(tensor),
            shape=shape,
            # What has no storage of its own is said to lie in rows.
            stride=tensor.stride() if plain else torch.empty(shape, device="meta").stride(),
            offset=int(tensor.storage_offset()) if plain else 0,
            storage=self._storage(tensor) if plain else self._number(id(tensor), 0),
            kind=kind,
            layout=layout,
            parts=tuple(self._describe(label, part, kind) for label, part in parts.items()),
        )

    def _storage(self, tensor: Tensor) -> Storage:
        """Identify a storage by its memory, and by the object itself on meta, where it has none."""
        storage = tensor.untyped_storage()
        address = storage._cdata  # noqa: SLF001
        with contextlib.suppress(RuntimeError):  # memory that only pretends to be there
            address = storage.data_ptr() or address
        named = self._number(address, storage.nbytes())
        if self._file and not tensor.is_meta:
            named = named._replace(file=self._file)
            self._storages[named] = storage
        return named

    def unpack(self, storage: Storage, start: int, target: memoryview) -> None:
        """Fill a buffer from a storage of a module that was built with its values."""
        untyped = self._storages.get(storage)
        if untyped is None:
            raise SourceError("it holds names and shapes, but no values")
        flat = torch.empty(0, dtype=torch.uint8).set_(untyped, start, (len(target),), (1,))
        target[:] = flat.numpy().data

    def _number(self, address: int, nbytes: int) -> Storage:
        """Name a storage by its order of appearance; the module keeps every address in use."""
        return Storage("", self._numbers.setdefault(address, len(self._numbers)), nbytes)


def _dtype(tensor: Tensor) -> DType:
    name = str(tensor.dtype).removeprefix("torch.")
    return DTYPES.get(name) or DType(name, tensor.element_size() * 8)


def _owner(module: nn.Module, prefix: str, ancestors: tuple[nn.Module, ...]) -> Owner:
    """Describe a module; for the originals of a parametrization, the one that is parametrized."""
    path = prefix.removesuffix(".")
    if isinstance(module, ParametrizationList) and len(ancestors) > 1:
        module, path = ancestors[-2], path.rsplit(".", 2)[0] if path.count(".") > 1 else ""
    kind = type(module)
    if is_parametrized(module):
        kind = kind.__mro__[1]
    padding = getattr(module, "padding_idx", None)
    groups = getattr(module, "groups", 1)
    return Owner(
        path=path,
        type=kind.__name__,
        classes=tuple(
            base.__name__
            for base in kind.__mro__
            if base is not nn.Module and base.__module__.startswith("torch.nn.")
        ),
        groups=groups if isinstance(groups, int) and isinstance(module, _ConvNd) else 1,
        transposed=isinstance(module, _ConvTransposeNd),
        padding=padding if isinstance(module, nn.Embedding | nn.EmbeddingBag) else None,
    )
