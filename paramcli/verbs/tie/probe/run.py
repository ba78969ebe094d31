"""A model run forward and backward on numbers that depend on nothing but the seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from paramcli.verbs.tie.inputs import Input

__all__ = ["inputs", "outputs", "pull"]


def inputs(specs: Sequence[Input], dtype: torch.dtype | None) -> list[Tensor]:
    """Make the inputs; those of floating point are `dtype` where that is given."""
    random = torch.Generator().manual_seed(0)
    made = []
    for spec in specs:
        own = getattr(torch, spec.dtype.name)
        if spec.bound is not None:
            made.append(torch.randint(spec.bound, spec.shape, generator=random).to(own))
        elif own is torch.bool:
            made.append(torch.rand(spec.shape, generator=random) < 0.5)  # noqa: PLR2004
        else:
            normal = torch.randn(spec.shape, generator=random, dtype=torch.float64)
            made.append(normal.to(dtype or own))
    return made


def outputs(found: object) -> Iterator[Tensor]:
    """Yield the tensors of floating point in what a model returns, however they are nested."""
    if isinstance(found, Tensor):
        if found.is_floating_point() or found.is_complex():
            yield found
    elif isinstance(found, Mapping):
        for value in found.values():
            yield from outputs(value)
    elif isinstance(found, (list, tuple)):
        for value in found:
            yield from outputs(value)
    elif dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            yield from outputs(getattr(found, field.name))


def pull(module: nn.Module, given: Sequence[Tensor]) -> None:
    """Run a model in evaluation mode and send a random gradient back from all its outputs.

    Both models of a comparison draw the same numbers, in the module and for that gradient.
    """
    module.eval()
    module.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    loss: Tensor | None = None
    for output in outputs(module(*given)):
        if output.requires_grad:
            weights = torch.randn(output.shape, generator=random, dtype=torch.float64)
            part = (output * weights.to(output.dtype)).sum()
            part = part.real if part.is_complex() else part
            loss = part if loss is None else loss + part
    if loss is None:
        raise ValueError("no output depends on a parameter, so there is no gradient")
    torch.autograd.backward(loss)
