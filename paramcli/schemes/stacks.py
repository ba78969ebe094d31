"""Which layer of a stack a tensor belongs to, and whether it ends a residual branch: by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from paramcli.schemes.subject import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["blocks"]

_STAGED = frozenset({"blocks", "layers", "resblocks"})
"""Containers of layers that stand inside numbered stages: Swin's layers.0.blocks.1."""

_LAST = re.compile(
    r"(?:^|\.)(?:c_proj|o_proj|out_proj|proj_out|down_proj|proj|wo|w2|o|out|fc2|fc_out|linear2|lin2"
    r"|out_lin|dense_4h_to_h|to_out(?:\.0)?|(?:output|attention|attn|self_attention)\.dense"
    r"|(?P<list>(?:mlp|net|ff|ffn))\.(?P<place>[1-9]))$"
)
"""Modules that write to the residual stream, as GPT-2, Llama, BERT, ViT, Whisper, T5 name them."""

_BRANCH = re.compile(r"(?P<kind>conv|bn|norm)(?P<place>[1-9])$")
_DIGITS = re.compile(r"\d+")
_MATRIX = 2


class _Place(NamedTuple):
    """A layer of a stack: the stack's name, numbers left out, and these numbers."""

    stack: str
    numbers: tuple[int, ...]


def blocks(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Block]:
    """Find the layer that each tensor belongs to, for those in a numbered stack of them.

    Layers are counted in the order of their numbers, over stages too: a ResNet's layer1.0 to
    layer4.1 are eight. What has no modules inside, as members of a Sequential, is no layer.
    """
    places: dict[str, _Place] = {}
    inside: dict[_Place, dict[str, tuple[int, ...]]] = {}
    for name in shapes:
        end = _end_of_layer(name.split("."))
        if end:
            prefix, rest = ".".join(name.split(".")[:end]), name.split(".", end)[end]
            numbers = tuple(int(digits[:9]) for digits in _DIGITS.findall(prefix))
            places[name] = place = _Place(_DIGITS.sub("#", prefix), numbers)
            inside.setdefault(place, {})[rest] = shapes[name]
    stacks: dict[str, list[tuple[int, ...]]] = {}
    for place in sorted(inside):
        stacks.setdefault(place.stack, []).append(place.numbers)
    orders = {
        stack: {numbers: index for index, numbers in enumerate(all_numbers)}
        for stack, all_numbers in stacks.items()
    }
    last = {place: frozenset(_last(tensors)) for place, tensors in inside.items()}
    branches = {
        place: len({_DIGITS.sub("#", rest) for rest in names}) for place, names in last.items()
    }
    return {
        name: Block(
            index=orders[place.stack][place.numbers],
            count=len(orders[place.stack]),
            residual=_rest(name, place) in last[place],
            branches=branches[place],
        )
        for name, place in places.items()
    }


def _rest(name: str, place: _Place) -> str:
    end = place.stack.count(".") + 1
    return name.split(".", end)[end]


def _end_of_layer(parts: list[str]) -> int:
    """How many parts of a name lead to its layer; 0 if it is in none."""
    numbered = [at for at, part in enumerate(parts) if at and part.isdecimal()]
    if not numbered:
        return 0
    end = numbered[0]
    for at in numbered[1:]:
        if parts[at - 1] in _STAGED or (at == end + 1 and parts[end - 1] in _STAGED):
            end = at
    return end + 1 if len(parts) > end + _MATRIX else 0


def _last(tensors: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield the weights of one layer that end its branches."""
    convolutional: dict[str, dict[int, str]] = {}
    listed: dict[str, tuple[int, str]] = {}
    for name, shape in tensors.items():
        module, _, leaf = name.rpartition(".")
        branch = _BRANCH.fullmatch(module)
        found = _LAST.search(module)
        if leaf != "weight":
            if leaf == "out_proj_weight" and len(shape) == _MATRIX:
                yield name
        elif branch:
            convolutional.setdefault(branch["kind"], {})[int(branch["place"])] = name
        elif found and found["list"] and len(shape) >= _MATRIX:
            container, place = module.rpartition(".")[0], int(found["place"])
            listed[container] = max(listed.get(container, (0, "")), (place, name))
        elif found and len(shape) >= _MATRIX:
            yield name
    yield from (name for _, name in listed.values())
    kernels = convolutional.get("conv", {})
    norms = convolutional.get("bn", {}) or convolutional.get("norm", {})
    if len(kernels) > 1:
        most = max(kernels)
        yield norms.get(most, kernels[most])
