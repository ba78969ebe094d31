"""Gains: by how much a nonlinearity shrinks what passes through it, and a weight makes up for."""

from __future__ import annotations

import math
from difflib import get_close_matches

from paramcli.errors import UsageError

__all__ = ["GAINS", "gain"]

GAINS = {
    **dict.fromkeys(("linear", "identity", "conv1d", "conv2d", "conv3d"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid"), 1.0),
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
    "gelu": 1.5335304412245632,
    "silu": 1.676532470362826,
    "mish": 1.4868475813013524,
    "elu": 1.2451983007242768,
    "hardswish": 1.736657212798254,
    "relu2": math.sqrt(2 / 3),
}
"""Up to selu the table of `torch.nn.init.calculate_gain`; below it 1/√E[f(z)²] of a standard
normal z, which keeps the second moment, as √2 does for relu (He et al. 2015, arXiv:1502.01852)."""

_ALIASES = {
    "swish": "silu", "relu²": "relu2", "relu_squared": "relu2", "squared_relu": "relu2",
    "hard_swish": "hardswish",
}  # fmt: skip


def gain(nonlinearity: str, a: float = 0.01) -> float:
    """Return the gain of a nonlinearity; `a` is the negative slope of leaky_relu.

    Raises UsageError for one that is not known.
    """
    name = nonlinearity.lower()
    name = _ALIASES.get(name, name)
    if name == "leaky_relu":
        return math.sqrt(2 / (1 + a * a))
    if name not in GAINS:
        known = [*GAINS, "leaky_relu", *_ALIASES]
        near = get_close_matches(name, known, 1)
        raise UsageError(
            f"no nonlinearity is called {nonlinearity!r}",
            hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}",
        )
    return GAINS[name]
