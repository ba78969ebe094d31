"""What constructors compute on the meta device, by shapes alone.

For most of it torch would import its compiler, which takes as long as all else together. So what
is common is answered here, for dense tensors: with the shape, the type and the order that it would
have on the CPU. What is not as simple is left to torch, and so is every error.
"""

from __future__ import annotations

import contextlib
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from paramcli.sources.dispatch import Dispatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Shapes"]

_SMALL = 1 << 20
"""Numbers that are computed sooner than the compiler is imported."""
_META = torch.device("meta")
_ELEMENTWISE = {torch.Tag.pointwise, torch.Tag.nondeterministic_seeded}


class Shapes(Dispatch):  # type: ignore[no-untyped-call]
    """Answers operations on the meta device where it can."""

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator, for which torch has no public type
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        answer = _ANSWERS.get(func.overloadpacket)
        if answer is None and not _ELEMENTWISE.isdisjoint(func.tags):
            answer = _elementwise
        found = None
        if answer is not None and kwargs.keys().isdisjoint({"memory_format", "out"}):
            tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            device = kwargs.get("device") or (tensors[0].device if tensors else None)
            if device == _META and all(map(_is_plain, tensors)):
                with contextlib.suppress(Exception):
                    found = answer(_Call(func, args, kwargs, tensors))
        return func(*args, **kwargs) if found is None else found


class _Call(NamedTuple):
    """An operator, its arguments, and the tensors among them."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    tensors: Sequence[Tensor]

    def run(self, instead: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute on the CPU, with other tensors instead of these."""
        device = {"device": "cpu"} if "device" in self.kwargs else {}
        given = (self.args, {**self.kwargs, **device})
        args, kwargs = tree_map_only(Tensor, instead, given)
        made: Tensor = self.func(*args, **kwargs)
        return made


def _is_plain(tensor: Tensor) -> bool:
    dense = type(tensor) in {Tensor, nn.Parameter} and tensor.layout is torch.strided
    return dense and tensor.is_meta


def _in_rows(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are in row-major order, as what is made of them will be."""
    return all(tensor.is_contiguous() for tensor in tensors)


def _elementwise(call: _Call) -> Tensor | None:
    """Numbers each made of those at the same place, or in place of them drawn ones."""
    first = call.tensors[0]
    in_place = call.func.overloadpacket.__name__.endswith("_")
    if torch.Tag.nondeterministic_seeded in call.func.tags:
        return first if in_place and first.is_floating_point() else None
    dtype = call.run(_one).dtype
    shape = np.broadcast_shapes(*(each.shape for each in call.tensors))
    if in_place:
        return first if shape == first.shape else None
    if _in_rows(call.tensors):
        return _empty(shape, dtype)
    return _computed(call) if prod(shape) <= _SMALL else None


def _sized(call: _Call) -> Tensor:
    """Numbers drawn anew: the first argument is the shape."""
    return _empty(call.args[0], call.kwargs.get("dtype") or torch.get_default_dtype())


def _alike(call: _Call) -> Tensor | None:
    """Other numbers in the shape of a tensor."""
    if not _in_rows(call.tensors):
        return None
    return _empty(call.tensors[0].shape, call.kwargs.get("dtype") or call.tensors[0].dtype)


def _triangle(call: _Call) -> Tensor | None:
    """A half of a matrix, or of many."""
    return _alike(call) if call.tensors[0].dim() >= 2 else None


def _product(call: _Call) -> Tensor | None:
    """The product of matrices, or of many."""
    one, other = call.tensors
    if not _in_rows(call.tensors):
        return None
    fit = one.shape[:-2] == other.shape[:-2] and one.shape[-1] == other.shape[-2]
    shape = (*one.shape[:-1], other.shape[-1])
    return _empty(shape, one.dtype) if fit and one.dtype == other.dtype else None


def _moved(call: _Call) -> Tensor | None:
    """No more numbers than there were, moved or put together: computed, from ones."""
    return _computed(call) if sum(map(torch.numel, call.tensors)) <= _SMALL else None


def _ranged(length: Callable[..., float]) -> Callable[[_Call], Tensor | None]:
    """So many numbers as the arguments say: computed."""
    return lambda call: _computed(call) if length(*call.args) <= _SMALL else None


def _range(start: float, end: float | None = None, step: float = 1) -> float:
    return abs((start if end is None else end - start) / step)


def _computed(call: _Call) -> Tensor | None:
    """Compute on the CPU, from ones that lie as the tensors do, unless that takes much memory."""
    if max(map(_span, call.tensors), default=0) > _SMALL:
        return None
    made = call.run(_ones)
    return torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device=_META)


def _span(tensor: Tensor) -> int:
    """Elements from the first one in memory to the last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((length - 1) * step for length, step in steps) if tensor.numel() else 0


def _ones(tensor: Tensor) -> Tensor:
    """Ones that lie as the numbers of a tensor do."""
    numbers = torch.ones(_span(tensor), dtype=tensor.dtype, device="cpu")
    return numbers.as_strided(tensor.shape, tensor.stride())


def _one(tensor: Tensor) -> Tensor:
    """One number in as many dimensions, which gives the same type."""
    return torch.ones([1] * tensor.dim(), dtype=tensor.dtype, device="cpu")


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=_META)


_aten = torch.ops.aten
_LIKE = (
    _aten.zeros_like, _aten.ones_like, _aten.full_like, _aten.empty_like, _aten.rand_like,
    _aten.randn_like,
)  # fmt: skip
_MOVED = (
    _aten.cat, _aten.stack, _aten.roll, _aten.flip, _aten.cumsum, _aten.cumprod, _aten.sum,
    _aten.mean, _aten.amax,
)  # fmt: skip
_ANSWERS: dict[object, Callable[[_Call], Tensor | None]] = {
    **dict.fromkeys((_aten.rand, _aten.randn), _sized),
    **dict.fromkeys(_LIKE, _alike),
    **dict.fromkeys((_aten.tril, _aten.triu), _triangle),
    **dict.fromkeys((_aten.mm, _aten.bmm), _product),
    **dict.fromkeys(_MOVED, _moved),
    _aten.arange: _ranged(_range),
    _aten.linspace: _ranged(lambda _start, _end, steps: steps),
    _aten.eye: _ranged(lambda rows, columns=None: rows * (columns or rows)),
}
