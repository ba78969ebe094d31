"""Every scheme in every type: mean and std as it says, nothing alike nearby or in other tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paramcli.schemes.draws import DTYPES
from tests.unit.schemes.made import law, sample, subject
from tests.unit.schemes.test_fill import BLOCK, EXAMPLES

WIDE = subject(150, 120, name="h.1.in_proj_weight", block=BLOCK, base=(75, 60))
FREE = WIDE._replace(block=None, parts=())
RANDOM = [
    name for name in EXAMPLES
    if name not in (
        "constant", "zeros", "ones", "eye", "dirac", "lstm_forget", "fixup", "zero_residual",
        "padding", "icnr",
    )
]  # fmt: skip
ROUNDING = {
    "float8_e4m3fn": 0.02,
    "float8_e4m3fnuz": 0.02,
    "float8_e5m2": 0.07,
    "float8_e5m2fnuz": 0.07,
}
"""How far rounding moves a std; two bits leave a bounded draw what lies inside the bounds."""
SEEDS = range(3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RANDOM)
def test_moments_and_correlations(name: str, dtype: str) -> None:
    text, of = EXAMPLES[name]
    if len(of.shape) == 2:
        of = FREE if "elsewhere" in name else WIDE
    of = of._replace(dtype=of.dtype._replace(name=dtype))
    expected = law(text, of)
    assert expected.mean is not None
    assert expected.std is not None
    tensors = [sample(text, of, seed).ravel() for seed in SEEDS]
    other = sample(text, of._replace(name="other.weight"), 0).ravel()
    values = np.concatenate(tensors)
    error = expected.std / math.sqrt(values.size)
    rounding = ROUNDING.get(dtype, 1e-3)
    assert abs(values.mean() - expected.mean) < 5 * error + rounding * abs(expected.mean)
    assert values.std() == pytest.approx(
        expected.std, rel=4 * math.sqrt(1 / values.size) + rounding
    )
    if "delta" in name:
        return
    bound = 5 / math.sqrt(other.size)
    assert abs(np.corrcoef(tensors[0], tensors[1])[0, 1]) < bound, "seeds"
    assert abs(np.corrcoef(tensors[0], other)[0, 1]) < bound, "names"
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < bound, "neighbours"
