"""Schemes whose std depends on depth and width, against the formulas of their papers."""

from __future__ import annotations

import math

import pytest

from paramcli.errors import UsageError
from paramcli.schemes.subject import Block
from tests.unit.schemes.made import law, sample, subject

INNER = subject(96, 32, name="h.2.attn.qkv.weight", block=Block(2, 6, residual=False, branches=2))
LAST = subject(32, 128, name="h.2.mlp.proj.weight", block=Block(2, 6, residual=True, branches=2))
HEAD = subject(100, 32, name="head.weight")


@pytest.mark.parametrize(
    ("text", "inner", "last", "head"),
    [
        ("gpt2", 0.02, 0.02 / math.sqrt(12), 0.02),
        ("scaled_normal(std=0.1)", 0.1, 0.1 / math.sqrt(12), 0.1),
        ("depth_scaled", 0.02, 0.02 / math.sqrt(6), 0.02),
        ("small_init", math.sqrt(2 / 160), math.sqrt(2 / 160), math.sqrt(2 / 160)),
        ("wang_init", 2 / (6 * math.sqrt(32)), 2 / (6 * math.sqrt(32)), None),
        ("vit", 0.02, 0.02, 0.02),
        ("fixup", math.sqrt(2 / 32) * 12**-0.5, 0, math.sqrt(2 / 32)),
        ("fixup(m=3)", math.sqrt(2 / 32) * 12**-0.25, 0, math.sqrt(2 / 32)),
        ("deepnorm", math.sqrt(2 / 128) * 48**-0.25, math.sqrt(2 / 160) * 48**-0.25,
         math.sqrt(2 / 132)),
        ("t_fixup", math.sqrt(2 / 128), math.sqrt(2 / 160) * 54**-0.25, math.sqrt(2 / 132)),
        ("t_fixup(stack=encoder)", math.sqrt(2 / 128), math.sqrt(2 / 160) * 0.67 * 6**-0.25,
         math.sqrt(2 / 132)),
        ("zero_residual", 1 / math.sqrt(96), 0, 1 / math.sqrt(96)),
    ],
)  # fmt: skip
def test_std(text: str, inner: float, last: float, head: float | None) -> None:
    assert law(text, INNER).std == pytest.approx(inner, rel=1e-12)
    assert law(text, LAST).std == pytest.approx(last, rel=1e-12)
    if head is None:
        with pytest.raises(UsageError, match="layers of a stack"):
            law(text, HEAD)
    else:
        assert law(text, HEAD).std == pytest.approx(head, rel=1e-12)


def test_mitchell_is_cut() -> None:
    cut = law("trunc_normal(std=1, cut=3)", HEAD).std
    assert cut is not None
    assert law("mitchell", INNER).std == pytest.approx(cut / math.sqrt(32))
    assert law("mitchell", LAST).std == pytest.approx(cut / math.sqrt(128 * 6))


@pytest.mark.parametrize(
    ("name", "scaled"),
    [
        ("layers.0.self_attn.q_proj.weight", False),
        ("layers.0.self_attn.k_proj.weight", False),
        ("layers.0.self_attn.v_proj.weight", True),
        ("layers.0.attention.wq.weight", False),
        ("layers.0.attention.query.weight", False),
        ("layers.0.attention.value.weight", True),
        ("layers.0.mlp.fc1.weight", True),
    ],
)
def test_deepnorm_leaves_queries_and_keys(name: str, *, scaled: bool) -> None:
    of = subject(32, 32, name=name, block=Block(0, 2, residual=False, branches=2))
    beta = 16**-0.25 if scaled else 1
    assert law("deepnorm", of).std == pytest.approx(math.sqrt(1 / 32) * beta)
    assert law("t_fixup", of).std == pytest.approx(math.sqrt(1 / 32) * (18**-0.25 if scaled else 1))


def test_deepnorm_scales_the_values_of_a_stacked_projection() -> None:
    of = subject(
        96, 32, name="l.0.attn.in_proj_weight", block=Block(0, 2, residual=False, branches=2)
    )
    q, k, v = sample("deepnorm", of).reshape(3, 32, 32)
    assert v.std() / q.std() == pytest.approx(0.5, rel=0.2)
    assert q.std() == pytest.approx(k.std(), rel=0.2)


@pytest.mark.parametrize(
    ("shape", "base", "role", "std"),
    [
        ((64, 64), (16, 16), "weight", 0.02 / 2),  # hidden
        ((64, 10), (16, 10), "weight", 0.02),  # input
        ((10, 64), (10, 16), "weight", 0.02 / 4),  # output
        ((100, 64), (100, 16), "embedding", 0.02),
        ((64,), (16,), "bias", 0.02),
        ((64, 64), (64, 64), "weight", 0.02),  # the base itself
    ],
)
def test_mup(shape: tuple[int, ...], base: tuple[int, ...], role: str, std: float) -> None:
    of = subject(*shape, role=role, base=base)
    assert law("mup", of).std == pytest.approx(std)
    with pytest.raises(UsageError, match="base") as caught:
        law("mup", of._replace(base=None))
    assert caught.value.hint is not None
    assert "--base" in caught.value.hint
