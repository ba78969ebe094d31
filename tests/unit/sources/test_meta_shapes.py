"""What is answered by shapes alone is what the CPU would give, and costs no import."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from paramcli.sources.meta import on_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DTYPES = torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.bool
UNARY = (
    torch.cos, torch.exp, torch.neg, torch.abs, torch.logical_not, torch.rsqrt, torch.log,
    torch.square, torch.clone, torch.isnan, torch.sigmoid, torch.sign, torch.reciprocal,
)  # fmt: skip
BINARY = (
    torch.add, torch.sub, torch.mul, torch.div, torch.pow, torch.eq, torch.maximum,
    torch.floor_divide, torch.logical_and, torch.atan2,
)  # fmt: skip

EXPRESSIONS: dict[str, Callable[[], Any]] = {
    "arange": lambda: torch.arange(10),
    "arange of floats": lambda: torch.arange(0, 10, 3, dtype=torch.float32),
    "arange downwards": lambda: torch.arange(9, 2, -2),
    "a huge arange": lambda: torch.arange(0, 2**21),
    "linspace": lambda: torch.linspace(0, 1, 7),
    "linspace by name": lambda: torch.linspace(0, 1, steps=7),
    "eye": lambda: torch.eye(3),
    "eye of two": lambda: torch.eye(3, 5, dtype=torch.int64),
    "randn": lambda: torch.randn(2, 3),
    "randn in half": lambda: torch.randn(2, 3, dtype=torch.bfloat16),
    "rand": lambda: torch.rand((4,)),
    "randn * 0.02": lambda: torch.randn(1, 5, 8) * 0.02,
    "rotary": lambda: torch.outer(
        torch.arange(6).float(), 1.0 / 10_000 ** (torch.arange(0, 8, 2).float() / 8)
    ),
    "rotary by einsum": lambda: torch.einsum("i,j->ij", torch.arange(6.0), torch.rand(4)),
    "cat": lambda: torch.cat([torch.ones(2, 3), torch.ones(2, 4)], dim=-1),
    "stack": lambda: torch.stack([torch.ones(2, 3), torch.ones(2, 3)], dim=1),
    "cumsum of truths": lambda: torch.ones(3, 2, dtype=torch.bool).cumsum(0),
    "roll": lambda: torch.roll(torch.ones(3, 2), 1, 0),
    "flip": lambda: torch.flip(torch.ones(3, 2), [0]),
    "a mask": lambda: torch.full((4, 4), float("-inf")).triu(1),
    "a mask of truths": lambda: torch.ones(4, 4, dtype=torch.bool).tril(),
    "masked": lambda: torch.ones(4, 4).masked_fill(torch.eye(4) == 0, float("-inf")),
    "where": lambda: torch.where(torch.ones(3) > 0, 1.0, 0.0),
    "like": lambda: torch.zeros_like(torch.ones(2, 3), dtype=torch.float64),
    "randn like": lambda: torch.randn_like(torch.ones(2, 3)),
    "like channels last": lambda: torch.empty_like(
        torch.ones(1, 2, 3, 4), memory_format=torch.channels_last
    ),
    "a clone channels last": lambda: torch.ones(1, 2, 3, 4).clone(
        memory_format=torch.channels_last
    ),
    "of a transpose": lambda: torch.ones(2, 3).t() * 2,
    "like a transpose": lambda: torch.zeros_like(torch.ones(2, 3).t()),
    "matmul": lambda: torch.ones(2, 3) @ torch.ones(3, 4),
    "matmul of many": lambda: torch.ones(5, 2, 3) @ torch.ones(5, 3, 4),
    "normal in place": lambda: torch.empty(3, 2).normal_(0, 0.02),
    "truncated in place": lambda: torch.empty(3).uniform_(-1, 1).erfinv_().mul_(2).clamp_(-1, 1),
    "in place by another": lambda: torch.ones(3, 4).add_(torch.ones(4)),
    "a transpose in place": lambda: torch.ones(3, 4).t_(),
    "one more dimension in place": lambda: torch.ones(3, 4).unsqueeze_(0),
    "integers in place": lambda: torch.empty(3, dtype=torch.int64).random_(0, 9),
    "slices": lambda: functional.pad(torch.ones(4, 6)[:, 0::2].sin(), (1, 1)),
    "distances": lambda: (torch.arange(4)[:, None] - torch.arange(4)[None]).clamp(-2, 2).abs(),
    "relative positions": lambda: torch.stack(
        torch.meshgrid(torch.arange(3), torch.arange(2), indexing="ij")
    ).flatten(1),
    "of what is spread": lambda: torch.ones(3, 1).expand(3, 4) + torch.ones(4),
    "a transpose times two in place": lambda: torch.ones(3, 4).t().mul_(2),
    "rows in place": lambda: torch.ones(6, 4)[::2].add_(1),
    "cat of channels last": lambda: torch.cat(
        [torch.ones(1, 2, 3, 4).to(memory_format=torch.channels_last)] * 2
    ),
    "sum of truths": lambda: torch.ones(3, 4, dtype=torch.bool).sum(-1, keepdim=True),
    "mean of a transpose": lambda: torch.ones(2, 3, 4).transpose(0, 2).mean(1),
    "cat of nothing": lambda: torch.cat([torch.ones(0, 3), torch.ones(2, 3)]),
    "bernoulli": lambda: torch.ones(3).bernoulli(),
    "out": lambda: torch.mul(torch.ones(3), 2, out=torch.empty(3)),
}


def described(tensor: Tensor) -> tuple[object, ...]:
    """Shape, type, and order; steps along what holds one element, or none, say nothing."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    order = [step for length, step in steps if length > 1 and tensor.numel()]
    return tensor.shape, tensor.dtype, order


def assert_same(make: Callable[[], Any]) -> None:
    """Compare the meta device with the CPU."""
    there = make()
    with on_meta():
        here = make()
    assert here.is_meta
    assert described(here) == described(there)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_shapes_are_those_of_the_cpu(name: str) -> None:
    assert_same(EXPRESSIONS[name])


SHAPES = st.lists(st.sampled_from([0, 1, 1, 2, 3]), max_size=3)


def made(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.ones(shape, dtype=dtype)


@given(
    operation=st.sampled_from(UNARY),
    shape=SHAPES,
    dtype=st.sampled_from(DTYPES),
    turned=st.sampled_from([0, -1]),
)
def test_of_one(
    operation: Callable[[Tensor], Tensor], shape: list[int], dtype: torch.dtype, turned: int
) -> None:
    def make() -> Tensor:
        one = made(shape, dtype)
        return operation(one.transpose(0, turned) if shape else one)

    alike(make)


@given(
    operation=st.sampled_from(BINARY),
    shapes=st.tuples(SHAPES, SHAPES),
    dtypes=st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)),
    number=st.sampled_from([None, 2, 0.5]),
)
def test_of_two(
    operation: Callable[..., Tensor],
    shapes: tuple[list[int], list[int]],
    dtypes: tuple[torch.dtype, torch.dtype],
    number: float | None,
) -> None:
    def make() -> Tensor:
        other = made(shapes[1], dtypes[1]) if number is None else number
        return operation(made(shapes[0], dtypes[0]), other)

    alike(make)


@given(
    name=st.sampled_from(["add_", "mul_", "div_", "pow_", "logical_and_"]),
    shapes=st.tuples(SHAPES, SHAPES),
    dtypes=st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)),
)
def test_in_place(
    name: str, shapes: tuple[list[int], list[int]], dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    def make() -> Tensor:
        one = made(shapes[0], dtypes[0])
        found: Tensor = getattr(one, name)(made(shapes[1], dtypes[1]))
        assert found is one
        return found

    alike(make)


def alike(make: Callable[[], Tensor]) -> None:
    """Compare with the CPU, unless that refuses: torch's own answer may be laxer there."""
    try:
        make()
    except (RuntimeError, TypeError):
        return
    assert_same(make)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: torch.ones(2) + torch.ones(3),
        lambda: torch.ones(2, 3) @ torch.ones(2, 3),
        lambda: torch.cat([torch.ones(2, 3), torch.ones(3, 2)]),
        lambda: torch.ones(3).add_(torch.ones(2, 3)),
        lambda: torch.ones(3).tril(),
    ],
)
def test_what_does_not_fit_is_an_error(wrong: Callable[[], Tensor]) -> None:
    with pytest.raises(RuntimeError), on_meta():
        wrong()


def test_another_device_that_is_asked_for() -> None:
    with on_meta():
        assert torch.arange(3, device="cpu").tolist() == [0, 1, 2]
        assert torch.linspace(0, 1, 3, device="cpu")[1].item() == 0.5
        assert not torch.zeros_like(torch.ones(2), device="cpu").is_meta
        assert not (torch.ones(2, device="cpu") * 2).is_meta


def test_the_state_of_the_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    with on_meta():
        torch.ones(3).bernoulli_(0.5)
        torch.randn(3).mul_(2).normal_()
        nn.Linear(3, 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    "large",
    [
        lambda: torch.randn(1 << 14, 1 << 13) * 0.02,
        lambda: torch.empty(1 << 14, 1 << 13)[:, 0] * 2,
        lambda: torch.cat([torch.empty(1 << 14, 1 << 13)[:, 0], torch.ones(9)]),
        lambda: torch.stack([torch.ones(1).expand(1 << 26)] * 2),
        lambda: torch.ones(1).expand(1 << 27) + torch.ones(1),
        lambda: torch.arange(1 << 26),
        lambda: torch.eye(1 << 14),
    ],
)
def test_what_is_large_takes_no_memory(large: Callable[[], Tensor]) -> None:
    """All of these would be half a GiB or more; the compiler, where torch imports it, is less."""
    child = os.fork()
    if not child:
        try:
            before = peak()
            with on_meta():
                assert large().is_meta
            os._exit(peak() - before > 300 << 20)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def peak() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.02)
        self.scale = nn.Parameter(1e-5 * torch.ones(8))
        self.head = nn.Linear(8, 8)
        self.head.weight.data.normal_(0, 0.02)
        self.head.weight.data.mul_(0.5)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        angles = torch.outer(torch.arange(6.0), 1 / 10000 ** (torch.arange(0, 8, 2) / 8))
        table = torch.zeros(6, 8)
        table[:, 0::2] = angles.sin()
        table[:, 1::2] = angles.cos()
        self.register_buffer("table", table)
        self.register_buffer("both", torch.cat([angles.cos(), angles.sin()], dim=-1))
        at = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(2), indexing="ij")).flatten(1)
        self.register_buffer("index", (at[:, :, None] - at[:, None]).permute(1, 2, 0).sum(-1))
        mask = torch.full((6, 6), float("-inf")).triu(1)
        self.register_buffer("mask", mask.masked_fill(torch.eye(6) == 1, 0.0))
"""
PROGRAM = """
import sys, paramcli
checkpoint = paramcli.open("net:Net")
print([info.name for info in checkpoint], checkpoint.notes)
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_model_is_built_without_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    names = ["token", "scale", "table", "both", "index", "mask", "head.weight", "head.bias"]
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [f"{names} ()", "[]"]
