"""What changed and by how much: against NumPy in float64, and where other tools go wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import paramcli
from paramcli.errors import UsageError
from paramcli.numeric import pairs as room
from paramcli.numeric.change import Tolerance
from paramcli.verbs.diff import DiffReport, How, Options, diff
from tests.unit.numeric.reference import ORDINARY, made

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from paramcli.numeric.change import Change
    from paramcli.verbs.diff.report import ValueChange

Compare = "Callable[..., DiffReport]"


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., DiffReport]:
    """Save two state dicts and compare the files."""

    def call(
        a: Mapping[str, object], b: Mapping[str, object], options: Options | None = None
    ) -> DiffReport:
        torch.save(a, tmp_path / "a.pt")
        torch.save(b, tmp_path / "b.pt")
        return diff(paramcli.open(tmp_path / "a.pt"), paramcli.open(tmp_path / "b.pt"), options)

    return call


def only(report: DiffReport) -> ValueChange:
    (change,) = report.values
    return change


def expected(a: torch.Tensor, b: torch.Tensor) -> dict[str, Any]:
    """Compute the metrics of finite tensors in the plainest way."""
    wide = torch.complex128 if a.is_complex() else torch.float64
    x, y = (each.to(wide).numpy().ravel() for each in (a, b))
    d = np.abs(x - y)
    with np.errstate(all="ignore"):
        relative = d / np.abs(x)
    inner = np.vdot(x, y).real / (np.linalg.norm(x) * np.linalg.norm(y))
    parts = [side.view(np.int64).reshape(len(side), -1) for side in (x, y)]
    unlike = (parts[0] != parts[1]).any(axis=1)  # zeros of either sign differ
    return {
        "max_abs": d.max(),
        "max_rel": np.nanmax(relative),
        "l2": np.linalg.norm(d),
        "rel_l2": np.linalg.norm(d) / np.linalg.norm(x),
        "cosine": inner,
        "changed": int(unlike.sum()),
        "changed_fraction": unlike.mean(),
    }


def finite(dtype: str, count: int, seed: int) -> torch.Tensor:
    tensor = made(dtype, count, seed)
    if tensor.is_complex() or tensor.is_floating_point():
        wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
        parts = torch.view_as_real(wide) if wide.is_complex() else wide
        whole = torch.nan_to_num(parts, 0.5, 2.0, -2.0).clamp(-1e30, 1e30)
        clean = torch.view_as_complex(whole.contiguous()) if wide.is_complex() else whole
        return clean.to(tensor.dtype)
    return tensor


@pytest.mark.parametrize(
    "dtype", [name for name in (*ORDINARY, "complex64", "complex128") if name != "float8_e8m0fnu"]
)
@pytest.mark.parametrize("count", [1, 7, 3 * room.CHUNK + 5])
def test_metrics_are_those_of_float64(
    compare: Callable[..., DiffReport], dtype: str, count: int
) -> None:
    a, b = finite(dtype, count, 1), finite(dtype, count, 2)
    if count > 1:
        b[: count // 2] = a[: count // 2]
    want = expected(a, b)
    report = compare({"w": a}, {"w": b})
    if not want["changed"]:
        assert report.same
        return
    metrics = only(report).metrics
    assert metrics is not None
    assert metrics.changed == want["changed"]
    for name, value in want.items():
        found = getattr(metrics, name)
        if name == "cosine" and (found is None or math.isnan(value)):
            assert found is None
            assert math.isnan(value)
            continue
        slack = 1e-9 if "int64" not in dtype else 1e-7  # float64 rounds such integers here
        assert found == pytest.approx(value, rel=slack, abs=1e-300), name


def test_norms_stay_right_where_float32_does_not(compare: Callable[..., DiffReport]) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1 << 20, generator=generator) + 1000
    b = a + 1e-3 * torch.randn(1 << 20, generator=generator)
    metrics = only(compare({"w": a}, {"w": b})).metrics
    want = expected(a, b)
    assert metrics is not None
    assert metrics.l2 == pytest.approx(want["l2"], rel=1e-9)
    assert metrics.cosine == pytest.approx(want["cosine"], abs=1e-13)
    assert metrics.cosine is not None
    assert 0 < 1 - metrics.cosine < 1e-9


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_no_square_overflows_or_vanishes(compare: Callable[..., DiffReport], scale: float) -> None:
    a = torch.tensor([3.0, 4.0], dtype=torch.float64) * scale
    metrics = only(compare({"w": a}, {"w": -a})).metrics
    assert metrics is not None
    assert metrics.l2 / scale == pytest.approx(10)
    assert metrics.cosine == pytest.approx(-1)


NAN, INF = math.nan, math.inf


def test_a_nan_that_came_in_is_a_change(compare: Callable[..., DiffReport]) -> None:
    """A peer calls this identical, because NaN > threshold is false."""
    change = only(compare({"w": torch.ones(4)}, {"w": torch.tensor([1.0, NAN, 1.0, 1.0])}))
    assert change.metrics is not None
    assert (change.metrics.changed, change.nan) == (1, 1)
    assert math.isnan(change.metrics.max_abs)
    assert change.finite is not None
    assert change.finite.max_abs == 0


def test_equal_nans_are_equal(compare: Callable[..., DiffReport]) -> None:
    """Another peer marks them as different."""
    odd = torch.tensor([NAN, INF, -INF, 1.0])
    assert compare({"w": odd}, {"w": odd.clone()}).same
    other_payload = odd.clone()
    other_payload.view(torch.int32)[0] = 0x7FC00001
    report = compare({"w": odd, "v": odd.clone()}, {"w": other_payload, "v": odd})
    assert report.same
    assert report.equal == 2
    assert compare({"w": odd}, {"w": other_payload}, Options(how=How(metrics=False))).same


def test_all_nan_against_numbers(compare: Callable[..., DiffReport]) -> None:
    """A third peer crashes."""
    change = only(compare({"w": torch.full((3,), NAN)}, {"w": torch.ones(3)}))
    assert change.metrics is not None
    assert change.metrics.changed == change.nan == 3


def test_infinities(compare: Callable[..., DiffReport]) -> None:
    change = only(
        compare({"w": torch.tensor([INF, INF, 1.0])}, {"w": torch.tensor([INF, -INF, 1.5])})
    )
    assert change.metrics is not None
    assert change.metrics.max_abs == INF
    assert (change.metrics.changed, change.infinite, change.nan) == (2, 1, 0)
    assert change.finite is not None
    assert change.finite.max_abs == 0.5


def test_zeros_of_either_sign_differ_but_under_a_tolerance(
    compare: Callable[..., DiffReport],
) -> None:
    a, b = {"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([-0.0, 1.0])}
    report = compare(a, b)
    assert not report.same
    metrics = only(report).metrics
    assert metrics is not None
    assert (metrics.changed, metrics.max_abs, metrics.max_rel) == (1, 0.0, 0.0)
    assert compare(a, b, Options(how=How(tolerance=Tolerance()))).same


def test_permuted_values_differ(compare: Callable[..., DiffReport]) -> None:
    a = torch.arange(100.0)
    metrics = only(compare({"w": a}, {"w": a.flip(0)})).metrics
    assert metrics is not None
    assert metrics.changed == 100


numbers = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, NAN, INF, -INF])


@given(
    pairs=st.lists(st.tuples(numbers, numbers) | numbers.map(lambda x: (x, x)), min_size=1),
    atol=st.sampled_from([0.0, 1e-8, 0.5]),
    rtol=st.sampled_from([0.0, 1e-5, 0.5]),
)
def test_a_tolerance_is_that_of_allclose(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[float, float]],
    atol: float,
    rtol: float,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    a, b = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    save_file({"w": a}, folder / "a.safetensors")
    save_file({"w": b}, folder / "b.safetensors")
    report = diff(
        paramcli.open(folder / "a.safetensors"), paramcli.open(folder / "b.safetensors"),
        Options(how=How(tolerance=Tolerance(atol, rtol))),
    )  # fmt: skip
    close = torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    assert report.same == bool(close.all())
    if not report.same:
        metrics = only(report).metrics
        assert metrics is not None
        assert metrics.changed == int((~close).sum())


@pytest.mark.parametrize("other", ["bfloat16", "float16", "float64", "float8_e5m2"])
def test_types_are_compared_after_exact_widening(
    compare: Callable[..., DiffReport], other: str
) -> None:
    exact = torch.tensor([0.5, -2.0, 0.0, 448.0])
    cast = exact.to(getattr(torch, other))
    report = compare({"w": exact}, {"w": cast})
    assert [tuple(one) for one in report.dtype] == [("w", "float32", other)]
    assert not report.values
    assert not report.same
    assert compare({"w": exact}, {"w": cast}, Options(ignore_dtype=True)).same
    rounded = torch.tensor([0.1, 1.0], dtype=torch.float64)
    cast = rounded.to(getattr(torch, other))
    report = compare({"w": rounded}, {"w": cast})
    if other == "float64":
        assert report.same
        return
    metrics = only(report).metrics
    assert metrics is not None
    assert (metrics.changed, metrics.max_abs) == (1, abs(0.1 - float(cast[0])))


def test_large_integers_are_told_apart(compare: Callable[..., DiffReport]) -> None:
    a = torch.tensor([2**62, -(2**63), 5])
    b = torch.tensor([2**62 + 1, 2**63 - 1, 5])
    metrics = only(compare({"w": a}, {"w": b})).metrics
    assert metrics is not None
    assert metrics.changed == 2
    assert metrics.max_abs == float(2**64 - 1)
    close = torch.tensor([2**62 + 1, -(2**63), 5])
    metrics = only(compare({"w": a}, {"w": close})).metrics
    assert metrics is not None
    assert metrics.max_abs == 1


def test_shared_views_are_compared_once(
    compare: Callable[..., DiffReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    from paramcli.numeric.pairs import NumpyPairs

    calls = []
    real = NumpyPairs.compare

    def counted(*args: Any) -> Change:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(NumpyPairs, "compare", counted)
    w, v = torch.ones(5), torch.zeros(5)
    report = compare({"a": w, "b": w}, {"a": v, "b": v})
    assert [change.name for change in report.values] == ["a", "b"]
    assert len(calls) == 1


def test_without_metrics_only_the_verdict(compare: Callable[..., DiffReport]) -> None:
    a = {"w": torch.zeros(10), "n": torch.tensor([NAN]), "same": torch.ones(3)}
    b = {"w": torch.ones(10), "n": torch.tensor([NAN]), "same": torch.ones(3)}
    report = compare(a, b, Options(how=How(metrics=False)))
    assert [(change.name, change.metrics) for change in report.values] == [("w", None)]
    assert report.equal == 2


def test_views_are_compared_by_their_strides(compare: Callable[..., DiffReport]) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    assert compare({"w": base.T}, {"w": base.T.contiguous()}).same
    assert compare({"w": base[:, ::2]}, {"w": base[:, ::2].clone()}).same
    assert compare({"w": torch.ones(1).expand(4)}, {"w": torch.ones(4)}).same
    assert not compare({"w": base[:, ::2]}, {"w": base[:, 1::2]}).same


def test_parts_of_a_sparse_tensor_are_compared(compare: Callable[..., DiffReport]) -> None:
    one = torch.eye(3).to_sparse()
    assert compare({"w": one}, {"w": torch.eye(3).to_sparse()}).same
    metrics = only(compare({"w": one}, {"w": (2 * torch.eye(3)).to_sparse()})).metrics
    assert metrics is not None
    assert metrics.max_abs == 1
    assert not compare({"w": one}, {"w": torch.eye(3)}).same


def test_checksums_decide_when_asked(compare: Callable[..., DiffReport], tmp_path: Path) -> None:
    a = {"w": torch.ones(5), "v": torch.zeros(3), "part": torch.arange(9.0)[2:4]}
    b = {"w": torch.ones(5), "v": torch.ones(3), "part": torch.arange(9.0)[2:4]}
    report = compare(a, b, Options(how=How(quick=True)))
    assert report.compared_by == "crc32"
    assert (report.equal, [change.name for change in report.values]) == (2, ["v"])
    save_file({"w": torch.ones(5)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="--quick"):
        diff(
            paramcli.open(tmp_path / "a.safetensors"), paramcli.open(tmp_path / "b.pt"),
            Options(how=How(quick=True)),
        )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_result_does_not_depend_on_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    from paramcli.numeric import compare as orchestra

    monkeypatch.setattr(orchestra, "BLOCK", 1 << 12)
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(300, 101, generator=generator) for _ in range(6)]
    save_file({f"w{i}": t for i, t in enumerate(tensors[:3])}, tmp_path / "a.safetensors")
    save_file({f"w{i}": t for i, t in enumerate(tensors[3:])}, tmp_path / "b.safetensors")
    a, b = (paramcli.open(tmp_path / f"{name}.safetensors") for name in "ab")
    reports = [diff(a, b, Options(how=How(workers=count))).values for count in (1, workers)]
    assert reports[0] == reports[1]
