"""`--probe`: the two claims of sharing shown on a model that runs, and what breaks them later.

What is written through one name is read through the others; and the gradient of what is shared is
the sum of those that the same model, untied, gives its copies. Only this room of the verb needs
torch. It runs the user's code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from paramcli.sharing import share
from paramcli.sources.module import built_module
from paramcli.sources.user_code import blame
from paramcli.verbs.tie.overlap import form_of
from paramcli.verbs.tie.probe.run import inputs, pull
from paramcli.verbs.tie.probe.survival import survive
from paramcli.verbs.tie.probe.twin import named, twin, untied
from paramcli.verbs.tie.report import Probed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.tie.inputs import Input
    from paramcli.verbs.tie.report import Tie

__all__ = ["probe"]

_BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-3}
"""How far a sum may be off, by its largest element: additions are done in another order."""


def probe(
    request: Request,
    checkpoint: Checkpoint,
    groups: Sequence[Tie],
    given: Sequence[Input],
) -> tuple[Probed, ...]:
    """Probe the groups of a model class, opened as this checkpoint, on these inputs.

    Float64 where the model runs in it, else its own element types. Raises UserCodeError where the
    model does not run on these inputs, or cannot be copied.
    """
    by_name = {info.name: info for info in checkpoint}
    with built_module(request) as module:
        with blame(f"{request.target}: copying it"):
            twin(module)
        gradients = _gradients(request, module, given)
        with torch.no_grad():
            visible = [
                _visible(twin(module), [by_name[name] for name in group.names]) for group in groups
            ]
        survival = survive(module, [group.names for group in groups])
    found = []
    for group, seen, later in zip(groups, visible, survival, strict=True):
        added = gradients.of(group)
        found.append(
            Probed(
                group.id, group.names, seen, added.holds, added.error, added.scale,
                gradients.precision, added.text, later,
            )
        )  # fmt: skip
    return tuple(found)


class _Sum(NamedTuple):
    """Whether a shared gradient is the sum of the separate ones, and by how much it is not."""

    holds: bool | None
    error: float | None = None
    scale: float | None = None
    text: str = ""


class _Gradients(NamedTuple):
    """The tensors of a model that shares, and of the one that does not, after a backward pass."""

    shared: dict[str, Tensor]
    separate: dict[str, Tensor]
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def of(self, group: Tie) -> _Sum:
        """Compare the gradients of one group."""
        names = [name for name in group.names if name in self.shared]
        learning = [name for name in names if self.shared[name].requires_grad]
        if not learning:
            return _Sum(None, text="no gradient: a buffer, or frozen")
        if len(learning) == 1:
            return _Sum(None, text=f"{learning[0]} alone has a gradient")
        objects = {id(self.shared[name]) for name in names}
        parts = [self.separate[name].grad for name in names]
        if all(part is None for part in parts):
            return _Sum(None, text="no gradient reached it")
        uses = sum(part is not None for part in parts)
        text = f"{uses} of {len(names)} names take part"
        if group.form != "same":
            return _Sum(
                holds=False, text=f"{len(objects)} tensors, each with a gradient of its own"
            )
        total = torch.zeros_like(self.separate[names[0]])
        for part in parts:
            total += part if part is not None else 0
        mine = self.shared[names[0]].grad
        error = float((total - mine if mine is not None else total).abs().max())
        scale = float(total.abs().max())
        if not scale:
            return _Sum(None, error, scale, "the gradient is zero, which shows nothing")
        holds = error <= _BOUNDS.get(self.dtype, 1e-2) * max(scale, 1.0)
        if len(objects) > 1:
            text = f"{len(objects)} Parameters on one storage, each with a gradient of its own"
        return _Sum(holds, error, scale, text)


def _gradients(request: Request, module: nn.Module, given: Sequence[Input]) -> _Gradients:
    """Run the model that shares and its untied copy, in float64 if that can be."""
    for dtype in (torch.float64, None):
        shared = twin(module, dtype)
        try:
            pull(shared, inputs(given, dtype))
        except (Exception, SystemExit):
            if dtype is not None:  # something in it insists on its own element type
                continue
            with blame(f"{request.target}: running it"):
                raise
        apart = untied(twin(module, dtype))
        with blame(f"{request.target}: running it untied"):
            pull(apart, inputs(given, dtype))
        ours = named(shared)
        used = dtype or next(
            (one.dtype for one in ours.values() if one.is_floating_point()), torch.float32
        )
        return _Gradients(ours, named(apart), used)
    raise AssertionError("the last of the two either returns or raises")


def _visible(module: nn.Module, members: Sequence[TensorInfo]) -> bool | None:
    """Write through each name in turn, and look whether all changed that share its bytes."""
    found = named(module)
    tried = False
    for writer in members:
        readers = [
            info.name
            for info in members
            if info is not writer and share([writer, info])
            and form_of([writer, info]) != "interleaved"
        ]  # fmt: skip
        before = {name: found[name].clone() for name in readers}
        try:
            _write(found[writer.name])
        except RuntimeError:  # one number stands in it several times
            return None
        if any(torch.equal(found[name], before[name]) for name in readers):
            return False
        tried |= bool(readers)
    return tried or None


def _write(tensor: Tensor) -> None:
    """Change every element, whatever it is now."""
    if tensor.dtype is torch.bool:
        tensor.logical_not_()
    elif tensor.is_floating_point() or tensor.is_complex():
        largest = float(tensor.to(torch.complex128).abs().max())
        tensor.fill_(2 * largest + 1 if math.isfinite(largest) else 1.0)
    else:
        tensor.add_(1)
