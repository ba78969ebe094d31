"""What a scheme is told of a tensor: its shape, and what it does in its module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from paramcli.tensors import DType, Kind

__all__ = ["ROLES", "Block", "Role", "Subject"]

Role = Literal[
    "weight", "bias", "embedding", "position", "norm_weight", "norm_bias", "running_mean",
    "running_var", "counter", "scale", "buffer", "unknown",
]  # fmt: skip
"""What a tensor is for. "scale" is a scalar or vector that multiplies (LayerScale, a temperature),
"counter" num_batches_tracked, "buffer" what its own constructor fills."""

ROLES: tuple[Role, ...] = (
    "weight", "bias", "embedding", "position", "norm_weight", "norm_bias", "running_mean",
    "running_var", "counter", "scale", "buffer", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Where a tensor stands in a stack of layers: layer `index` of `count` (from 0).

    `residual` says that its output is added to the residual stream (an attention's or an MLP's
    last projection, the last norm of a convolutional branch), `branches` how many such additions
    one layer makes.
    """

    index: int
    count: int
    residual: bool
    branches: int


class Subject(NamedTuple):
    """One tensor to be initialized. Ties are resolved: `name` is the first of its group.

    `fan_in` and `fan_out` are None where the tensor has none; a bias has the `fan_in` by which
    torch bounds it. `parts` are the lengths along dimension 0 of what is stacked in it (q, k, v;
    gates of an LSTM), () for one piece; fans are those of a part. `module` is the class's name in
    `torch.nn` where the module is known, "" where names and shapes alone tell, and `classes` are
    all that it is or derives from; `padding` is the row of an embedding that stays zero. `base` is
    the shape of the same tensor in the narrow model that muP is tuned on, where one was named.
    `why` says in a few words what the role and the fans were inferred from.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    kind: Kind
    role: Role
    module: str
    fan_in: int | None
    fan_out: int | None
    parts: tuple[int, ...]
    groups: int
    transposed: bool
    padding: int | None
    block: Block | None
    why: str
    classes: tuple[str, ...] = ()
    base: tuple[int, ...] | None = None

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def leaf(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]
