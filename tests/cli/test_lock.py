"""Locks as targets of `list` and `show`, in every form of output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

LOCK = """\
[dims]
d = 64

[tensors]
"embed.weight" = "float32[vocab, d]"
"blocks.{0..1}.fc.weight" = "float32[4*d, d]"
"norm.weight" = "bfloat16[64]"
"any" = "int8[*, ...]"
"head.weight" = "float32[vocab, d]"

[rules]
extra = "allow"
count_max = 8_000_000
bytes_max = 20_000_000
dtype = ["float32", "bfloat16", "int8"]
finite = true
tied = [
    ["head.weight", "embed.weight"],
]
"""
NOTE = "note: 3 of 6 tensors have an open shape: totals are without them\n"


@pytest.fixture
def lock(tmp_path: Path) -> str:
    path = tmp_path / "params.lock"
    path.write_text(LOCK)
    return str(path)


def test_the_table(lock: str, run: Callable[..., Outcome]) -> None:
    code, out, err = run("list", lock, "--format", "table")
    assert (code, err) == (0, NOTE)
    lines = [line.split() for line in out.splitlines()]
    assert lines[2] == ["embed.weight", "[vocab,", "64]", "float32", "?", "?", "g1"]
    assert lines[3] == ["blocks.0.fc.weight", "[256,", "64]", "float32", "16,384", "64.0", "KiB"]
    assert lines[6] == ["any", "[*,", "...]", "int8", "?", "?"]
    assert "6 tensors · 32,832 parameters · 128.1 KiB" in out
    assert out.endswith("g1  same  embed.weight = head.weight  ?\n")


def test_the_tree(lock: str, run: Callable[..., Outcome]) -> None:
    _, out, _ = run("list", lock, "--tree", "--format", "tsv")
    [row] = [line.split() for line in out.splitlines() if "vocab" in line and "embed" not in line][
        :1
    ]
    assert row[-5:] == ["float32[vocab,", "64]", "1", "?", "?"]


def test_tsv_and_markdown(lock: str, run: Callable[..., Outcome]) -> None:
    _, out, _ = run("list", lock)
    assert "\nembed.weight\t[vocab,64]\tfloat32\t\t\ttensor\tg1\n" in out
    _, out, _ = run("list", lock, "--format", "markdown")
    assert "\n| `embed.weight` | \\[vocab, 64] | float32 | ? | ? | g1 |\n" in out
    assert "\n| `any` | \\[\\*, ...] | int8 | ? | ? |  |\n" in out


def test_json_has_null_for_what_is_not_known(lock: str, run: Callable[..., Outcome]) -> None:
    _, out, _ = run("list", lock, "--format", "json")
    document = json.loads(out)
    assert document["format"] == "lock"
    rows = {row["name"]: row for row in document["tensors"]}
    one = rows["embed.weight"]
    assert (one["shape"], one["count"], one["bytes"], one["stride"]) == (
        [None, 64],
        None,
        None,
        None,
    )
    assert (one["dims"], one["group"]) == ("[vocab, d]", "g1")
    assert rows["any"]["shape"] is None
    assert rows["norm.weight"]["bytes"] == 128
    assert document["groups"] == [
        {"id": "g1", "names": ["embed.weight", "head.weight"], "relation": "same", "bytes": None}
    ]
    assert document["totals"]["count"] == 32_832


def test_a_lock_of_a_lock_is_the_same(
    lock: str, tmp_path: Path, run: Callable[..., Outcome]
) -> None:
    _, out, _ = run("list", lock, "--format", "lock")
    assert out == LOCK
    _, out, _ = run("list", lock, "--format", "lock", "--exclude", "head.*")
    part = tmp_path / "part.lock"
    part.write_text(out)
    assert "tied" not in out
    assert run("list", str(part), "--format", "lock").out == out


def test_show(lock: str, run: Callable[..., Outcome]) -> None:
    code, out, err = run("show", lock, "--format", "table")
    assert (code, err) == (0, NOTE)
    for line in ("Format      lock", "dims.d           64", "rules.count_max  8000000"):
        assert line in out
    code, out, _ = run("show", lock, "embed.weight", "--format", "table")
    assert code == 0
    for line in ("Shape        [vocab, 64]", "Count        ?", "dims         [vocab, d]"):
        assert line in out
    code, out, _ = run("show", lock, "*", "--format", "json")
    assert code == 0
    assert {row["stats"] for row in json.loads(out)["tensors"]} == {None}
    assert run("show", lock, "*", "--format", "table").code == 0
    assert run("show", lock, "*", "--format", "markdown").code == 0
    code, _, err = run("show", lock, "norm.weight", "--values")
    assert code == 2
    assert "names and shapes, but no values" in err


def test_an_error_has_its_place(lock: str, run: Callable[..., Outcome]) -> None:
    Path(lock).write_text(LOCK.replace("4*d, d", "4*d d"))
    code, out, err = run("list", lock)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"error: {lock}:6:42: an operator is missing here: +, - or *",
        "hint: in this line",
        '  "blocks.{0..1}.fc.weight" = "float32[4*d d]"',
        f"  {' ' * 41}^",
    ]
