"""`diff` on screens of several widths, and that nothing paints or leaves the screen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from paramcli.render.diff.terminal import draw
from paramcli.verbs.diff.report import (
    Cause,
    DTypeChange,
    Module,
    Renamed,
    ShapeChange,
    TieChange,
)
from tests.unit.render.diff.conftest import HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.verbs.diff.report import DiffReport
    from tests.unit.render.diff.conftest import Make

NAMES = ["tuned", "renamed", "wide", "locked", "hostile", "same"]
text = st.text(st.characters(), max_size=60)
screens = st.tuples(st.integers(10, 130), st.booleans(), st.booleans())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_screen(
    diffs: dict[str, DiffReport], snapshot: Callable[[str, str], None], name: str, width: int
) -> None:
    """The drawing is what it was, and no wider than the screen."""
    drawing = "".join(draw(diffs[name], width=width))
    assert max(map(cell_len, drawing.splitlines())) <= width
    snapshot(f"diff-{name}-{width}", drawing)


@pytest.mark.parametrize("name", NAMES)
def test_colour(diffs: dict[str, DiffReport], name: str) -> None:
    """Colour changes no character."""
    painted = "".join(draw(diffs[name], width=100, color=True))
    assert re.sub(r"\x1b\[[0-9;]+m", "", painted) == "".join(draw(diffs[name], width=100))


def test_colour_is_for_change_and_danger(diffs: dict[str, DiffReport]) -> None:
    """Where nothing changed nothing is yellow or red; NaN and broken rules are red."""
    same = "".join(draw(diffs["same"], width=80, color=True))
    assert re.findall(r"\x1b\[([0-9;]+)m", same.replace("\x1b[0m", "")) == ["1", "1"]
    tuned = "".join(draw(diffs["tuned"], width=120, color=True))
    assert "\x1b[31mnan\x1b[0m" in tuned
    assert "\x1b[33m" in tuned
    locked = "".join(draw(diffs["locked"], width=120, color=True))
    assert "\x1b[31mcount_max: 9,000,000" in locked


def test_order(diffs: dict[str, DiffReport]) -> None:
    """The cause comes first, then the summary, the kinds, what changed most, the verdict last."""
    lines = "".join(draw(diffs["renamed"], width=120)).splitlines()
    assert lines[1].startswith("likely: all 38 names match")
    assert lines[1].endswith("  (--rename '_orig_mod.module.=')")
    assert lines[-1] == "differs: 38 renamed"
    drawing = "".join(draw(diffs["tuned"], width=120))
    places = [
        drawing.index(mark)
        for mark in ("\nequal ", "\nOnly in B\n", "\nTies\n", "\nChanged most ", "\nRelative L2 ")
    ]
    assert places == sorted(places)
    assert "\n\ndiffers: 8 values, 1 only in A, 14 only in B, " in drawing


def test_worst_first(diffs: dict[str, DiffReport]) -> None:
    """NaN stands before infinity, that before numbers, and what is not known last."""
    lines = "".join(draw(diffs["tuned"], width=120)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Changed most"))
    names = [line.split()[0] for line in lines[start + 2 : start + 10]]
    assert names == [
        "blocks.11.attn.qkv.weight", "embed.position", "blocks.11.mlp.fc.weight",
        "blocks.11.mlp.proj.weight", "blocks.10.mlp.fc.weight", "blocks.10.mlp.proj.weight",
        "blocks.3.attn.qkv.weight", "mask",
    ]  # fmt: skip


def test_ten_of_a_kind_unless_details_are_wanted(diffs: dict[str, DiffReport]) -> None:
    """More than ten are counted; with details all stand there, those that are alike too."""
    drawing = "".join(draw(diffs["tuned"], width=120))
    assert "adapters.9.weight\n… and 4 more (--details shows all)\n" in drawing
    assert "\n36 names    h → layers, by rewrite\n" in drawing
    drawing = "".join(draw(diffs["tuned"], width=120, details=True))
    assert "adapters.13.weight\n" in drawing
    assert "more (--details" not in drawing
    assert "h.35.w" in drawing
    assert "w.2    float32 → float16\n" in drawing


def test_lines_of_a_lock(diffs: dict[str, DiffReport]) -> None:
    """Each difference names the line that it breaks."""
    drawing = "".join(draw(diffs["locked"], width=120))
    assert "fc.bias  params.lock:8\n" in drawing
    assert "fc.weight  [*, 64] → [10]  (2 sizes, not 1)  params.lock:7\n" in drawing
    assert "params.lock:12  count_max: 9,000,000 parameters, at most 8,000,000\n" in drawing
    assert "\ntied            head and embed are not tied\n" in drawing


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "same"),
        ({"compared_by": "crc32"}, "same (crc32)"),
        ({"compared_by": "nothing", "equal": 0, "not_compared": 38}, "same, 38 not compared"),
        (
            {"dtype": (DTypeChange("a", "float32", "float16"),), "ignored": ("dtype",)},
            "same; ignored: 1 dtype",
        ),
        (
            {"same": False, "only_a": ("x",), "only_b": ("y", "z"), "ignored": ("extra names",)},
            "differs: 1 only in A; ignored: 2 only in B",
        ),
        (
            {"ties": TieChange((("a", "b"),), ()), "ignored": ("ties",)},
            "same; ignored: 1 tie lost",
        ),
    ],
)
def test_verdict(make: Make, changes: dict[str, object], verdict: str) -> None:
    """The last line says what counts, and what was ignored."""
    assert "".join(draw(make.report(**changes), width=80)).splitlines()[-1] == verdict


def test_equality_by_checksums_says_so(make: Make) -> None:
    """What only checksums told is labelled; what was not read is no equality at all."""
    assert "equal (crc32)  38\n" in "".join(draw(make.report(compared_by="crc32"), width=80))
    drawing = "".join(draw(make.report(compared_by="nothing", equal=0, not_compared=38), width=80))
    assert "equal" not in drawing
    assert "not compared  38  values were not read\n" in drawing


def test_a_cosine_near_one(make: Make) -> None:
    """It is told how near, where it would be rounded to one."""
    drawing = "".join(draw(make.report(same=False, values=(make.change("x", 1e-3),)), width=120))
    assert " 1-5e-7 " in drawing


def test_folded_names(make: Make) -> None:
    """Where nothing may be cut every name is there whole, over several lines if need be."""
    report = make.report(same=False, only_a=HOSTILE)
    assert "layers." * 40 not in "".join("".join(draw(report, width=60)).split())
    assert "layers." * 40 in "".join("".join(draw(report, width=60, cut=False)).split())


@given(st.lists(st.tuples(text, text, st.none() | st.floats().map(abs)), max_size=3), screens)
def test_any_report_at_any_width(
    make: Make, found: list[tuple[str, str, float | None]], screen: tuple[int, bool, bool]
) -> None:
    """No line is wider than the screen, and every character can be printed."""
    names = tuple(name for name, *_ in found)
    report = make.report(
        a="".join(names), only_a=names, only_b=names,
        shape=tuple(ShapeChange(name, (None,) * 9, ()) for name in names),
        dtype=tuple(DTypeChange(name, other, name) for name, other, _ in found),
        renamed=tuple(Renamed(a, b, "prefix", ((b, a),)) for a, b, _ in found),
        ties=TieChange((names,) if names else (), ()),
        values=tuple(make.change(name, relative) for name, _, relative in found),
        modules=tuple(
            Module(number * 7 if number else None, f"{name}.*.{other}", 1, 1, relative or 0.0)
            for number, (name, other, relative) in enumerate(found)
        ),
        cause=Cause(names[0], names[0]) if names else None,
        lines=dict.fromkeys(names, 3), lock="".join(names),
    )  # fmt: skip
    width, cut, details = screen
    for line in "".join(draw(report, width=width, cut=cut, details=details)).split("\n"):
        assert line.isprintable()
        assert cell_len(line) <= max(width, 20)
