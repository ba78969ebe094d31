"""A checkpoint held against a lock: what does not fit is named, with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import paramcli
from paramcli.verbs.diff import DiffReport, Options, diff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCK = """\
[dims]
d = 4
[tensors]
"embed.weight" = "float32[vocab, d]"
"head.weight" = "float32[vocab, d]"
"blocks.{0..1}.fc.weight" = "float32[4*d, d]"
"anything" = "float32[*, ...]"
[rules]
extra = "forbid"
"""


def state() -> dict[str, torch.Tensor]:
    return {
        "embed.weight": torch.ones(7, 4),
        "head.weight": torch.ones(7, 4),
        "blocks.0.fc.weight": torch.ones(16, 4),
        "blocks.1.fc.weight": torch.ones(16, 4),
        "anything": torch.ones(1, 2, 3),
    }


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., DiffReport]:
    """Hold a state dict against a lock, both ways round, which must agree."""

    def call(
        tensors: dict[str, torch.Tensor], lock: str = LOCK, options: Options | None = None
    ) -> DiffReport:
        (tmp_path / "params.lock").write_text(lock)
        torch.save(tensors, tmp_path / "model.pt")
        a, b = paramcli.open(tmp_path / "params.lock"), paramcli.open(tmp_path / "model.pt")
        report, back = diff(a, b, options), diff(b, a, options)
        assert report.same == back.same
        assert report.only_b == back.only_a
        assert report.only_a == back.only_b
        assert report.rules == back.rules
        assert report.ties.only_a == back.ties.only_b
        assert report.not_compared == back.not_compared
        assert {(one.name, one.b) for one in report.shape} == {
            (one.name, one.a) for one in back.shape
        }
        return report

    return call


def test_what_fits_is_the_same_and_its_values_are_not_compared(
    check: Callable[..., DiffReport],
) -> None:
    report = check(state())
    assert report.same
    assert (report.equal, report.not_compared) == (0, 5)
    assert report.lock is not None
    assert report.lock.endswith("params.lock")
    assert report.lines["blocks.1.fc.weight"] == 6


def test_a_name_stands_for_one_number(check: Callable[..., DiffReport]) -> None:
    report = check(state() | {"head.weight": torch.ones(8, 4)})
    (one,) = report.shape
    assert (one.name, one.a, one.b) == ("head.weight", (7, 4), (8, 4))
    assert "embed.weight" in one.why
    assert not report.same


def test_products_and_ranks(check: Callable[..., DiffReport]) -> None:
    report = check(state() | {"blocks.1.fc.weight": torch.ones(15, 4), "anything": torch.ones(())})
    assert [one.name for one in report.shape] == ["blocks.1.fc.weight", "anything"]
    assert report.shape[0].a == (16, 4)


def test_names_and_types(check: Callable[..., DiffReport]) -> None:
    tensors = state()
    del tensors["anything"]
    tensors |= {"new": torch.ones(2), "embed.weight": torch.ones(7, 4).double()}
    report = check(tensors)
    assert (report.only_a, report.only_b) == (("anything",), ("new",))
    assert [tuple(one) for one in report.dtype] == [("embed.weight", "float32", "float64")]


def test_extra_names_may_be_allowed(check: Callable[..., DiffReport]) -> None:
    lock = LOCK.replace('"forbid"', '"allow"')
    assert check(state() | {"new": torch.ones(2)}, lock).same


def test_ties_that_must_be(check: Callable[..., DiffReport]) -> None:
    lock = LOCK + 'tied = [["embed.weight", "head.weight"]]\n'
    report = check(state(), lock)
    assert report.ties.only_a == (("embed.weight", "head.weight"),)
    tied = state()
    tied["head.weight"] = tied["embed.weight"]
    assert check(tied, lock).same
    assert check(tied).same, "a lock without a word on ties asks for none"


def test_a_tied_name_that_is_absent(check: Callable[..., DiffReport]) -> None:
    lock = LOCK + 'tied = [["embed.weight", "head.weight"]]\n'
    tensors = state()
    del tensors["head.weight"]
    report = check(tensors, lock)
    assert not report.only_a
    assert report.ties.only_a == (("embed.weight", "head.weight"),)


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("count_max = 189", "count_max"),
        ("count_max = 190", None),
        ("bytes_max = 759", "bytes_max"),
        ("bytes_max = 760", None),
        ('dtype = ["bfloat16", "float16"]', "dtype"),
        ('dtype = "float32"', None),
        ("finite = true", None),
    ],
)
def test_rules(check: Callable[..., DiffReport], rule: str, broken: str | None) -> None:
    report = check(state(), f"{LOCK}{rule}\n")
    assert [one.rule for one in report.rules] == ([broken] if broken else [])
    assert report.same == (broken is None)
    assert all(one.line == 10 for one in report.rules)


def test_finite_reads_the_values(check: Callable[..., DiffReport]) -> None:
    tensors = state()
    tensors["anything"][0, 1, 2] = float("nan")
    lock = LOCK + "finite = true\n"
    (one,) = check(tensors, lock).rules
    assert one.rule == "finite"
    assert "anything at [0, 1, 2]" in one.message
    assert check(tensors, lock, Options(shapes=True)).same
    assert check(tensors).same


def test_a_prefix_before_all_names_of_a_lock(check: Callable[..., DiffReport]) -> None:
    lock = LOCK.replace("vocab", "7")
    report = check({f"module.{name}": tensor for name, tensor in state().items()}, lock)
    assert len(report.renamed) == 5
    assert not report.shape
