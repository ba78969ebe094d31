"""The picture shows where a model moved, whatever the number of its layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from paramcli.render.diff.picture import picture, shade
from paramcli.render.page import Page
from paramcli.verbs.diff.report import Module

if TYPE_CHECKING:
    from paramcli.verbs.diff.report import DiffReport
    from tests.unit.render.diff.conftest import Make


def drawn(report: DiffReport, room: int = 80) -> list[str]:
    return "".join(picture(report, Page(), room)).splitlines()


@pytest.mark.parametrize(
    ("changed", "relative", "mark"),
    [
        (0, 0.0, "·"), (1, 0.0, "░"), (1, 9e-5, "░"), (1, 1e-4, "▒"), (1, 0.0099, "▒"),
        (1, 0.01, "▓"), (1, 0.1, "█"), (1, 5.0, "█"), (1, math.inf, "█"), (1, math.nan, "!"),
    ],
)  # fmt: skip
def test_shades(changed: int, relative: float, mark: str) -> None:
    """Each power of ten is darker, from the least change on, and NaN is none of them."""
    assert shade(Module(0, "x", 1, changed, relative)) == mark


def test_every_layer_under_its_number(make: Make, diffs: dict[str, DiffReport]) -> None:
    """A cell is blank where there is no such module, and modules without layers come below."""
    lines = drawn(diffs["tuned"])
    assert lines[2] == "blocks.*   0  1  2  3  4  5  6  7  8  9 10 11"
    assert lines[3] == "attn.qkv   ·  ·  · ░░  ·  ·  ·  ·  ·  ·  ·  !"
    assert lines[6] == "norm          ·  ·  ·  ·  ·  ·  ·  · ▒▒  ·  ·"
    assert lines[7] == "embed  █ inf"
    assert not any(line.startswith("head") for line in lines), "it did not change"
    few = make.report(modules=[Module(n, "net.*", 1, n == 2, 0.5) for n in (0, 2, 4)])
    assert drawn(few)[2:4] == ["Layer  0 2 4", "net.*  · █ ·"]


def test_many_layers_share_cells(diffs: dict[str, DiffReport]) -> None:
    """A cell shows the layer that moved most, and all fit into the room."""
    for room, each in ((60, 5), (80, 4), (120, 2)):
        lines = drawn(diffs["wide"], room)
        assert max(map(len, lines)) <= room
        assert f"{each} layers to a cell, which shows the one that changed most" in lines
        row = lines[3].split()[1]
        assert len(row) == -(-200 // each)
        assert row.count("▓") == -(-200 // each) - 190 // each
        assert set(row[: 190 // each]) == {"·"}


def test_many_modules(make: Make) -> None:
    """Those that moved most stay, in their order, and the others are counted."""
    modules = [Module(0, f"b.*.m{n}", 1, n % 2, (n % 2) * n / 100) for n in range(60)]
    lines = drawn(make.report(modules=modules))
    names = [line.split()[0] for line in lines[3:27]]
    assert names == [f"m{n}" for n in range(13, 60, 2)]
    assert lines[27] == "… and 36 modules that changed less"


def test_no_picture_of_no_change(make: Make) -> None:
    """Nothing is drawn where nothing moved."""
    assert drawn(make.report(modules=(Module(0, "b.*", 1, 0, 0.0),))) == []


def test_what_was_not_measured(make: Make) -> None:
    """Without metrics it shows only where."""
    modules = (Module(0, "b.*.x", 1, 1, math.nan), Module(1, "b.*.x", 1, 0, 0.0))
    lines = drawn(make.report(modules=modules, values=(make.change("b.0.x.w", None),)))
    assert lines[1:] == ["Changed by layer", "b.*  0 1", "x    ! ·", "· equal  ! changed"]


def test_sparse_numbers(make: Make) -> None:
    """Layers with vast numbers make no vast picture."""
    modules = [Module(n * 10**7, "b.*.x", 1, 1, 0.5) for n in range(50)]
    lines = drawn(make.report(modules=modules))
    assert len(lines) < 10
    assert max(map(len, lines)) <= 80
