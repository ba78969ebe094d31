"""Drawing on a device, for a writer that asks for little at a time.

To ask a device for a number takes as long as to ask it for a million. So more of a tensor is drawn
than is asked for, and brought back in one go: what an element gets depends on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paramcli.numeric.device import host_memory, told
from paramcli.schemes.arrays import TorchArrays
from paramcli.schemes.draws import Filler
from paramcli.schemes.fill import fill
from paramcli.schemes.stream import key

if TYPE_CHECKING:
    import torch

    from paramcli.verbs.initialize.plan import Planned

__all__ = ["OnDevice"]

_AHEAD = 1 << 24
"""Elements that are drawn at once, where a tensor has as many left."""


class OnDevice:
    """Draws stretches of tensors, for one thread."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        self._seed = seed
        self._filler = Filler(TorchArrays(device))
        self._name = ""
        self._start = 0
        self._drawn = memoryview(b"")
        self._room: torch.Tensor | None = None

    @told
    def fill(self, one: Planned, start: int, buffer: memoryview, made: dict[Any, Any]) -> None:
        """Fill `buffer` with whole elements of a tensor from `start` on."""
        width = one.info.dtype.bits // 8
        begin = (start - self._start) * width
        ahead = self._name == one.info.name and 0 <= begin <= len(self._drawn) - len(buffer)
        if not ahead:
            count = max(len(buffer) // width, min(_AHEAD, one.info.numel - start))
            self._drawn, begin = self._draw(one, start, count, made), 0
            self._name, self._start = one.info.name, start
        buffer[:] = self._drawn[begin : begin + len(buffer)]

    def _draw(self, one: Planned, start: int, count: int, made: dict[Any, Any]) -> memoryview:
        import torch

        assert one.law is not None
        name = one.info.dtype.name
        drawn = torch.empty(count, dtype=getattr(torch, name), device=self._device)
        where = key(self._seed, one.info.name)
        fill(one.law, name, where, start, drawn, filler=self._filler, made=made)
        if self._room is None or len(self._room) < drawn.nbytes:
            self._room = host_memory(drawn.nbytes, self._device)
        found = self._room[: drawn.nbytes].copy_(drawn.view(torch.uint8))
        return found.numpy().data
