"""What breaks ties afterwards: each operation is done to a twin, and the groups looked at again."""

from __future__ import annotations

import copy
import os
import textwrap
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import torch

from paramcli.verbs.tie.probe.twin import named, twin
from paramcli.verbs.tie.report import Survival

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

__all__ = ["survive"]

_LONGEST = 100
"""Characters of an error that are shown."""


class _After(NamedTuple):
    """The tensors after an operation, and what else is to be said of it, or of some groups."""

    tensors: Mapping[str, Tensor]
    text: str = ""
    of_groups: Mapping[tuple[str, ...], str] = {}


def survive(module: nn.Module, groups: Sequence[tuple[str, ...]]) -> list[tuple[Survival, ...]]:
    """Say of each group of names what outlives each operation. `module` itself is left as it is."""
    operations: dict[str, Callable[[nn.Module, Sequence[tuple[str, ...]]], _After]] = {
        "to(dtype)": _to,
        "to_empty()": _to_empty,
        "deepcopy": _deepcopy,
        "load_state_dict": _load,
        "load_state_dict(assign=True)": _assign,
        "load_state_dict, conflicting": _conflict,
        "torch.save": _torch_save,
        "safetensors save_file": _save_file,
        "safetensors save_model": _save_model,
    }
    before = [_strength(named(module), names) for names in groups]
    found: list[list[Survival]] = [[] for _ in groups]
    for operation, act in operations.items():
        try:
            after = act(twin(module), groups)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is the finding
            reason = textwrap.shorten(
                f"{type(error).__name__}: {error}", _LONGEST, placeholder=" …"
            )
            text = reason.removesuffix(":")
            for one in found:
                one.append(Survival(operation, "failed", text))
            continue
        for one, names, was in zip(found, groups, before, strict=True):
            now = _strength(after.tensors, names)
            outcome = "kept" if now >= was else "weakened" if now else "lost"
            text = after.of_groups.get(names, after.text)
            one.append(Survival(operation, outcome, text))  # type: ignore[arg-type]
    return [tuple(one) for one in found]


def _strength(tensors: Mapping[str, Tensor], names: Sequence[str]) -> int:
    """2 for one object, 1 for one storage, 0 for nothing in common."""
    members = [tensors[name] for name in names if name in tensors]
    if len(members) < len(names):
        return 0
    if all(one is members[0] for one in members):
        return 2
    pointers = {one.untyped_storage().data_ptr() for one in members}
    return int(len(pointers) == 1 and 0 not in pointers)


def _to(module: nn.Module, _: object) -> _After:
    module.to(torch.bfloat16)
    return _After(named(module))


def _to_empty(module: nn.Module, _: object) -> _After:
    module.to_empty(device="cpu")
    return _After(named(module), "values are gone, as ever")


def _deepcopy(module: nn.Module, _: object) -> _After:
    return _After(named(copy.deepcopy(module)))


def _load(module: nn.Module, _: object) -> _After:
    module.load_state_dict(twin(module).state_dict())
    return _After(named(module))


def _assign(module: nn.Module, _: object) -> _After:
    module.load_state_dict(twin(module).state_dict(), assign=True)
    return _After(named(module))


def _conflict(module: nn.Module, groups: Sequence[tuple[str, ...]]) -> _After:
    """Load a state dict in which each name of a group has values of its own."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    listed = list(state)
    marked = {name: place for names in groups for place, name in enumerate(names, 1)}
    for name, place in marked.items():
        if name in state:
            state[name].fill_(place % 2 if state[name].dtype is torch.bool else place)
    module.load_state_dict(state)
    now = named(module)
    last = {names: max((n for n in names if n in state), key=listed.index) for names in groups}
    said = {
        names: "the last name wins, and nothing is said"
        for names, name in last.items()
        if all(torch.equal(now[other], state[name]) for other in names if other in state)
    }
    return _After(now, of_groups=said)


def _torch_save(module: nn.Module, _: object) -> _After:
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "state.pt")
        torch.save(module.state_dict(), path)
        return _After(_same_objects(torch.load(path, weights_only=True), module), "in the file")


def _same_objects(loaded: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Take what is one view in a file for one tensor, as a module that loads it has it."""
    views: dict[object, Tensor] = {}
    ours = named(module)
    result = {}
    for name, tensor in loaded.items():
        key = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), id(ours.get(name))
        result[name] = views.setdefault(key, tensor)
    return result


def _save_file(module: nn.Module, _: object) -> _After:
    from safetensors.torch import load_file, save_file

    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "state.safetensors")
        save_file(module.state_dict(), path)
        return _After(load_file(path))


def _save_model(module: nn.Module, _: object) -> _After:
    from safetensors.torch import load_model, save_model

    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        save_model(module, path)
        fresh = twin(module)
        load_model(fresh, path)
        return _After(named(fresh))
