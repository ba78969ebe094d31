"""`init` drawn: plans, results and checks on screens of three widths, as Markdown, TSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import paramcli
from paramcli.render.init.json import as_json, json_verified
from paramcli.render.init.markdown import markdown, markdown_verified
from paramcli.render.init.terminal import draw, draw_verified
from paramcli.render.init.tsv import tsv, tsv_verified
from paramcli.schemes.recipe import compose
from paramcli.verbs.initialize import (
    VerifyReport,
    initialized,
    make_plan,
    measure_drawn,
    report,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.verbs.initialize import InitReport

FILES = Path(__file__).parents[4] / "sample_models" / "files"


def planned(target: str, scheme: str, *rules: str) -> InitReport:
    return report(make_plan(paramcli.open(target), compose(scheme, None, rules)))


def made() -> InitReport:
    """A result with a tie, a flag, and a name that a screen must not obey."""
    target = paramcli.open("sample_models.shared_mlp:SharedMLP")
    plan = make_plan(target, compose("kaiming", None, ["6.weight=normal(std=0.5)"]), seed=4)
    found = report(plan, measure_drawn(plan, initialized(plan, "0"), 1), "out\x1b[31m.pt")
    first, *rest = found.tensors
    info = first.info._replace(name="evil\x1b[2J|\u202ename`.weight")
    assert first.z is not None
    beyond = first._replace(info=info, flagged=True, z=first.z._replace(std=-17.3))
    return found._replace(tensors=(beyond, *rest), notes=("a note",))


def checked() -> VerifyReport:
    names = tuple(f"blocks.{n}.weight" for n in range(60))
    return VerifyReport(
        "model\x1b.safetensors", "safetensors", "gpt2", 3, "paramcli-1", "0.1.0", names, names[:30],
        ("mask",), ("gone",), ("new\x1b",),
    )  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_screens(snapshot: Callable[[str, str], None], width: int) -> None:
    drawings = {
        "plan": draw(planned("sample_models.tiny_gpt:TinyGPT", "gpt2"), width=width),
        "whole": draw(planned("sample_models.lenet:LeNet", "orthogonal"), width=width),
        "made": draw(made(), width=width, cut=False),
        "checked": draw_verified(checked(), width=width, cut=False),
    }
    for name, drawing in drawings.items():
        text = "".join(drawing)
        assert max(map(len, text.splitlines())) <= width
        assert "\x1b" not in text
        snapshot(f"init-{name}-{width}", text)


def test_danger_is_coloured() -> None:
    text = "".join(draw(made(), width=120, color=True))
    assert "\x1b[31m-17.3" in text.replace(" ", "")
    assert "\x1b" not in "".join(draw(made(), width=120)).replace("\\x1b", "")


def test_markdown() -> None:
    text = "".join(markdown(made()))
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 8
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "beyond sampling error (1)" in text
    assert "- changed: 30: `blocks.0.weight`" in "".join(markdown_verified(checked()))


def test_tsv() -> None:
    text = "".join(tsv(made()))
    head, *rows = [line.split("\t") for line in text.splitlines()]
    assert head[:4] == ["name", "shape", "dtype", "scheme"]
    assert {len(row) for row in rows} == {len(head)}
    assert len(rows) == 8
    assert rows[0][0] == "evil\\x1b[2J|\\u202ename`.weight"
    lines = "".join(tsv_verified(checked())).splitlines()
    assert lines[0] == "status\tname"
    assert "not_checked\tmask" in lines
    assert "unexpected\tnew\\x1b" in lines


def test_json() -> None:
    found = json.loads("".join(as_json(made())))
    assert found["schema"] == "paramcli.init/1"
    first, second = found["tensors"][0], found["tensors"][4]
    assert first["name"] == "evil\x1b[2J|\u202ename`.weight"
    assert (first["flagged"], first["z"]["std"]) == (True, -17.3)
    assert second["tied_to"] == "2.weight"
    assert second["group"] == "g1"
    assert second["expected"] == {"mean": 0.0, "std": 0.5}
    assert found["output"] == "out\x1b[31m.pt"
    plan = json.loads("".join(as_json(planned("sample_models.lenet:LeNet", "torch"))))
    assert plan["output"] is None
    assert plan["tensors"][0]["actual"] == {"mean": None, "std": None}
    found = json.loads("".join(json_verified(checked())))
    assert found["verify"]["same"] is False
    assert len(found["verify"]["changed"]) == 30
