"""A constructor run on the meta device: shapes without memory, and nothing drawn."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from paramcli.sources.meta_shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

__all__ = ["nothing_drawn", "on_meta"]


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Have tensors made on the meta device, and `torch.nn.init` leave them as they are."""
    with torch.device("meta"), nothing_drawn(), Shapes():  # type: ignore[no-untyped-call]
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
