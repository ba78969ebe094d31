"""Real pairs: versions of one model, and a class against what somebody else trained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from torch import Tensor, nn

import paramcli
from paramcli.verbs.diff import Options, diff
from paramcli.verbs.diff.names import parse_rename
from tests.corpus.test_corpus import CORPUS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus beside the project")

LPIPS = "legacy/PerceptualSimilarity__lpips_weights_{}_{}.pth"
RESNETS = {
    3: "legacy/pytorch_resnet_cifar10__pretrained_models_resnet20-12fca82f.th",
    5: "legacy/pytorch_resnet_cifar10__pretrained_models_resnet32-d509ac18.th",
}


def floats(path: Path, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    checkpoint = paramcli.open(path)
    raw = checkpoint.read(checkpoint[name].storage)
    return np.frombuffer(raw, "<f4").astype(np.float64)


@pytest.mark.parametrize("net", ["vgg", "squeeze", "alex"])
def test_two_versions_of_a_metric(net: str) -> None:
    a, b = (CORPUS / LPIPS.format(version, net) for version in ("v0.0", "v0.1"))
    report = diff(paramcli.open(a), paramcli.open(b))
    assert not report.only_a
    assert not report.only_b
    assert len(report.values) == len(paramcli.open(a))
    for one in report.values:
        x, y = floats(a, one.name), floats(b, one.name)
        assert one.metrics is not None
        assert one.metrics.max_abs == np.abs(x - y).max()
        assert one.metrics.l2 == pytest.approx(np.linalg.norm(x - y), rel=1e-12)
        assert one.metrics.changed == (x != y).sum()


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return inner


class ResNet(nn.Module):
    """The CIFAR ResNet of He et al. (2015), in the names that torch's own would have."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        width = 16
        for layer, outer in enumerate((16, 32, 64), 1):
            stack = [Block(width, outer, layer > 1 or 1)]
            stack += [Block(outer, outer, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{layer}", nn.Sequential(*stack))
            width = outer
        self.linear = nn.Linear(64, 10)


@pytest.mark.parametrize("blocks", RESNETS)
def test_a_class_against_what_was_trained(blocks: int) -> None:
    target = f"{os.path.relpath(__file__)}:ResNet"
    model = paramcli.open(target, arguments={"blocks": blocks})
    trained = paramcli.open(CORPUS / RESNETS[blocks])
    report = diff(model, trained)
    # The file is from before BatchNorm counted its batches.
    assert all(name.endswith("num_batches_tracked") for name in report.only_a)
    assert len(report.only_a) == len(model) - len(trained)
    assert not report.only_b
    assert not report.shape
    assert len(report.renamed) == len(trained)
    assert report.not_compared == len(trained)
    again = diff(
        model, trained,
        Options(renames=[parse_rename("=module.")], exclude=["*num_batches_tracked"]),
    )  # fmt: skip
    assert again.same
