"""`net.apply(fn)` with a function of the user's own, and an account of what it touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError, UsageError
from paramcli.sources import user_code
from paramcli.sources.module import looks_like_module, open_built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request

__all__ = ["Applied", "open_applied"]


class Applied(NamedTuple):
    """A model after the function: `touched` gives the modules that wrote a tensor, by its name.

    A tied tensor has more than one where each of its owners was visited: the last one's values
    stand.
    """

    checkpoint: Checkpoint
    touched: dict[str, tuple[str, ...]]


def open_applied(request: Request, function: str, seed_of: Callable[[str], int]) -> Applied:
    """Build a model with values, then call `function`, written `pkg.mod:fn`, on each module.

    Before each call torch's generator is seeded with `seed_of(name of the module)`, so that what a
    module gets does not depend on the others. torch's CPU generator uses the low 32 bits of it.
    Raises UserCodeError where the function fails, and UsageError where it is none.
    """
    if not looks_like_module(function):
        raise UsageError(f"--apply {function} names no function", hint="write pkg.mod:fn")
    touched: dict[str, tuple[str, ...]] = {}

    def apply(module: nn.Module) -> tuple[str, ...]:
        place = user_code.locate(function)
        with user_code.visit(place):
            call = user_code.load(place)
            if not callable(call):
                raise SourceError(f"{function} is {type(call).__name__}, not a function")
            _apply(module, _Visits(call, function, seed_of, touched))
        return ()

    checkpoint = open_built(request, apply)
    return Applied(checkpoint, touched)


class _Visits(NamedTuple):
    """What is called on the modules, and where it is noted."""

    call: Callable[[nn.Module], object]
    name: str
    seed_of: Callable[[str], int]
    touched: dict[str, tuple[str, ...]]


def _apply(net: nn.Module, visits: _Visits) -> None:
    import torch

    paths = {id(module): path for path, module in net.named_modules()}
    names: dict[int, list[str]] = {}
    for name, tensor in _tensors(net):
        names.setdefault(id(tensor), []).append(name)

    def visit(module: nn.Module) -> None:
        path = paths.get(id(module), "")
        versions = [(tensor, tensor._version) for _, tensor in _tensors(module)]  # noqa: SLF001
        # What is written by way of `.data` keeps its version: the module's own are compared.
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        before = [(tensor, tensor.detach().clone()) for tensor in own]
        torch.manual_seed(visits.seed_of(path))
        with user_code.blame(f"{visits.name}: applied to {path or 'the model'}"):
            visits.call(module)
        written = {id(one): one for one, version in versions if one._version != version}  # noqa: SLF001
        written.update({id(one): one for one, content in before if not _same(one, content)})
        for name in (name for one in written for name in names.get(one, ())):
            visits.touched[name] = (*visits.touched.get(name, ()), path)

    with user_code.blame(f"{visits.name}: applying it"):
        net.apply(visit)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by every name."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same; NaN is not itself, which says no more than `touched`."""
    return one.shape == other.shape and bool((one.detach() == other).all())
