"""Schemes against torch.nn.init: the same std or bound exactly, the same distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import init

from paramcli.errors import UsageError
from paramcli.schemes.draws import Normal, TruncatedNormal, Uniform
from tests.unit.schemes.made import filled, law, p_value, sample, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    Init = Callable[[torch.Tensor], object]

SHAPES = [(400, 150), (64, 32, 5), (48, 20, 5, 5), (9, 7, 5, 6, 7)]
TWINS: dict[str, Init] = {
    "uniform": init.uniform_,
    "uniform(a=-2.5, b=0.25)": lambda t: init.uniform_(t, -2.5, 0.25),
    "normal": init.normal_,
    "normal(mean=-1.5, std=3)": lambda t: init.normal_(t, -1.5, 3),
    "trunc_normal(std=1, a=-2, b=2)": init.trunc_normal_,
    "trunc_normal(std=1, cut=2)": init.trunc_normal_,
    "trunc_normal(std=0.02, cut=3)": lambda t: init.trunc_normal_(t, 0, 0.02, -0.06, 0.06),
    "trunc_normal(std=0.02, a=-2, b=2)": lambda t: init.trunc_normal_(t, std=0.02),
    "trunc_normal(mean=0, std=1, a=2, b=3)": lambda t: init.trunc_normal_(t, 0, 1, 2, 3),
    "xavier_normal": init.xavier_normal_,
    "xavier_normal(gain=1.7)": lambda t: init.xavier_normal_(t, 1.7),
    "xavier_uniform": init.xavier_uniform_,
    "xavier_uniform(gain=0.3)": lambda t: init.xavier_uniform_(t, 0.3),
    "kaiming_normal": init.kaiming_normal_,
    "kaiming_normal(mode=fan_out)": lambda t: init.kaiming_normal_(t, mode="fan_out"),
    "kaiming_normal(a=1.5)": lambda t: init.kaiming_normal_(t, a=1.5),
    "kaiming_normal(nonlinearity=leaky_relu)": init.kaiming_normal_,
    "kaiming_normal(nonlinearity=tanh)": lambda t: init.kaiming_normal_(t, nonlinearity="tanh"),
    "kaiming_uniform": init.kaiming_uniform_,
    "kaiming_uniform(a=2.2360679774997896)": lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)),
    "kaiming_uniform(mode=fan_out, a=0.7)": lambda t: init.kaiming_uniform_(t, 0.7, "fan_out"),
}


def theirs(make: Init, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    torch.manual_seed(11)
    tensor = torch.empty(shape, dtype=torch.float64)
    make(tensor)
    return tensor.numpy()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("text", TWINS)
def test_agrees_with_torch_in_distribution(text: str, shape: tuple[int, ...]) -> None:
    of = subject(*shape, dtype="float64")
    ours, reference = sample(text, of), theirs(TWINS[text], shape)
    assert p_value(ours, reference) > 1e-4
    expected = law(text, of)
    assert expected.mean is not None
    assert expected.std is not None
    error = expected.std / math.sqrt(ours.size)
    assert abs(ours.mean() - expected.mean) < 5 * error
    assert ours.std() == pytest.approx(expected.std, rel=5 / math.sqrt(ours.size))


@pytest.mark.parametrize("shape", [*SHAPES, (3, 5, 1, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("text", [text for text in TWINS if text.startswith(("xavier", "kai"))])
def test_parameters_are_exactly_torchs(
    text: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch.nn.init hands to the generator, seen on its way there."""
    handed: list[tuple[float, ...]] = []

    def see(_: object, first: float, second: float, *__: object, **___: object) -> None:
        handed.append((first, second))

    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, see)
        monkeypatch.setattr(init, f"_no_grad_{name}", see)
    TWINS[text](torch.empty(shape))
    draw = law(text, subject(*shape)).pieces[0].fill
    assert isinstance(draw, Normal | Uniform)
    ours = (draw.mean, draw.std) if isinstance(draw, Normal) else (draw.low, draw.high)
    assert ours == pytest.approx(handed[0], rel=1e-15)


@pytest.mark.parametrize(
    ("text", "bound"), [("he_normal", 2.0), ("lecun_normal", 1.0), ("glorot_normal", 1.0)]
)
def test_truncated_members_keep_their_variance(text: str, bound: float) -> None:
    """As jax.nn.initializers: cut at 2σ, σ widened by 1/0.87962566103423978."""
    of = subject(300, 200, dtype="float64")
    fan = 250 if text == "glorot_normal" else 200
    found, values = law(text, of), sample(text, of)
    assert found.std == pytest.approx(math.sqrt(bound / fan), rel=1e-12)
    draw = found.pieces[0].fill
    assert isinstance(draw, TruncatedNormal)
    assert draw.std == pytest.approx(math.sqrt(bound / fan) / 0.87962566103423978, rel=1e-15)
    assert np.abs(values).max() <= 2 * draw.std
    assert values.std() == pytest.approx(math.sqrt(bound / fan), rel=0.02)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_variance_scaling(mode: str, distribution: str) -> None:
    fan = {"fan_in": 50, "fan_out": 200, "fan_avg": 125, "fan_geo_avg": 100}[mode]
    found = law(
        f"variance_scaling(scale=3, mode={mode}, distribution={distribution})", subject(200, 50)
    )
    assert found.std == pytest.approx(math.sqrt(3 / fan), rel=1e-12)


def test_moments_in_closed_form_are_those_of_quadrature() -> None:
    for low, high in [(-2, 2), (-3, 3), (0.5, 4), (2, 3), (-3, -2), (-1, math.inf), (4, 9)]:
        x = np.linspace(max(low, -30), min(high, 30), 2_000_001)
        weight = np.exp(-x * x / 2)
        mean = (x * weight).sum() / weight.sum()
        std = math.sqrt((x * x * weight).sum() / weight.sum() - mean**2)
        a, b = (f"{2 * bound + 1}" for bound in (low, high))
        found = law(f"trunc_normal(std=2, mean=1, a={a}, b={b})", subject(4, 4))
        assert found.mean == pytest.approx(1 + 2 * mean, abs=1e-5)
        assert found.std == pytest.approx(2 * std, rel=1e-4)


def test_the_trap_of_absolute_bounds() -> None:
    """At std 0.02 torch's default bounds cut nothing; cut= does."""
    trapped = law("trunc_normal(std=0.02, a=-2, b=2)", subject(4, 4))
    assert trapped.std == pytest.approx(0.02, rel=1e-12)
    assert law("trunc_normal(std=0.02)", subject(4, 4)).std == pytest.approx(
        0.02 * 0.98657, rel=1e-4
    )


def test_constants() -> None:
    assert (sample("zeros", subject(7, 3)) == 0).all()
    assert (sample("ones", subject(7)) == 1).all()
    assert (sample("constant(0.5)", subject()) == 0.5).all()
    assert (law("constant(3)", subject(2)).mean, law("constant(3)", subject(2)).std) == (3, 0)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6)], ids=str)
def test_eye(shape: tuple[int, int]) -> None:
    assert (sample("eye", subject(*shape)) == np.eye(*shape)).all()


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3,), (4, 3), (2, 1, 5)], ids=str)
@pytest.mark.parametrize("channels", [(6, 4), (6, 1), (12, 9)], ids=str)
def test_dirac(groups: int, kernel: tuple[int, ...], channels: tuple[int, int]) -> None:
    of = subject(*channels, *kernel)
    reference = torch.empty(of.shape)
    init.dirac_(reference, groups)
    ours = sample(f"dirac(groups={groups})", of)
    assert (ours == reference.numpy()).all()
    assert law(f"dirac(groups={groups})", of).std == pytest.approx(ours.std(), abs=1e-12)
    assert (ours == sample("dirac", of._replace(groups=groups))).all()


@pytest.mark.parametrize("gain", [1.0, 0.4])
@pytest.mark.parametrize(
    "shape", [(3, 4), (4, 3), (20, 2, 3, 4), (2, 3, 4, 5), (70, 70), (1, 9), (9, 1)], ids=str
)
@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("float64", 1e-12)])
def test_orthogonal(shape: tuple[int, ...], gain: float, dtype: str, error: float) -> None:
    of = subject(*shape, dtype=dtype)
    flat = sample(f"orthogonal(gain={gain})", of).reshape(shape[0], -1)
    short = flat if len(flat) <= flat.shape[1] else flat.T
    assert np.abs(short @ short.T - gain**2 * np.eye(len(short))).max() < error
    assert law(f"orthogonal({gain})", of).std == pytest.approx(
        math.sqrt((flat**2).mean()), rel=1e-6
    )


def test_orthogonal_is_uniform_among_matrices() -> None:
    """Traces of many 3 x 3 matrices, as torch's: neither signs nor order are favoured."""
    of = subject(3, 3, dtype="float64")
    ours = np.array([np.trace(sample("orthogonal", of, seed)) for seed in range(600)])
    torch.manual_seed(1)
    drawn = [init.orthogonal_(torch.empty(3, 3, dtype=torch.float64)) for _ in range(600)]
    assert p_value(ours, np.array([float(one.trace()) for one in drawn])) > 1e-3


def test_orthogonal_parts_are_matrices_each() -> None:
    of = subject(24, 6, name="lstm.weight_hh_l0", dtype="float64", parts=(6, 6, 6, 6))
    gates = sample("orthogonal", of).reshape(4, 6, 6)
    for gate in gates:
        assert np.abs(gate @ gate.T - np.eye(6)).max() < 1e-12
    assert np.abs(gates[0] - gates[1]).max() > 0.1


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (5, 3, 1)], ids=str)
def test_delta_orthogonal(kernel: tuple[int, ...]) -> None:
    of = subject(8, 5, *kernel, dtype="float64")
    values = sample("delta_orthogonal(gain=2)", of)
    middle = np.ravel_multi_index([size // 2 for size in kernel], kernel)
    center = values.reshape(8, 5, -1)[:, :, middle]
    assert np.abs(center.T @ center - 4 * np.eye(5)).max() < 1e-12
    assert np.count_nonzero(values) == 40
    with pytest.raises(UsageError, match="as many outputs"):
        law("delta_orthogonal", subject(5, 8, *kernel))


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 1.0, 0.0])
def test_sparse(sparsity: float) -> None:
    of = subject(333, 90, dtype="float64")
    values = sample(f"sparse(sparsity={sparsity}, std=0.2)", of)
    reference = theirs(lambda t: init.sparse_(t, sparsity, 0.2), of.shape)
    assert ((values == 0).sum(0) == math.ceil(sparsity * 333)).all()
    assert p_value(values, reference) > 1e-4
    assert law(f"sparse({sparsity}, std=0.2)", of).std == pytest.approx(values.std(), rel=0.05)
    if 0 < sparsity < 1:  # zeros are anywhere
        assert np.ptp((values == 0).mean(1)) > 0


def test_icnr_starts_as_nearest_neighbours() -> None:
    of = subject(12, 4, 3, 3, dtype="float64")
    weight = torch.from_numpy(sample("icnr(upscale=2)", of))
    image = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    shuffled = nn.functional.pixel_shuffle(nn.functional.conv2d(image, weight), 2)
    blocks = shuffled.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    assert torch.equal(blocks.amax(-1), blocks.amin(-1))
    assert len(np.unique(weight.flatten(1).numpy(), axis=0)) == 3
    assert law("icnr", of).std == pytest.approx(math.sqrt(2 / 36))


@pytest.mark.parametrize("text", [text for text in TWINS if text.startswith(("xavier", "kai"))])
@pytest.mark.parametrize("shape", [(), (5,)], ids=str)
def test_vectors_have_no_fans(text: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="has no fans"):
        law(text, subject(*shape))


@pytest.mark.parametrize(
    ("text", "ranks"),
    [("eye", {2}), ("dirac", {3, 4, 5}), ("sparse(0.1)", {2}), ("delta_orthogonal", {3, 4, 5})],
)
def test_ranks(text: str, ranks: set[int]) -> None:
    for rank in set(range(7)) - ranks:
        with pytest.raises(UsageError, match=f"not {rank}"):
            law(text, subject(*(2,) * rank))


@pytest.mark.parametrize("text", [*TWINS, "orthogonal", "zeros", "sparse(0.5)", "eye"])
def test_nothing_to_draw(text: str) -> None:
    found = law(text, subject(0, 3))
    assert len(filled(found, "float32", 0, 0)) == 0


def test_padding_row_stays_zero() -> None:
    of = subject(50, 40, name="embed.weight", padding=7, dtype="float64")
    values = sample("normal", of)
    assert (values[7] == 0).all()
    assert np.count_nonzero(values) == 49 * 40
    assert (
        np.delete(values, 7, 0) == np.delete(sample("normal", of._replace(padding=None)), 7, 0)
    ).all()
    assert law("normal", of).std == pytest.approx(math.sqrt(49 / 50))
