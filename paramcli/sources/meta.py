"""A constructor run on the meta device: shapes without memory, and nothing drawn."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

__all__ = ["nothing_drawn", "on_meta"]

_TRIANGLES = (torch.ops.aten.tril.default, torch.ops.aten.triu.default)


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Have tensors made on the meta device, and `torch.nn.init` leave them as they are."""
    with torch.device("meta"), nothing_drawn(), _Triangles():  # type: ignore[no-untyped-call]
        yield


@contextlib.contextmanager
def nothing_drawn(
    words: Sequence[str] = ("",), seen: Callable[[Tensor], None] | None = None
) -> Iterator[None]:
    """Make functions of `torch.nn.init` leave tensors as they are: no value will be read.

    Those with one of `words` in their names, by default all; `seen` is told of each tensor.
    """
    from torch.nn import init

    drawing = {
        name: function
        for name, function in vars(init).items()
        if name.endswith("_") and not name.startswith("_") and any(map(name.count, words))
    }

    def untouched(tensor: Tensor, *_: object, **__: object) -> Tensor:
        if seen is not None:
            seen(tensor)
        return tensor

    vars(init).update(dict.fromkeys(drawing, untouched))
    try:
        yield
    finally:
        vars(init).update(drawing)


class _Triangles(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what causal masks are made by, for which torch would import its compiler: seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler only to leave this alone."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator, for which torch has no public type
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func in _TRIANGLES and args[0].is_meta and args[0].layout is torch.strided:
            return torch.empty(args[0].shape, dtype=args[0].dtype, device="meta")
        return func(*args, **(kwargs or {}))
