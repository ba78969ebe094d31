"""The torch room: the same questions as the NumPy room's, answered on a device of torch's.

Written for CUDA, and the same on any device, so that the CPU can hold it against NumPy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from paramcli.errors import ParamcliError
from paramcli.numeric.codes import CODED, COMPLEX
from paramcli.numeric.cpu import Found, Sparse, codes_of, numbers_of, sparse
from paramcli.numeric.moments import NOTHING, Moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from paramcli.numeric.blocks import Block

__all__ = ["TorchRoom", "open_device"]


def open_device(name: str) -> TorchRoom:
    """Return the room of a device ("cuda"). Raises ParamcliError where there is none."""
    try:
        import torch
    except ImportError as error:
        raise ParamcliError(f"--device {name} needs PyTorch", hint="pip install torch") from error
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ParamcliError(
            f"--device {name}: no CUDA device is available here",
            hint="leave it out to compute on the CPU",
        )
    return TorchRoom(torch.device(name))


class TorchRoom:
    """Measures whole blocks on one device; see `cpu` for what each question means."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def count_codes(self, block: Block) -> Sparse:
        """Count the codes of a narrow type."""
        bits = CODED[block.dtype]
        codes = np.concatenate([
            codes_of(raw, bits, block).ravel().astype(np.int32) for raw in _whole(block)
        ])  # fmt: skip
        return self._counts(self._put(codes), 1 << bits)

    def measure(self, block: Block, *, prefixes: bool) -> Found:
        """Measure a block of a wide real type."""
        numbers = np.concatenate([numbers_of(raw, block) for raw in _whole(block)])
        moments, finite = self._moments(numbers)
        if not prefixes:
            return Found(moments, None)
        return Found(moments, self._counts(self._prefixes(finite), 1 << 16))

    def measure_complex(self, block: Block) -> tuple[Moments, Moments]:
        """Measure real and imaginary parts of a block of a complex type."""
        part = {"f2": "f2", "c8": "f4", "c16": "f8"}[COMPLEX[block.dtype]]
        order = ">" if block.swapped else "<"
        flat = np.concatenate([raw.view(f"{order}{part}") for raw in _whole(block)])
        parts = self._put(flat.astype(np.float64).reshape(-1, 2))
        nan = parts.isnan().any(dim=1)
        inf = parts.isinf().any(dim=1) & ~nan
        finite = parts[~(nan | inf)]
        zeros = int((finite == 0).all(dim=1).sum())
        real, imaginary = (
            self._of_finite(finite[:, axis])._replace(zeros=0, negative_zeros=0)
            for axis in range(2)
        )
        return real._replace(
            zeros=zeros, nan=int(nan.sum()), positive_inf=int(inf.sum())
        ), imaginary

    def refine(self, work: tuple[Sequence[Block], Sequence[int]]) -> Sparse:
        """Count the lower halves of the float32 numbers that have one of some prefixes."""
        import torch

        blocks, wanted = work
        number = torch.zeros(1 << 16, dtype=torch.int64, device=self._device)
        number[torch.tensor(wanted, device=self._device)] = torch.arange(
            1, len(wanted) + 1, device=self._device
        )
        counts = torch.zeros(len(wanted) << 16, dtype=torch.int64, device=self._device)
        for block in blocks:
            numbers = np.concatenate([numbers_of(raw, block) for raw in _whole(block)])
            bits = self._bits(self._moments(numbers)[1])
            which = number[bits >> 16 & 0xFFFF]
            hit = which > 0
            at = (which[hit] - 1 << 16) + (bits[hit] & 0xFFFF)
            counts += torch.bincount(at, minlength=len(counts))
        return sparse(counts.cpu().numpy())

    def _moments(
        self, numbers: np.ndarray[tuple[int], np.dtype[np.generic]]
    ) -> tuple[Moments, torch.Tensor]:
        """Moments of an array, and its finite elements on the device."""
        import torch

        if numbers.dtype.kind == "u":  # torch computes little with wide unsigned integers
            low, high = int(numbers.min()), int(numbers.max())
            finite = self._put(numbers.astype(np.float64))
            return self._of_finite(finite)._replace(min=low, max=high), finite
        every = self._put(numbers.astype(numbers.dtype.newbyteorder("=")))
        if not every.is_floating_point():
            return self._of_finite(every), every
        counts = [int((every == value).sum()) for value in (math.inf, -math.inf)]
        nan = int(every.isnan().sum())
        finite = every[torch.isfinite(every)] if nan or any(counts) else every
        found = self._of_finite(finite)
        return found._replace(nan=nan, positive_inf=counts[0], negative_inf=counts[1]), finite

    def _of_finite(self, numbers: torch.Tensor) -> Moments:
        if not numbers.numel():
            return NOTHING
        double = numbers.double()
        mean = double.mean()
        zero = numbers == 0
        negative = int((zero & numbers.signbit()).sum()) if numbers.is_floating_point() else 0
        return Moments(
            numbers.numel(), float(mean), float((double - mean).square().sum()),
            numbers.min().item(), numbers.max().item(), int(zero.sum()), negative,
        )  # fmt: skip

    def _bits(self, finite: torch.Tensor) -> torch.Tensor:
        import torch

        largest = torch.finfo(torch.float32).max
        single = finite.clamp(-largest, largest) if finite.dtype is torch.float64 else finite
        return single.float().contiguous().view(torch.int32).long()

    def _prefixes(self, finite: torch.Tensor) -> torch.Tensor:
        return self._bits(finite) >> 16 & 0xFFFF

    def _counts(self, codes: torch.Tensor, size: int) -> Sparse:
        import torch

        return sparse(torch.bincount(codes, minlength=size).cpu().numpy())

    def _put(self, numbers: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor:
        import torch

        return torch.from_numpy(numbers).to(self._device)


def _whole(block: Block) -> list[np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    """All chunks of a block at once: a device wants large pieces."""
    from paramcli.numeric.blocks import chunks

    return [raw.copy() for raw in chunks(block)]
