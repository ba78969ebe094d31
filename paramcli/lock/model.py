"""A lock as data: the tensors that it expects, the sizes that it gives, and its rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramcli.lock.dims import Dims

__all__ = ["Line", "Lock", "Rules", "Size", "Tied"]


class Line(NamedTuple):
    """One tensor expected: `dtype` is torch's name for it, `number` the line of the file, from 1.

    A run of numbers stands for several of these with the same number.
    """

    name: str
    dtype: str
    dims: Dims
    number: int


class Size(NamedTuple):
    """What a name of a dim stands for; `by` is the tensor that says so, or `[dims]`."""

    value: int
    by: str
    line: int


class Tied(NamedTuple):
    """Names that share their bytes."""

    names: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for a checkpoint as a whole; None and empty where nothing is asked.

    `count_max` and `bytes_max` bound unique elements and bytes, what is shared counted once;
    `dtype` are the allowed ones; `finite` wants no NaN and no infinity. `lines` says on which
    line a rule stands.
    """

    extra: Literal["forbid", "allow"] = "forbid"
    count_max: int | None = None
    bytes_max: int | None = None
    dtype: tuple[str, ...] = ()
    finite: bool = False
    tied: tuple[Tied, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file, read. `dims` are the sizes that it gives; names in `lines` are unique."""

    path: str
    dims: Mapping[str, Size]
    lines: tuple[Line, ...]
    rules: Rules
