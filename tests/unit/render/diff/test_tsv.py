"""`diff` as TSV: one difference a line, whole names, full precision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.render.diff.tsv import tsv
from paramcli.render.text import safe
from tests.unit.render.diff.conftest import HOSTILE

if TYPE_CHECKING:
    from paramcli.verbs.diff.report import DiffReport


def rows(report: DiffReport) -> list[dict[str, str]]:
    """Read what was written; every line has all columns."""
    titles, *lines = "".join(tsv(report)).split("\n")[:-1]
    names = titles.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def test_columns(diffs: dict[str, DiffReport]) -> None:
    """The titles are there even where nothing differs."""
    assert "".join(tsv(diffs["same"])) == (
        "category\tname_a\tname_b\ta\tb\t"
        "max_abs\tmax_rel\tl2\trel_l2\tcosine\tchanged\tchanged_fraction\tline\n"
    )


def test_each_difference_is_a_line(diffs: dict[str, DiffReport]) -> None:
    """Nothing is folded, and nothing left out."""
    report = diffs["tuned"]
    found = rows(report)
    kinds = [row["category"] for row in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "only_a": 1, "only_b": 14, "shape": 2, "dtype": 4, "fact": 1, "renamed": 38, "fused": 1,
        "transposed": 2, "ambiguous": 1, "value": 8, "tie_a": 1, "tie_b": 1,
    }  # fmt: skip
    by_kind = {row["category"]: row for row in found}
    assert (by_kind["shape"]["a"], by_kind["shape"]["b"]) == ("[*, 64]", "[512, 64]")
    assert (by_kind["fact"]["a"], by_kind["fact"]["b"]) == ("kind=buffer", "kind=parameter")
    fused = by_kind["fused"]
    assert fused["name_a"] == "blocks.0.q + blocks.0.k + blocks.0.v"
    assert (fused["name_b"], fused["a"]) == ("blocks.0.qkv", "axis 0")
    assert by_kind["tie_a"]["name_a"] == "head.weight = embed.weight"
    assert by_kind["tie_b"]["name_b"] == "a = b = c = d = e"


def test_numbers_are_exact(diffs: dict[str, DiffReport]) -> None:
    """They read back the same; what is not known is empty."""
    report = diffs["tuned"]
    values = [row for row in rows(report) if row["category"] == "value"]
    for row, change in zip(values, report.values, strict=True):
        assert row["name_a"] == change.name
        if change.metrics is None:
            assert row["rel_l2"] == row["changed"] == ""
        elif math.isnan(change.metrics.rel_l2):
            assert row["rel_l2"] == "nan"
        else:
            assert float(row["rel_l2"]) == change.metrics.rel_l2
            assert int(row["changed"]) == change.metrics.changed


def test_lines_of_a_lock(diffs: dict[str, DiffReport]) -> None:
    """Each difference names the line of the lock that it breaks."""
    found = [(row["category"], row["name_a"], row["line"]) for row in rows(diffs["locked"])]
    assert found == [
        ("only_a", "fc.bias", "params.lock:8"),
        ("shape", "fc.weight", "params.lock:7"),
        ("rule", "", "params.lock:12"),
        ("rule", "", ""),
    ]


def test_hostile_names_stay_in_their_fields(diffs: dict[str, DiffReport]) -> None:
    """Tabs, newlines and escapes are written out."""
    text = "".join(tsv(diffs["hostile"]))
    assert text.replace("\n", "").replace("\t", "").isprintable()
    names = [row["name_a"] for row in rows(diffs["hostile"]) if row["category"] == "only_a"]
    assert names == [safe(name) for name in HOSTILE]
