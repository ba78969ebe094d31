"""The torch room: the same questions as the NumPy room's, answered on a device of torch's.

Written for CUDA, and the same on any device, so that the CPU can hold it against NumPy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from paramcli import ranks
from paramcli.errors import ParamcliError
from paramcli.numeric.codes import CODED
from paramcli.numeric.cpu import Found, Refined, Sparse, codes_of, numbers_of, sparse
from paramcli.numeric.moments import NOTHING, Moments, scale, times_two_to
from paramcli.numeric.quantiles import BINS, binning
from paramcli.numeric.widen import parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from paramcli.numeric.blocks import Block
    from paramcli.numeric.cpu import Counts, Numbers
    from paramcli.numeric.quantiles import Search

__all__ = ["TorchRoom", "device_of", "open_device"]


def open_device(name: str) -> TorchRoom:
    """Return the room of a device ("cuda"). Raises ParamcliError where there is none."""
    return TorchRoom(device_of(name))


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

    def measure(self, block: Block, *, tops: bool) -> Found:
        """Measure a block of a wide real type."""
        numbers = np.concatenate([numbers_of(raw, block) for raw in _whole(block)])
        moments = self._moments(numbers)
        return Found(moments, self._counts(self._begins(numbers, 16), 1 << 16) if tops else None)

    def measure_complex(self, block: Block) -> tuple[Moments, Moments]:
        """Measure real and imaginary parts of a block of a complex type."""
        parts = self._put(np.concatenate([parts_of(raw, block) for raw in _whole(block)]))
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

    def refine(self, work: tuple[Sequence[Block], Search]) -> Refined:
        """Count the halfwords that follow one of some prefixes, and fill a histogram."""
        import torch

        blocks, search = work
        prefixes = torch.tensor(search.prefixes, device=self._device)
        counts = torch.zeros(len(prefixes) << 16, dtype=torch.int64, device=self._device)
        known = (1 << search.known) - 1
        bins = None
        for block in blocks:
            numbers = np.concatenate([numbers_of(raw, block) for raw in _whole(block)])
            longer = self._begins(numbers, search.known + 16)
            for index, prefix in enumerate(prefixes):
                found = longer[longer >> 16 & known == prefix] & 0xFFFF
                counts[index << 16 : index + 1 << 16] += torch.bincount(found, minlength=1 << 16)
            if search.bins:
                tallied = self._tally(numbers, *search.bins)
                bins = tallied if bins is None else bins + tallied
        return Refined(sparse(counts.cpu().numpy()), bins)

    def _moments(self, numbers: Numbers) -> Moments:
        """Moments of an array."""
        import torch

        if numbers.dtype.kind == "u":  # torch computes little with wide unsigned integers
            low, high = int(numbers.min()), int(numbers.max())
            found = self._of_finite(self._put(numbers.astype(np.float64)))
            return found._replace(min=low, max=high)
        every = self._put(numbers)
        if not every.is_floating_point():
            return self._of_finite(every)
        counts = [int((every == value).sum()) for value in (math.inf, -math.inf)]
        nan = int(every.isnan().sum())
        finite = every[torch.isfinite(every)] if nan or any(counts) else every
        found = self._of_finite(finite)
        return found._replace(nan=nan, positive_inf=counts[0], negative_inf=counts[1])

    def _begins(self, numbers: Numbers, known: int) -> torch.Tensor:
        """The upper bits of the finite elements, as int64 without a sign below 64 of them."""
        width = numbers.dtype.itemsize * 8
        native = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("="))
        bits = self._put(native.view(f"i{width // 8}")).long() >> (width - known)
        if known < 64:
            bits &= (1 << known) - 1
        return bits[self._put(native).isfinite()] if numbers.dtype.kind == "f" else bits

    def _of_finite(self, numbers: torch.Tensor) -> Moments:
        if not numbers.numel():
            return NOTHING
        low, high = numbers.min().item(), numbers.max().item()
        power = scale(low, high)
        double = times_two_to(numbers.double(), -power) if power else numbers.double()
        mean = double.mean()
        spread = math.sqrt(float((double - mean).square().sum()))
        zero = numbers == 0
        negative = int((zero & numbers.signbit()).sum()) if numbers.is_floating_point() else 0
        return Moments(
            numbers.numel(), times_two_to(float(mean), power), times_two_to(spread, power),
            low, high, int(zero.sum()), negative,
        )  # fmt: skip

    def _tally(self, numbers: Numbers, low: float, high: float) -> Counts:
        """Count the finite ones in equal bins, by the same steps as `quantiles.tally`."""
        import torch

        places = self._put(numbers.astype(np.float64))
        places, start, width = binning(places[places.isfinite()], low, high)
        bins = ((places - start) * width).clamp(0, BINS - 1).long()
        return torch.bincount(bins, minlength=BINS).cpu().numpy()

    def _counts(self, codes: torch.Tensor, size: int) -> Sparse:
        import torch

        return sparse(torch.bincount(codes, minlength=size).cpu().numpy())

    def _put(self, numbers: NDArray[np.generic]) -> torch.Tensor:
        import torch

        native = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(native).to(self._device)


def _whole(block: Block) -> list[NDArray[np.uint8]]:
    """All chunks of a block at once: a device wants large pieces."""
    from paramcli.numeric.blocks import chunks

    return [raw.copy() for raw in chunks(block)]
