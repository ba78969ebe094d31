"""One side of a comparison: a checkpoint, and those of its tensors that are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo

    Named = dict[str, TensorInfo]

__all__ = ["Side"]


class Side(NamedTuple):
    """Tensors by name, and which of these names share bytes, where that is asked for."""

    checkpoint: Checkpoint
    named: Named
    groups: tuple[Group, ...] = ()
