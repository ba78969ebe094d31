"""What the tests of draws share: filling by either library, and the numbers behind the codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from paramcli.numeric.codes import CODED, values
from paramcli.schemes.arrays import TorchArrays
from paramcli.schemes.draws import Filler, Normal, TruncatedNormal, Uniform
from paramcli.schemes.stream import Key, key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paramcli.schemes.draws import Draw

KEY = key(0, "weight")
DRAWS: list[Draw] = [
    Uniform(),
    Uniform(-0.05, 0.05),
    Normal(),
    Normal(1.0, 0.02),
    TruncatedNormal(),
    TruncatedNormal(0.5, 0.02, -3.0, 3.0),
    TruncatedNormal(low=4.0, high=5.0),
    TruncatedNormal(low=-9.0, high=-8.0),
    TruncatedNormal(low=-float("inf"), high=1.0),
]
_MEMORY = {
    "float64": np.float64,
    "float32": np.float32,
    "bfloat16": np.uint16,
    "float16": np.uint16,
}
_FILLER = Filler()
_TWIN = Filler(TorchArrays())


def filled(draw: Draw, dtype: str, start: int, count: int, of: Key = KEY) -> NDArray[Any]:
    """Elements by NumPy, narrow ones as codes."""
    out = np.empty(count, _MEMORY.get(dtype, np.uint8))
    _FILLER.fill(draw, dtype, of, start, out)
    return out


def filled_by_torch(draw: Draw, dtype: str, start: int, count: int) -> torch.Tensor:
    """Elements by torch on the CPU."""
    out = torch.empty(count, dtype=getattr(torch, dtype))
    _TWIN.fill(draw, dtype, KEY, start, out)
    return out


def raw(array: NDArray[Any] | torch.Tensor) -> bytes:
    """Bytes of an array or a tensor."""
    if isinstance(array, torch.Tensor):
        return array.view(torch.uint8).numpy().tobytes()
    return array.tobytes()


def numbers(draw: Draw, dtype: str, start: int, count: int, of: Key = KEY) -> NDArray[np.float64]:
    """Elements as float64."""
    found = filled(draw, dtype, start, count, of)
    return values(dtype)[found] if dtype in CODED else found.astype(np.float64)
