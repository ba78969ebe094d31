"""`diff` as JSON keeps the contract's fields, and is JSON whatever stands in a report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from paramcli.render.diff.json import as_json
from tests.unit.render.diff.conftest import HOSTILE

if TYPE_CHECKING:
    from paramcli.verbs.diff.report import DiffReport

METRICS = ["max_abs", "max_rel", "l2", "rel_l2", "cosine", "changed", "changed_fraction"]


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def document(report: DiffReport) -> dict[str, Any]:
    text = "".join(as_json(report))
    assert text.isascii()
    found: dict[str, Any] = json.loads(text, parse_constant=refused)
    return found


@pytest.mark.parametrize("name", ["tuned", "renamed", "wide", "locked", "hostile", "same"])
def test_promised_fields(diffs: dict[str, DiffReport], name: str) -> None:
    """All that is promised is there, whatever the report."""
    report = diffs[name]
    found = document(report)
    assert found["schema"] == "paramcli.diff/1"
    for field in ("a", "b", "same", "equal", "not_compared"):
        assert found[field] == getattr(report, field)
    assert found["only_a"] == list(report.only_a)
    assert found["only_b"] == list(report.only_b)
    for one in found["shape"]:
        assert {"name", "a", "b"} <= one.keys()
    for one in found["dtype"]:
        assert {"name", "a", "b"} <= one.keys()
    for one in found["renamed"]:
        assert {"a", "b", "by"} <= one.keys()
    for one in found["values"]:
        assert ["name", *METRICS] == list(one)[:8]
    assert found["ties"] == {
        "only_a": [list(group) for group in report.ties.only_a],
        "only_b": [list(group) for group in report.ties.only_b],
    }


def test_fields_beside_them(diffs: dict[str, DiffReport]) -> None:
    """The rest of the report is there under its own names."""
    found = document(diffs["tuned"])
    assert found["fused"] == [
        {"whole": "blocks.0.qkv", "parts": ["blocks.0.q", "blocks.0.k", "blocks.0.v"],
         "axis": 0, "side": "b", "transposed": False}
    ]  # fmt: skip
    assert found["renamed"][0]["rules"] == [{"old": "h", "new": "layers"}]
    assert found["shape"][1]["a"] == [None, 64]
    assert len(found["modules"]) == len(diffs["tuned"].modules)
    assert found["compared_by"] == "bytes"
    assert (found["cause"], found["ignored"]) == (None, [])
    found = document(diffs["locked"])
    assert (found["lock"], found["lines"]) == ("params.lock", {"fc.weight": 7, "fc.bias": 8})
    assert found["rules"][1]["line"] is None
    assert document(diffs["renamed"])["cause"]["option"] == "--rename '_orig_mod.module.='"


def test_numbers_that_json_lacks(diffs: dict[str, DiffReport]) -> None:
    """NaN and infinities are strings, what is unknown is null."""
    by_name = {one["name"]: one for one in document(diffs["tuned"])["values"]}
    spoiled = by_name["blocks.11.attn.qkv.weight"]
    assert (spoiled["rel_l2"], spoiled["nan"], spoiled["infinite"]) == ("nan", 3, 1)
    assert spoiled["finite"]["rel_l2"] == 0.04
    assert by_name["embed.position"]["rel_l2"] == "inf"
    assert by_name["embed.position"]["finite"]["cosine"] is None
    assert all(by_name["mask"][metric] is None for metric in METRICS)


def test_hostile_names_come_back(diffs: dict[str, DiffReport]) -> None:
    """Every name reads back as it is, half a surrogate pair included."""
    assert document(diffs["hostile"])["only_a"] == list(HOSTILE)
