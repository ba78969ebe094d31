"""The verbs as functions: what a user's own tests would call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import paramcli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    a = {"w": torch.ones(3, 2), "gone": torch.ones(1), "fc.x": torch.arange(3.0)}
    b = {"w": torch.ones(3, 2) * 1.001, "fc.x": torch.arange(3.0)}
    torch.save(a, tmp_path / "a.pt")
    torch.save(b, tmp_path / "b.pt")
    return str(tmp_path / "a.pt"), str(tmp_path / "b.pt")


def test_a_test_of_the_same_passes(pair: tuple[str, str]) -> None:
    paramcli.diff(pair[0], pair[0]).assert_same()
    paramcli.diff(paramcli.open(pair[0]), pair[0]).assert_same()


def test_a_failure_says_what_differs(pair: tuple[str, str]) -> None:
    with pytest.raises(AssertionError) as caught:
        paramcli.diff(*pair).assert_same()
    text = str(caught.value)
    assert "only in a (1): gone" in text
    assert "values (1): w (max abs 0.001" in text


def test_options_are_those_of_the_command(pair: tuple[str, str]) -> None:
    paramcli.diff(*pair, atol=0.01, exclude=["gone"]).assert_same()
    paramcli.diff(*reversed(pair), rtol=0.01, subset=True).assert_same()
    report = paramcli.diff(*pair, rename={"fc.": "head."}, shapes=True)
    assert report.only_b == ("fc.x",)
