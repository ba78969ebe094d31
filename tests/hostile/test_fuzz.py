"""A little of `make fuzz`, always the same inputs; the inputs that once broke a law stand below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import KINDS, OFTEN, Fuzzer, campaign
from tests.torch_judge import TorchJudge

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


def test_some_inputs(tmp_path: Path) -> None:
    turns = iter(range(60))
    with TorchJudge() as judge:
        tally = campaign(Fuzzer(1, tmp_path, judge), lambda: next(turns, None) is not None)
    assert [(kind, problem) for kind, problem, _ in tally.findings] == []
    assert set(tally.tried) == set(KINDS)
    assert min(tally.opened[kind] for kind in OFTEN) > 0
    assert tally.both["safetensors"] > 0


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(1, tmp_path_factory.mktemp("fuzz"))


@given(kind=st.sampled_from(KINDS), rng=st.randoms(use_true_random=False))
def test_mutations_that_hypothesis_chooses(kind: str, rng: Random, fuzzer: Fuzzer) -> None:
    """The same mutators, driven by hypothesis, which makes what it finds as small as it can."""
    fuzzer._rng = rng
    fuzzer.tally.findings.clear()
    fuzzer.one(kind)
    assert [problem for _, problem, _ in fuzzer.tally.findings] == []


def test_the_watch_can_see(tmp_path: Path) -> None:
    """The proof can fail: a reader that runs or writes something is found out."""
    fuzzer = Fuzzer(1, tmp_path)
    fuzzer._watch.watching = True
    exec("1")
    (tmp_path / "written").write_text("x")
    fuzzer._watch.watching = False
    assert "exec" in fuzzer._watch.seen
    assert any(event.startswith("open to write") for event in fuzzer._watch.seen)


@pytest.mark.parametrize("kind", ["safetensors", "zip"])
def test_the_comparison_can_fail(kind: str, tmp_path: Path) -> None:
    """Where the other reader says something else, that is a finding."""
    fuzzer = Fuzzer(1, tmp_path)

    class Judge(TorchJudge):
        def ask(self, path: str) -> dict[str, object]:
            return {"tensors": [], "sharing": []} if path else {}

    fuzzer._judge = Judge()
    good = fuzzer._small.get(kind, fuzzer._good[kind])
    problem = fuzzer.problem(kind, good)
    assert ("torch lists" in problem) is (kind == "zip")
    assert fuzzer.problem("safetensors", fuzzer._good["safetensors"]) == ""
