"""The buffers of a model class with their true values, without drawing its parameters."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paramcli.checkpoint import in_parts
from paramcli.sources.dispatch import Dispatch
from paramcli.sources.meta import nothing_drawn
from paramcli.sources.module_tree import Surveyed, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["buffers_of", "buffers_undrawn"]

_DRAWING = ("uniform", "normal", "orthogonal", "sparse")


def buffers_undrawn(make: Callable[[], nn.Module]) -> Surveyed | None:
    """Build a model without drawing numbers; None where a buffer would have depended on them.

    What is not drawn is never written to, so that the parameters take address space alone. Raises
    whatever `make` does, which may be for want of numbers.
    """
    undrawn = _Undrawn()
    with undrawn, nothing_drawn(_DRAWING, undrawn.mark):
        module = make()
    if any(undrawn.affects(buffer) for buffer in module.buffers()):
        return None
    return buffers_of(module)


def buffers_of(module: nn.Module) -> Surveyed:
    """Copy the persistent buffers of a model that was built with values."""
    entries, notes, unpack, owners, held = survey(module, values=True)
    kept = tuple(info for info in entries if info.kind == "buffer")
    content = {
        view.storage: bytearray(view.storage.nbytes) for info in kept for view in info.views()
    }
    for storage, copied in content.items():
        unpack(storage, 0, memoryview(copied))

    names = [info.name for info in kept]
    return Surveyed(
        kept, notes, in_parts(content.__getitem__),
        {name: owners[name] for name in names}, {name: held[name] for name in names},
    )  # fmt: skip


class _Undrawn(Dispatch):
    """Skips operations that draw numbers in place, and follows what would depend on numbers.

    Storages are held, so that none that is freed gives its address to another.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._affected: dict[int, torch.UntypedStorage] = {}

    def affects(self, value: object) -> bool:
        """Whether a value is a tensor that depends on random numbers."""
        return isinstance(value, Tensor) and _address(value) in self._affected

    def mark(self, value: object) -> None:
        """Remember that a value depends on random numbers, if it is a tensor."""
        address = _address(value) if isinstance(value, Tensor) else None
        if address is not None:
            assert isinstance(value, Tensor)
            self._affected[address] = value.untyped_storage()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator, for which torch has no public type
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        given = kwargs or {}
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random and func.overloadpacket.__name__.endswith("_"):
            self.mark(args[0])
            return args[0]
        made: object = func(*args, **given)
        if random or any(self.affects(value) for value in tree_leaves((args, given))):
            if not any(isinstance(value, Tensor) for value in tree_leaves(made)):
                raise RuntimeError("a number was looked at that has not been drawn")
            for value in tree_leaves(made):
                self.mark(value)
        return made


def _address(tensor: Tensor) -> int | None:
    with contextlib.suppress(NotImplementedError):  # sparse tensors have no storage of their own
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001
    return None
