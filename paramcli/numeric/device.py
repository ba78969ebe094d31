"""A device of torch's: what is read of files goes there as it is, and becomes numbers there.

Reading takes longer than all else, so several threads read, each into memory of its own that the
device can copy from, and ask for what is computed; the device does all that one after another.
"""

from __future__ import annotations

import threading
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from paramcli import ranks
from paramcli.errors import ParamcliError
from paramcli.numeric.blocks import chunks
from paramcli.numeric.codes import values
from paramcli.tensors import DTYPES
from paramcli.workers import available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from paramcli.numeric.blocks import Block, Raw

__all__ = ["Device", "device_of", "host_memory", "readers", "together", "told"]

P = ParamSpec("P")
Result = TypeVar("Result")

_AT_ONCE = 1 << 22
"""Elements that are computed with together: as float64, 32 MiB."""
_READERS = 4
"""Threads that read, at most: on an H100 six are no faster, and eight slower."""


def device_of(name: str) -> torch.device:
    """Return torch's device of this name, of several the one of this rank.

    Under torchrun all ranks must ask together. Raises ParamcliError where there is none.
    """
    try:
        import torch
    except ImportError as error:
        raise ParamcliError(f"--device {name} needs PyTorch", hint="pip install torch") from error
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ParamcliError(
            f"--device {name}: no CUDA device is available here",
            hint="leave it out to compute on the CPU",
        )
    if name == "cuda" and ranks.size() > 1:
        return torch.device(name, ranks.own_device())
    return torch.device(name)


def told(question: Callable[P, Result]) -> Callable[P, Result]:
    """Have a question to a device say in our words that its memory is full."""

    @wraps(question)
    def asked(*args: P.args, **kwargs: P.kwargs) -> Result:
        import torch

        try:
            return question(*args, **kwargs)
        except torch.OutOfMemoryError as error:
            raise ParamcliError(
                "--device cuda: its memory is full",
                hint="something else uses it; leave --device out to compute on the CPU",
            ) from error

    return asked


def together(*answers: torch.Tensor) -> list[float]:
    """Wait once for several answers."""
    import torch

    found: list[float] = torch.stack([answer.double() for answer in answers]).tolist()
    return found


def host_memory(size: int, device: torch.device) -> torch.Tensor:
    """Make room for bytes beside a device, which it can copy from and to by itself."""
    import torch

    return torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")


def readers() -> int:
    """How many threads should read for a device."""
    return min(available(), _READERS)


class Device:
    """Where torch computes, for all threads."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._rooms = _Rooms()
        self._tables: dict[str, torch.Tensor] = {}

    def pieces(self, *blocks: Block) -> Iterator[list[torch.Tensor]]:
        """Yield the bytes of blocks of as many elements side by side, some elements at a time."""
        sizes = [DTYPES[block.dtype].nbytes(_AT_ONCE) for block in blocks]
        rooms = [
            self._rooms.room(place, min(size, block.nbytes), self.device)
            for place, (size, block) in enumerate(zip(sizes, blocks, strict=True))
        ]
        for raws in zip(*map(chunks, blocks, sizes, rooms), strict=True):
            yield [self.put(raw) for raw in raws]

    def put(self, raw: Raw) -> torch.Tensor:
        """Copy bytes to the device; they are there when this returns."""
        import torch

        if not raw.flags.writeable:  # of which torch warns
            raw = raw.copy()
        found = torch.empty(len(raw), dtype=torch.uint8, device=self.device)
        return found.copy_(torch.from_numpy(raw))

    def table(self, dtype: str) -> torch.Tensor:
        """The number that each code of a counted type stands for."""
        import torch

        if dtype not in self._tables:
            self._tables[dtype] = torch.from_numpy(np.array(values(dtype))).to(self.device)
        return self._tables[dtype]


class _Rooms(threading.local):
    """What each thread reads into, one for each side, used again and again."""

    def __init__(self) -> None:
        self._rooms: dict[int, memoryview] = {}

    def room(self, place: int, size: int, device: torch.device) -> memoryview:
        if len(self._rooms.get(place, b"")) < size:
            self._rooms[place] = host_memory(size, device).numpy().data
        return self._rooms[place][:size]
