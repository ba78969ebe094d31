"""Schemes for deep residual stacks: transformers above all, whose depth L their std depends on."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.schemes.draws import Normal, TruncatedNormal
from paramcli.schemes.law import constant, drawn, join, number
from paramcli.schemes.layers import torch
from paramcli.schemes.variance import fans, kaiming_normal, xavier_normal, xavier_uniform

if TYPE_CHECKING:
    from paramcli.schemes.law import Fill, Law
    from paramcli.schemes.subject import Block, Subject

__all__ = [
    "deepnorm", "depth_scaled", "fixup", "mitchell", "mup", "scaled_normal", "small_init",
    "t_fixup", "vit", "wang_init",
]  # fmt: skip

_QUERY_KEY = re.compile(r"(?:^|[._])(?:q|k|query|key|wq|wk)(?:_proj|_lin)?(?:_weight|\.weight)$")
_VALUE = re.compile(r"(?:^|[._])(?:v|value|wv)(?:_proj|_lin)?(?:_weight|\.weight)$")
_FEED_FORWARD = re.compile(r"mlp|ffn|feed_forward|fc|linear\d|dense|(?:^|\.)w\d\.|ff\.")
_QKV = 3


def scaled_normal(subject: Subject, std: float = 0.02) -> Law:
    """N(0, std²), and std/√(b·L) for the last layer of each residual branch.

    GPT-2 (Radford et al. 2019): of L layers with b branches each, 2 as a rule, so that the sum of
    all has the variance of one.
    """
    block = _residual(subject)
    if block is None:
        return drawn(subject, Normal(0.0, std))
    root = block.branches * block.count
    words = f"normal(std={number(std / math.sqrt(root))}: {number(std)}/√{root})"
    return drawn(subject, Normal(0.0, std / math.sqrt(root)), words)


def depth_scaled(subject: Subject, std: float = 0.02) -> Law:
    """N(0, std²), and std/√(2(l+1)) for the last layers of branches in layer l, counted from 0.

    Zhang, Titov, Sennrich 2019, arXiv:1908.11365, as OLMo and torchtitan have it.
    """
    block = _residual(subject)
    if block is None:
        return drawn(subject, Normal(0.0, std))
    root = 2 * (block.index + 1)
    words = f"normal(std={number(std / math.sqrt(root))}: {number(std)}/√{root})"
    return drawn(subject, Normal(0.0, std / math.sqrt(root)), words)


def mitchell(subject: Subject) -> Law:
    """N(0, 1/fan_in), its std divided by √(2(l+1)) for the last layers of branches; cut at 3σ.

    OLMo (Groeneveld et al. 2024, arXiv:2402.00838). Embeddings: 1/√d.
    """
    block = _residual(subject)
    divisor = fans(subject)[0] * (1 if block is None else 2 * (block.index + 1))
    return drawn(subject, TruncatedNormal(0.0, 1 / math.sqrt(max(divisor, 1)), -3.0, 3.0))


def small_init(subject: Subject) -> Law:
    """N(0, 2/(5d)) in a model of width d. Nguyen, Salazar 2019, arXiv:1910.05895; GPT-NeoX."""
    return drawn(subject, Normal(0.0, math.sqrt(2 / (5 * max(1, _width(subject))))))


def wang_init(subject: Subject) -> Law:
    """N(0, (2/(L√d))²) in a model of L layers of width d; for the last layers of branches.

    Wang, Komatsuzaki 2021 (GPT-J's mesh-transformer-jax); GPT-NeoX. Goes with small_init.
    """
    block = _in_stack("wang_init", subject)
    return drawn(subject, Normal(0.0, 2 / (block.count * math.sqrt(max(1, _width(subject))))))


def deepnorm(subject: Subject, beta: float | None = None) -> Law:
    """xavier_normal, with gain β = (8L)^(-1/4) for values, outputs and MLPs of L layers.

    Wang et al. 2022, arXiv:2203.00555, for an encoder or a decoder alone; the model must multiply
    its residual stream by α = (2L)^(1/4). Queries and keys have gain 1.
    """
    if subject.block is None or _QUERY_KEY.search(subject.name):
        return xavier_normal(subject)
    beta = (8 * subject.block.count) ** -0.25 if beta is None else beta
    if len(subject.parts) != _QKV:
        return xavier_normal(subject, beta)
    whole, valued = xavier_normal(subject), xavier_normal(subject, beta)
    row = subject.numel // subject.shape[0]
    runs: list[tuple[int, Fill]] = [
        (rows * row, law.pieces[0].fill)
        for rows, law in zip(subject.parts, (whole, whole, valued), strict=True)
        if law.pieces
    ]
    return join(subject, runs, f"q, k: {whole.words}; v: {valued.words}")


def t_fixup(subject: Subject, stack: str = "decoder") -> Law:
    """xavier_uniform, with values, attention outputs and MLPs scaled down by depth; no warm-up.

    Huang et al. 2020, "Improving transformer optimization through better initialization": by
    (9L)^(-1/4) in a decoder, by 0.67·L^(-1/4) in an encoder of L layers; embeddings N(0, 1/d)
    likewise. For models without layer norms.
    """
    scales = {"decoder": 9**-0.25, "encoder": 0.67}
    if stack not in scales:
        raise UsageError(f"t_fixup: no stack is called {stack!r}", hint="decoder or encoder")
    if subject.role in ("embedding", "position"):
        return drawn(subject, Normal(0.0, 1 / math.sqrt(max(1, fans(subject)[0]))))
    block = subject.block
    scaled = block is not None and (
        block.residual or _VALUE.search(subject.name) or _FEED_FORWARD.search(subject.name)
    )
    if block is None or not scaled or _QUERY_KEY.search(subject.name):
        return xavier_uniform(subject)
    return xavier_uniform(subject, scales[stack] * block.count**-0.25)


def fixup(subject: Subject, m: int = 2) -> Law:
    """kaiming_normal scaled by B^(-1/(2m-2)), and 0 for the last layer of each branch.

    Zhang, Dauphin, Ma 2019, arXiv:1901.09321, for B branches of `m` layers without norms. The
    classifier is to be zero too: a rule of its own.
    """
    if subject.block is None:
        return kaiming_normal(subject)
    if subject.block.residual:
        return constant(subject, 0.0)
    if m < 2:
        raise UsageError(f"fixup: a branch of m={m} layers has none before the last")
    branches = subject.block.count * max(1, subject.block.branches)
    law = kaiming_normal(subject)
    if not law.pieces or law.std is None:
        return law
    return drawn(subject, Normal(0.0, law.std * branches ** (-1 / (2 * m - 2))))


def mup(subject: Subject, std: float = 0.02) -> Law:
    """N(0, std²) at the width that was tuned, carried over to this one by muP.

    Yang et al. 2022, arXiv:2203.03466, table 3: with r = fan_in / fan_in of the base model, std/√r
    for what is wide on both sides, std/r for outputs, and std for inputs, whose fan_in is fixed.
    """
    if subject.base is None or len(subject.base) != len(subject.shape):
        raise UsageError(
            f"mup: {subject.name} has no counterpart of a base width",
            hint="--base TARGET names the model that was tuned",
        )
    if subject.role in ("embedding", "position") or len(subject.shape) < 2:
        return drawn(subject, Normal(0.0, std))
    inputs = tuple(range(1, len(subject.shape)))
    outputs: tuple[int, ...] = (0,)
    if subject.transposed:
        inputs, outputs = (0, *inputs[1:]), (1,)
    ratio = math.prod(subject.shape[dim] for dim in inputs) / math.prod(
        max(1, subject.base[dim]) for dim in inputs
    )
    wide = any(subject.shape[dim] != subject.base[dim] for dim in outputs)
    return drawn(subject, Normal(0.0, std / (math.sqrt(ratio) if wide else ratio)))


def vit(subject: Subject) -> Law:
    """Matrices N(0, 0.02²) as timm draws them, whose bounds ±2 cut nothing; kernels as torch.

    Dosovitskiy et al. 2021, arXiv:2010.11929; `timm.models.vision_transformer`.
    """
    if subject.role == "weight" and len(subject.shape) > 2:
        return torch(subject)
    return drawn(subject, Normal(0.0, 0.02))


def _residual(subject: Subject) -> Block | None:
    """The block of what ends a residual branch."""
    return subject.block if subject.block is not None and subject.block.residual else None


def _in_stack(scheme: str, subject: Subject) -> Block:
    if subject.block is None:
        raise UsageError(
            f"{subject.name}: {scheme} is for layers of a stack, and this is in none",
            hint="small_init is for what stands outside",
        )
    return subject.block


def _width(subject: Subject) -> int:
    """Width of the residual stream: what a branch's last layer writes to, others read from."""
    fan_in, fan_out = fans(subject)
    return fan_in if _residual(subject) is None else fan_out
