"""Workflow commands of `diff`: few, grouped, and no file can smuggle in one of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.render.diff.github import github
from paramcli.verbs.diff.report import TieChange, Violation

if TYPE_CHECKING:
    from paramcli.verbs.diff.report import DiffReport
    from tests.unit.render.diff.conftest import Make

COMMAND = re.compile(r"::(notice|warning|error) ([^:\n]*)::([^\n\r]*)\n")


def commands(report: DiffReport) -> list[tuple[str, str, str]]:
    found = []
    for line in github(report):
        match = COMMAND.fullmatch(line)
        assert match, line
        found.append((match[1], match[2], match[3]))
    return found


def test_same(diffs: dict[str, DiffReport]) -> None:
    """Where nothing differs there is one notice."""
    assert commands(diffs["same"]) == [("notice", "title=base.pt → tuned.pt", "same")]


def test_kinds_are_grouped(diffs: dict[str, DiffReport]) -> None:
    """At most ten annotations in all, the names of a kind in one of them."""
    [notice, *others] = commands(diffs["tuned"])
    assert notice[2].startswith("differs: 8 values, ")
    assert len(others) == 10
    assert others[1] == (
        "error", "title=base.pt → tuned.pt%3A only in A", "head.bias",
    )  # fmt: skip
    assert others[2][2] == (
        "adapters.0.weight, adapters.1.weight, adapters.2.weight, adapters.3.weight, "
        "adapters.4.weight and 9 more"
    )


def test_lines_of_a_lock(diffs: dict[str, DiffReport]) -> None:
    """What a lock says stands at its lines; each broken rule is an error."""
    title = "title=params.lock → net.py%3ANet%3A "
    assert commands(diffs["locked"])[1:] == [
        ("error", f"file=params.lock,line=12,{title}count_max",
         "9,000,000 parameters, at most 8,000,000"),
        ("error", f"{title}tied", "head and embed are not tied"),
        ("error", f"file=params.lock,line=8,{title}only in A", "fc.bias"),
        ("error", f"file=params.lock,line=7,{title}shape",
         "fc.weight [*, 64] → [10]  (2 sizes, not 1)"),
    ]  # fmt: skip


def test_many_rules_are_one(make: Make) -> None:
    """Rules are grouped too where they alone would be more than ten."""
    rules = tuple(Violation("dtype", f"w{n} is float16", n) for n in range(12))
    found = commands(make.report(same=False, rules=rules, lock="x.lock"))
    assert len(found) == 2
    assert found[1][1].startswith("file=x.lock,line=0,")
    assert found[1][2].endswith("dtype: w4 is float16 and 7 more")


def test_what_was_ignored_is_a_warning(make: Make) -> None:
    """It does not count, and comes after what does."""
    report = make.report(
        same=False, only_b=("x",), ties=TieChange((("a", "b"),), ()), only_a=("y",),
        ignored=("ties", "extra names"),
    )  # fmt: skip
    levels = [(level, message) for level, _, message in commands(report)[1:]]
    assert levels == [("error", "y"), ("warning", "x"), ("warning", "a = b")]


def test_cause(diffs: dict[str, DiffReport]) -> None:
    """The notice tells the likely cause."""
    assert "; likely: all 38 names match" in commands(diffs["renamed"])[0][2]


def test_nothing_is_smuggled_in(diffs: dict[str, DiffReport]) -> None:
    """Newlines, colons and commas of names and files are escaped, percent signs too."""
    found = commands(diffs["hostile"])
    assert len(found) == 11
    assert all(line.replace("\n", "").isprintable() for line in github(diffs["hostile"]))
    assert "file=x\\n%2C%3A%3A.lock,line=3," in found[1][1]
    assert any("%250A" in message for _, _, message in found)
