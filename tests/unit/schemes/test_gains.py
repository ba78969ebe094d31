"""Gains: torch's table as it stands, and what it lacks derived by quadrature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - as everywhere
from torch.nn import init

from paramcli.errors import UsageError
from paramcli.schemes.gains import GAINS, gain

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[[torch.Tensor], torch.Tensor]

TABLE = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "sigmoid", "tanh", "relu", "selu",
)  # fmt: skip
DERIVED: dict[str, Function] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "relu2": lambda x: F.relu(x) ** 2,
}


@pytest.mark.parametrize("name", TABLE)
def test_torchs_own(name: str) -> None:
    assert gain(name) == init.calculate_gain(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.2, 10.0, -1.0])
def test_leaky_relu(slope: float) -> None:
    assert gain("leaky_relu", slope) == init.calculate_gain("leaky_relu", slope)
    assert gain("leaky_relu") == init.calculate_gain("leaky_relu")


@pytest.mark.parametrize("name", DERIVED)
def test_the_rest_keep_the_second_moment(name: str) -> None:
    z = torch.linspace(-40, 40, 2_000_001, dtype=torch.float64)
    weight = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (80 / 2_000_000)
    second = float((DERIVED[name](z) ** 2 * weight).sum())
    assert gain(name) == pytest.approx(1 / math.sqrt(second), rel=1e-9)


def test_every_gain_is_checked() -> None:
    assert set(GAINS) == {*TABLE, *DERIVED, "identity"}


def test_other_names_and_unknown_ones() -> None:
    assert gain("swish") == gain("SiLU") == gain("silu")
    with pytest.raises(UsageError, match="no nonlinearity") as caught:
        gain("gelo")
    assert caught.value.hint == "did you mean gelu?"
