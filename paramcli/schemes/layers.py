"""Schemes that go by the layer: PyTorch's own defaults, the tutorial's, LSTM gates, branches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.schemes.draws import Normal, Uniform
from paramcli.schemes.law import Constant, constant, drawn, join, number
from paramcli.schemes.variance import fans

if TYPE_CHECKING:
    from paramcli.schemes.law import Fill, Law
    from paramcli.schemes.subject import Subject

__all__ = ["lstm_forget", "torch", "tutorial", "zero_residual"]

_FIXED = {
    "norm_weight": 1.0, "norm_bias": 0.0, "running_mean": 0.0, "running_var": 1.0, "counter": 0.0,
    "scale": 1.0,
}  # fmt: skip
_LSTM = 4
_KERNEL = 3


def torch(subject: Subject) -> Law:
    """What the layer's `reset_parameters` draws in PyTorch.

    Linear and convolutions U(±1/√fan_in), the fan of a transposed one being that of its shape,
    biases too; RNNs U(±1/√hidden); Bilinear U(±1/√in1); Embedding N(0, 1) with a padding row of
    zeros; MultiheadAttention xavier_uniform over q, k, v as one; norms 1 and 0; PReLU 0.25.
    """
    fixed = _FIXED.get(subject.role)
    if subject.module == "PReLU":
        fixed = 0.25
    if fixed is not None:
        return constant(subject, fixed)
    if subject.role == "embedding" or (subject.role == "position" and subject.leaf == "weight"):
        return drawn(subject, Normal(0.0, 1.0))
    if subject.role == "bias":
        return _torch_bias(subject)
    if subject.role != "weight":
        raise UsageError(
            f"{subject.name}: no layer of PyTorch draws it (role {subject.role})",
            hint=f"give it a rule of its own, such as --rule '{subject.name}=zeros'",
        )
    if subject.leaf.endswith("_proj_weight"):
        return _bounded(subject, 6 / (subject.shape[0] + subject.shape[1]))
    return _bounded(subject, 1 / max(1, _default_fan(subject)))


def tutorial(subject: Subject) -> Law:
    """Convolutions N(0, 2/(k·out)), with k the kernel's size, Linear N(0, 0.02²), norms 1, rest 0.

    The `weight_init` that tutorials hand to `net.apply`: kaiming_normal of mode fan_out, and the
    habit of DCGAN (Radford, Metz, Chintala 2016, arXiv:1511.06434).
    """
    if subject.role == "bias":
        return constant(subject, 0.0)
    if subject.role != "weight":
        return torch(subject)
    if len(subject.shape) < _KERNEL:
        return drawn(subject, Normal(0.0, 0.02))
    out = subject.shape[1] * subject.groups if subject.transposed else subject.shape[0]
    fan = math.prod(subject.shape[2:]) * out
    return drawn(subject, Normal(0.0, math.sqrt(2 / max(fan, 1))))


def lstm_forget(subject: Subject, value: float = 1.0) -> Law:
    """Biases of an LSTM: `value` at the forget gate, 0 elsewhere, so that it remembers at first.

    Jozefowicz, Zaremba, Sutskever 2015. torch adds two biases: the second one is left at 0, and so
    are those of other RNNs.
    """
    if subject.role != "bias" or not subject.leaf.startswith(("bias_ih", "bias_hh")):
        raise UsageError(
            f"{subject.name} is no bias of an LSTM", hint="name them: 'lstm.bias*=lstm_forget'"
        )
    if "_hh" in subject.leaf or len(subject.parts) != _LSTM:
        return constant(subject, 0.0)
    hidden = subject.parts[0]
    zeros = Constant(0.0)
    runs: list[tuple[int, Fill]] = [
        (hidden, zeros), (hidden, Constant(value)), (2 * hidden, zeros)
    ]  # fmt: skip
    return join(subject, runs, f"lstm_forget({number(value)})")


def zero_residual(subject: Subject) -> Law:
    """0 for the last layer or norm of a residual branch; all else as torch draws it.

    So each block starts as the identity: Goyal et al. 2017, arXiv:1706.02677 (the last γ of a
    ResNet's block), and the last projections of transformers.
    """
    if subject.block is not None and subject.block.residual:
        return constant(subject, 0.0)
    return torch(subject)


def _torch_bias(subject: Subject) -> Law:
    if subject.leaf in ("bias_k", "bias_v") and subject.shape[:2] == (1, 1):
        return drawn(subject, Normal(0.0, math.sqrt(1 / subject.shape[2])))
    if not subject.fan_in:
        return constant(subject, 0.0)
    return _bounded(subject, 1 / subject.fan_in)


def _default_fan(subject: Subject) -> int:
    """The number under the root: the shape's fan_in, but for RNNs and Bilinear."""
    if subject.leaf.startswith("weight_hr"):
        return subject.shape[1]
    if subject.parts:
        return subject.parts[0]
    if "Bilinear" in subject.classes:
        return subject.shape[1]
    fan_in, fan_out = fans(subject)
    return fan_out if subject.transposed else fan_in


def _bounded(subject: Subject, square: float) -> Law:
    bound = math.sqrt(square)
    return drawn(subject, Uniform(-bound, bound))
