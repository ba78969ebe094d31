"""A model class of the user's own opened as a checkpoint, built without memory where it can be."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint
from paramcli.errors import ParamcliError, SourceError, UsageError
from paramcli.sources import user_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from paramcli.sources import Request

__all__ = ["built_module", "looks_like_module", "open_buffers", "open_built", "open_module"]

_SEEDED = "built on the CPU, its constructor drawing from seed {}"
_LOW = (1 << 64) - 1  # all that torch takes of a seed; its CPU generator uses half of that
_ON_THE_CPU = "built on the CPU: its constructor does not run on the meta device"


def looks_like_module(target: str) -> bool:
    """Say whether a target is written as `pkg.mod:Net` or `file.py:Net`, without importing it."""
    left, right = user_code.split(target)
    if ":" not in target or "://" in target or "/" in right or "\\" in right:
        return False
    return left.endswith(".py") or all(map(str.isidentifier, left.split(".")))


def open_module(request: Request) -> Checkpoint:
    """Open a model class, a factory or an instance. This runs the user's code.

    Raises UserCodeError where that code fails, SourceError where it is not there or makes no
    module, and UsageError where the arguments do not fit.
    """
    return open_built(request)


def open_built(
    request: Request, then: Callable[[nn.Module], tuple[str, ...]] | None = None
) -> Checkpoint:
    """Open a model class, after `then` has had its way with the module and told notes of it."""
    target = request.target
    place = user_code.locate(target)
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ParamcliError(
            f"{target}: opening a model class needs PyTorch ({error})", hint="pip install torch"
        ) from error
    from paramcli.sources.module_tree import survey

    with user_code.visit(place):
        module, built = _build(request, user_code.load(place))
        if then is not None:
            built += then(module)
        entries, notes, unpack, owners, held = survey(module, values=request.values)
    return Checkpoint(
        origin=target,
        format="module",
        entries=entries,
        notes=built + notes,
        held=held,
        unpack=unpack,
        modules=owners,
    )


def open_buffers(request: Request) -> Checkpoint:
    """Open the persistent buffers of a model class, with the values its constructor gives them.

    The model is built on the CPU, but its parameters are not drawn and their pages not touched.
    Where a buffer depends on random numbers all are drawn, from seed 0, and a note says so.
    """
    from paramcli.sources.module_buffers import buffers_of, buffers_undrawn

    target, notes = request.target, tuple[str, ...]()
    place = user_code.locate(target)
    with user_code.visit(place):
        found = user_code.load(place)
        buffers = None
        if inspect.isclass(found) or inspect.isroutine(found):
            # An error here may come of numbers that were not drawn; its own will be raised below.
            with contextlib.suppress(Exception, SystemExit):
                buffers = buffers_undrawn(lambda: _made(target, found, request.arguments))
        if buffers is None:
            module, notes = _build(request._replace(values=True), found)
            buffers = buffers_of(module)
    return Checkpoint(
        origin=target,
        format="module",
        entries=buffers.entries,
        notes=notes,
        unpack=buffers.unpack,
        modules=buffers.owners,
    )


@contextlib.contextmanager
def built_module(request: Request) -> Iterator[nn.Module]:
    """Build the module of a request with its values, for as long as the user's code may run.

    Raises what `open_module` does.
    """
    place = user_code.locate(request.target)
    with user_code.visit(place):
        yield _build(request._replace(values=True), user_code.load(place))[0]


def _build(request: Request, found: object) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module that a class, factory or instance stands for, and notes on how."""
    import torch
    from torch import nn

    from paramcli.sources.meta import on_meta

    target, arguments = request.target, request.arguments
    if isinstance(found, nn.Module):
        if arguments:
            raise UsageError(
                f"{target} is a module already built, so it takes no arguments",
                hint="name its class to build another one",
            )
        return found, ()
    if (inspect.isclass(found) and not issubclass(found, nn.Module)) or not callable(found):
        raise _no_module(target, "is", found)
    _check(target, found, arguments)
    if request.values:
        torch.manual_seed(request.seed & _LOW)
        with user_code.blame(f"{target}: building it"):
            return _made(target, found, arguments), (_SEEDED.format(request.seed),)
    # An error here may be the meta device's doing; the user's own will be raised again below.
    with contextlib.suppress(Exception, SystemExit), on_meta():
        return _made(target, found, arguments), ()
    with user_code.blame(f"{target}: building it"):
        return _made(target, found, arguments), (_ON_THE_CPU,)


def _made(target: str, make: Callable[..., object], arguments: Mapping[str, object]) -> nn.Module:
    from torch import nn

    made = make(**arguments)
    if not isinstance(made, nn.Module):
        raise _no_module(target, "returned", made)
    return made


def _no_module(target: str, verb: str, value: object) -> SourceError:
    kind = f"the class {value.__name__}" if inspect.isclass(value) else type(value).__name__
    return SourceError(
        f"{target} {verb} {kind}, not a torch.nn.Module",
        hint="name a subclass or an instance of torch.nn.Module, or a function that returns one",
    )


def _check(target: str, make: Callable[..., object], arguments: Mapping[str, object]) -> None:
    """Compare the arguments with the signature, before anything runs for want of one."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # made in C: the call itself will tell
        return
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    accepted = {item.name: item.default for item in parameters if item.kind in by_name}
    unexpected = [name for name in arguments if name not in accepted]
    if unexpected and all(item.kind is not item.VAR_KEYWORD for item in parameters):
        raise UsageError(
            f"{target} does not take the argument {', '.join(unexpected)}",
            hint=f"it takes {', '.join(accepted) or 'no arguments'}",
        )
    missing = [
        name
        for name, default in accepted.items()
        if default is inspect.Parameter.empty and name not in arguments
    ]
    if missing:
        raise UsageError(
            f"{target} needs the argument {', '.join(missing)}",
            hint=f"give it as {' '.join(f'--arg {name}=…' for name in missing)}",
        )
