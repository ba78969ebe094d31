"""The torch room: the same questions as the NumPy room's, answered on a device of torch's.

Written for CUDA, and the same on any device, so that the CPU can hold it against NumPy. To wait
for an answer costs as much as computing with a million numbers, so few are waited for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.numeric.codes import CODED, WIDE
from paramcli.numeric.cpu import Found, Refined, Sparse, sparse
from paramcli.numeric.device import Device, device_of, together, told
from paramcli.numeric.device_numbers import bits_of, codes_of, in_order, numbers_of
from paramcli.numeric.moments import NOTHING, Moments, merge, scale, times_two_to
from paramcli.numeric.quantiles import BINS, binning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from paramcli.numeric.blocks import Block
    from paramcli.numeric.quantiles import Search

__all__ = ["TorchRoom", "open_device"]

_HALFWORDS = 1 << 16


def open_device(name: str) -> TorchRoom:
    """Return the room of a device ("cuda"). Raises ParamcliError where there is none."""
    return TorchRoom(device_of(name))


class TorchRoom:
    """Measures blocks on one device, for several threads; see `cpu` for what questions mean."""

    threads = True

    def __init__(self, device: torch.device) -> None:
        self._device = Device(device)

    @told
    def count_codes(self, block: Block) -> Sparse:
        """Count the codes of a narrow type."""
        counts = self._zeros(1 << CODED[block.dtype])
        for bits in self._bits(block):
            counts += codes_of(bits, block.dtype).bincount(minlength=len(counts))
        return sparse(counts.cpu().numpy())

    @told
    def measure(self, block: Block, *, tops: bool) -> Found:
        """Measure a block of a wide real type, or of bfloat16."""
        total, counts = NOTHING, self._zeros(_HALFWORDS) if tops else None
        for bits in self._bits(block):
            numbers = numbers_of(bits, block.dtype, self._device)
            total = merge(total, self._moments(numbers, bits, block.dtype))
            if counts is not None:
                tallied = _begins(bits, numbers, block.dtype, 16)
                counts += tallied.bincount(minlength=_HALFWORDS)
        return Found(total, None if counts is None else sparse(counts.cpu().numpy()))

    @told
    def measure_complex(self, block: Block) -> tuple[Moments, Moments]:
        """Measure real and imaginary parts of a block of a complex type."""
        real = imaginary = NOTHING
        for bits in self._bits(block):
            parts = numbers_of(bits, block.dtype, self._device).view(-1, 2)
            nan = parts.isnan().any(dim=1)
            inf = parts.isinf().any(dim=1) & ~nan
            finite = parts[~(nan | inf)]
            zeros = (finite == 0).all(dim=1)
            first, second = (
                _of_finite(column, *_ends(column))._replace(zeros=0, negative_zeros=0)
                if len(finite) else NOTHING
                for column in finite.T
            )  # fmt: skip
            real = merge(real, first._replace(
                zeros=int(zeros.sum()), nan=int(nan.sum()), positive_inf=int(inf.sum())
            ))  # fmt: skip
            imaginary = merge(imaginary, second)
        return real, imaginary

    @told
    def refine(self, work: tuple[Sequence[Block], Search]) -> Refined:
        """Count the halfwords that follow one of some prefixes, and fill a histogram."""
        import torch

        blocks, search = work
        prefixes, order = torch.tensor(search.prefixes, device=self._device.device).sort()
        counts = self._zeros(len(prefixes) * _HALFWORDS)
        bins = self._zeros(BINS) if search.bins else None
        known = (1 << search.known) - 1
        for block in blocks:
            for bits in self._bits(block):
                numbers = numbers_of(bits, block.dtype, self._device)
                longer = _begins(bits, numbers, block.dtype, search.known + 16)
                begins = longer >> 16 & known
                place = torch.searchsorted(prefixes, begins).clamp_(max=len(prefixes) - 1)
                follows = order[place] << 16 | longer & 0xFFFF
                counts += follows[prefixes[place] == begins].bincount(minlength=len(counts))
                if bins is not None and search.bins:
                    bins += _tally(numbers, *search.bins)
        return Refined(sparse(counts.cpu().numpy()), None if bins is None else bins.cpu().numpy())

    def _bits(self, block: Block) -> Iterator[torch.Tensor]:
        for (raw,) in self._device.pieces(block):
            yield bits_of(raw, block)

    def _zeros(self, count: int) -> torch.Tensor:
        import torch

        return torch.zeros(count, dtype=torch.int64, device=self._device.device)

    def _moments(self, numbers: torch.Tensor, bits: torch.Tensor, dtype: str) -> Moments:
        """Moments of elements given as numbers and by their bits."""
        if dtype in WIDE and "int" in dtype:
            ordered, taken = in_order(bits, dtype)
            low, high = (int(end) + taken for end in ordered.aminmax())
            return _of_finite(numbers, low, high)
        odd = [numbers.isnan(), numbers == math.inf, numbers == -math.inf]
        nan, positive, negative, least, most = together(
            *(mask.sum() for mask in odd), *numbers.aminmax()
        )
        if nan or positive or negative:
            numbers = numbers[numbers.isfinite()]
            least, most = _ends(numbers) if len(numbers) else (0.0, 0.0)
        found = _of_finite(numbers, least, most) if len(numbers) else NOTHING
        return found._replace(nan=int(nan), positive_inf=int(positive), negative_inf=int(negative))


def _ends(numbers: torch.Tensor) -> tuple[float, float]:
    low, high = together(*numbers.aminmax())
    return low, high


def _of_finite(numbers: torch.Tensor, low: float, high: float) -> Moments:
    """Moments of finite numbers between two of them."""
    power = scale(low, high)
    scaled = times_two_to(numbers, -power) if power else numbers
    mean = scaled.mean()
    zero = numbers == 0
    average, squares, zeros, negative = together(
        mean, (scaled - mean).square().sum(), zero.sum(), (zero & numbers.signbit()).sum()
    )
    return Moments(
        len(numbers), times_two_to(average, power), times_two_to(math.sqrt(squares), power),
        low, high, int(zeros), int(negative),
    )  # fmt: skip


def _begins(bits: torch.Tensor, numbers: torch.Tensor, dtype: str, known: int) -> torch.Tensor:
    """The upper bits of the finite elements, as int64 without a sign below 64 of them."""
    begins = bits.long() >> (bits.element_size() * 8 - known)
    if known < 64:
        begins &= (1 << known) - 1
    return begins if "int" in dtype else begins[numbers.isfinite()]


def _tally(numbers: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Count the finite ones in equal bins, by the same steps as `quantiles.tally`."""
    places, start, width = binning(numbers[numbers.isfinite()], low, high)
    bins = ((places - start) * width).clamp(0, BINS - 1).long()
    return bins.bincount(minlength=BINS)
