"""Statistics and values of files from the world, against torch's own in float64."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import paramcli
from paramcli.numeric.summary import measurable, summarize
from paramcli.numeric.values import array, first_bad
from paramcli.verbs.show import check_finite, show_tensors
from tests import torch_objects
from tests.unit.numeric.reference import assert_summary, cut_small, numbers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from paramcli.checkpoint import Checkpoint
    from paramcli.verbs.show import Stats

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
CLOSE = 1e-10


def listed() -> list[str]:
    """Return the files that torch itself reads, by their place in the corpus.

    Its tar files it does not: of those `test_small_blocks_change_nothing` alone says something.
    """
    if not CORPUS.is_dir():
        return []
    with open(CORPUS / "MANIFEST.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        row["file"]
        for row in rows
        if row["tensors"].isdigit() or row["file"].startswith(("tar/", "torchscript/"))
    ]


FILES = listed()
READ_BY_TORCH = [name for name in FILES if not name.startswith("tar/")]
pytestmark = pytest.mark.skipif(not FILES, reason=f"there is no corpus at {CORPUS.parent.name}")
EACH = pytest.mark.parametrize("name", FILES or ["none"])
EACH_OF_TORCH = pytest.mark.parametrize("name", READ_BY_TORCH or ["none"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch from starting threads that only wait for each other over small tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loaded(name: str, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Load a file with torch: its tensors by the names that a listing gives them."""
    path = CORPUS / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if checkpoint.format == "safetensors":
            return dict(load_file(path))
        if checkpoint.format == "torchscript":
            module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return dict(module.state_dict())
    return dict(torch_objects.leaves(torch_objects.load(path, weights_only=True)))


@EACH_OF_TORCH
def test_numbers_are_torchs(name: str) -> None:
    checkpoint = paramcli.open(CORPUS / name, everything=True)
    tensors = loaded(name, checkpoint)
    report = show_tensors(checkpoint, ["*"]) if len(checkpoint) else None
    by_name = {one.name: one for one in report.tensors} if report else {}
    assert tensors.keys() <= by_name.keys()
    for key, tensor in tensors.items():
        shown = by_name[key]
        assert shown.stats is not None
        numbers = numbers_of(tensor)
        np.testing.assert_array_equal(array(checkpoint, shown.info), numbers)
        assert_stats(shown.stats, tensor)


def assert_stats(found: Stats, tensor: Tensor) -> None:
    """Assert what is reported of a real tensor, in torch's own arithmetic."""
    if not tensor.numel():
        assert (found.mean, found.std, found.min, found.max, found.l2) == (None,) * 4 + (0.0,)
        return
    double = tensor.detach().double().flatten()
    is_bad = ~torch.isfinite(double)
    assert found.nan == int(double.isnan().sum())
    assert found.positive_inf + found.negative_inf == int(double.isinf().sum())
    assert found.zeros == int((double == 0).sum())
    assert found.negative_zeros == int(((double == 0) & double.signbit()).sum())
    low, high = float(double.min()), float(double.max())
    assert found.min == pytest.approx(low, rel=0, abs=0, nan_ok=True)
    assert found.max == pytest.approx(high, rel=0, abs=0, nan_ok=True)
    mean, std = float(double.mean()), float(double.std(correction=0))
    noise = 0.0 if is_bad.any() else 1e-15 * float(double.abs().max())
    assert found.mean == pytest.approx(mean, rel=CLOSE, abs=noise, nan_ok=True)
    assert found.std == pytest.approx(std, rel=CLOSE, abs=noise, nan_ok=True)
    norm = float(torch.linalg.vector_norm(double))
    assert found.l2 == pytest.approx(norm, rel=CLOSE, abs=0, nan_ok=True)
    finite = double[~is_bad].numpy()
    if len(finite):
        percents = [int(percent) for percent in found.percentiles]
        assert len(percents) == 7
        for got, want in zip(
            found.percentiles.values(), np.percentile(finite, percents), strict=True
        ):
            scale = float(np.abs(finite).max())
            assert got == pytest.approx(want, rel=1e-14, abs=1e-15 * scale)


@EACH
def test_small_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = paramcli.open(CORPUS / name, everything=True)
    infos = [info for info in checkpoint if measurable(info) and info.nbytes < 1 << 16]
    infos = [info for info in infos if info.storage.file][:20]
    cut_small(monkeypatch, 4800, 3)
    for info, found in zip(infos, summarize(checkpoint, infos), strict=True):
        assert_summary(found, array(checkpoint, info))


@EACH_OF_TORCH
def test_what_is_not_finite_is_found(name: str) -> None:
    checkpoint = paramcli.open(CORPUS / name, everything=True)
    if not len(checkpoint):
        return
    report, read = check_finite(checkpoint, [])
    bad = {one.info.name: one.first_bad for one in report.tensors}
    assert read == len([info for info in checkpoint if measurable(info) and info.storage.file])
    for key, tensor in loaded(name, checkpoint).items():
        where = torch.nonzero(~torch.isfinite(tensor.detach().double()))
        assert bad.get(key) == (tuple(where[0].tolist()) if len(where) else None)
        assert first_bad(checkpoint, checkpoint[key]) == bad.get(key)


def test_the_corpus_is_not_passed_over() -> None:
    assert len(FILES) > 70
    assert {name.partition("/")[0] for name in FILES} == {
        "legacy", "safetensors", "tar", "torchscript", "zip",
    }  # fmt: skip
