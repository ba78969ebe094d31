"""Copies of a module: one that shares as the original does, and one in which nothing is shared.

`copy.deepcopy` keeps neither two Parameters over one storage nor a view of one, so storages are
copied here themselves, and every tensor is laid over the copy of its own.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["named", "tensors", "twin", "untied"]


def tensors(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Yield each tensor's name, the module that holds it, what it is called there, and itself.

    A module met twice is gone through twice, under both its names.
    """
    pending: list[tuple[str, nn.Module, tuple[nn.Module, ...]]] = [("", module, ())]
    while pending:
        prefix, holder, above = pending.pop()
        for held in (holder._parameters, holder._buffers):  # noqa: SLF001 - as state_dict() does
            for name, tensor in held.items():
                if tensor is not None:
                    yield prefix + name, holder, name, tensor
        children = [
            (f"{prefix}{name}.", child, (*above, holder))
            for name, child in holder._modules.items()  # noqa: SLF001
            if child is not None and not any(child is other for other in (*above, holder))
        ]
        pending.extend(reversed(children))


def named(module: nn.Module) -> dict[str, Tensor]:
    """Map names to tensors, those that share included."""
    return {name: tensor for name, _, _, tensor in tensors(module)}


def twin(module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a module with all that is shared in it; floating-point numbers become `dtype`."""
    other = copy.deepcopy(module)
    copies: dict[object, torch.UntypedStorage] = {}
    seen: set[int] = set()
    for (_, _, _, ours), (_, _, _, theirs) in zip(tensors(module), tensors(other), strict=True):
        if id(theirs) in seen or not _plain(ours) or ours.is_meta:
            continue
        seen.add(id(theirs))
        wanted = dtype if dtype is not None and ours.dtype.is_floating_point else ours.dtype
        storage = ours.untyped_storage()
        # What is viewed as two types stays one storage where neither is converted.
        key = storage._cdata, ours.dtype if wanted != ours.dtype else None  # noqa: SLF001
        if key not in copies:
            copies[key] = _converted(storage, ours.dtype, wanted)
        theirs.data = torch.empty(0, dtype=wanted).set_(
            copies[key], ours.storage_offset(), ours.size(), ours.stride()
        )
    return other


def _converted(
    storage: torch.UntypedStorage, dtype: torch.dtype, wanted: torch.dtype
) -> torch.UntypedStorage:
    """Copy a storage of elements of one type as those of another."""
    dtype, wanted = (dtype, wanted) if dtype != wanted else (torch.uint8, torch.uint8)
    count = storage.nbytes() // dtype.itemsize
    flat = torch.empty(0, dtype=dtype).set_(storage, 0, (count,), (1,))
    return flat.to(wanted, copy=True).untyped_storage()


def untied(module: nn.Module) -> nn.Module:
    """Copy a module so that each name has a module, a Parameter and bytes of its own."""
    other = copy.deepcopy(module)
    _part_modules(other, set(), ())
    seen: set[int] = set()
    for _, holder, name, tensor in list(tensors(other)):
        storage = tensor.untyped_storage()._cdata if _plain(tensor) else id(tensor)  # noqa: SLF001
        if storage in seen:
            own = tensor.detach().clone()
            # By setattr, since an RNN keeps a list of its weights beside.
            if isinstance(tensor, nn.Parameter):
                setattr(holder, name, nn.Parameter(own, tensor.requires_grad))
            else:
                setattr(holder, name, own)
        seen.add(storage)
    return other


def _plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not hasattr(tensor, "__tensor_flatten__")


def _part_modules(module: nn.Module, seen: set[int], above: tuple[nn.Module, ...]) -> None:
    """Put a copy wherever a module stands for a second time."""
    for name, child in list(module._modules.items()):  # noqa: SLF001
        if child is None or any(child is other for other in (*above, module)):
            continue
        own = child
        if id(child) in seen:
            own = module._modules[name] = copy.deepcopy(child)  # noqa: SLF001
        seen.add(id(own))
        _part_modules(own, seen, (*above, module))
