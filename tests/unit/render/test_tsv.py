"""TSV is data: whole names, one line each, and nothing heavy is loaded to write it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from paramcli.render.tsv import tsv

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

_LIGHT = [
    "footer", "gfm", "github", "json", "lock", "markdown", "numbers", "page", "sections",
    "show.facts", "show.grid", "show.json", "show.markdown", "show.table", "show.tsv", "strict",
    "text", "tree", "tsv",
]  # fmt: skip


def test_lines(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Each field in its place; a scalar has no dimensions; no group is an empty field."""
    report = make_report(
        make_entry("conv.weight", "bfloat16", (6, 1, 5, 5), kind="parameter"),
        make_entry("steps", "int64", kind="buffer"),
        make_entry("a", shape=(2,), key="s"),
        make_entry("b", shape=(2,), key="s"),
    )
    assert "".join(tsv(report)).splitlines() == [
        "name\tshape\tdtype\tcount\tbytes\tkind\tgroup",
        "conv.weight\t[6,1,5,5]\tbfloat16\t150\t300\tparameter\t",
        "steps\t[]\tint64\t1\t8\tbuffer\t",
        "a\t[2]\tfloat32\t2\t8\ttensor\tg1",
        "b\t[2]\tfloat32\t2\t8\ttensor\tg1",
    ]


def test_names_keep_to_their_field(reports: dict[str, ListReport]) -> None:
    """No name breaks its line or its column."""
    lines = "".join(tsv(reports["hostile"])).split("\n")
    assert len(lines) == len(reports["hostile"].tensors) + 2
    assert {line.count("\t") for line in lines[:-1]} == {6}


def test_many_rows_come_in_chunks(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Ten thousand rows are a few writes."""
    report = make_report(*(make_entry(f"layer.{number}") for number in range(10_000)))
    found = list(tsv(report))
    assert len(found) < 10
    assert "".join(found).count("\n") == 10_001


def test_light() -> None:
    """Only the terminal's room loads Rich, and no renderer loads NumPy or torch."""
    for rooms, loaded in (_LIGHT, "set()"), ([*_LIGHT, "show.terminal"], "{'rich'}"):
        imports = "\n".join(f"import paramcli.render.{room}" for room in rooms)
        check = "import sys; print({'numpy', 'rich', 'torch'} & set(sys.modules))"
        command = [sys.executable, "-c", f"{imports}\n{check}"]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == loaded
