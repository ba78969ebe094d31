"""Facts about the module that owns a tensor, where a target has modules: a shape tells few."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Held", "Owner"]


class Owner(NamedTuple):
    """The module that a tensor belongs to.

    `path` is its dotted name, "" for the model itself; `type` the name of its own class;
    `classes` those in `torch.nn` that it is or derives from, nearest first, `Module` left out.
    `groups` and `transposed` say how a convolution reads its weight, `padding` which row of an
    embedding stays zero.
    """

    path: str
    type: str
    classes: tuple[str, ...] = ()
    groups: int = 1
    transposed: bool = False
    padding: int | None = None


class Held(NamedTuple):
    """Which object of a built module a name stands for, and the module that holds it.

    `tensor` numbers the objects; `module` is the first path of the holder, `cls` its class. Two
    names with one path there are one module met twice.
    """

    tensor: int
    module: str
    cls: str
