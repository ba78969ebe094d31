"""The tree adds up, folds only what agrees, and stands any depth of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from paramcli.render.tree import tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport


@pytest.mark.parametrize("width", [60, 80, 120, None])
@pytest.mark.parametrize("model", ["lenet", "transformer", "hostile", "empty"])
def test_screen(
    reports: dict[str, ListReport],
    snapshot: Callable[[str, str], None],
    model: str,
    width: int | None,
) -> None:
    """The tree is what it was, and no wider than the screen."""
    drawing = "".join(tree(reports[model], width=width))
    if width:
        assert max(map(cell_len, drawing.splitlines())) <= width
    snapshot(f"tree-{model}-{width or 'pipe'}", drawing)


def labels(report: ListReport, depth: int | None = None) -> list[str]:
    """List the labels of a tree, without their guides."""
    rows = "".join(tree(report, depth=depth)).split("─\n")[1].splitlines()
    return [row.lstrip("│├└─ ").split()[0] for row in rows[:-1]]


def test_true_ranges(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Layers fold where names, dtypes and shapes all agree, under the numbers they have."""
    odd = {10: ("int8", (2,), "w"), 11: ("float32", (3,), "w"), 12: ("float32", (2,), "v")}
    report = make_report(
        *(
            make_entry(f"h.{number}.attn.{leaf}", dtype, shape)
            for number in (*range(13), 30, 31)
            for dtype, shape, leaf in [odd.get(number, ("float32", (2,), "w"))]
        ),
        make_entry("h.00.attn.w", "float32", (2,)),
        make_entry("h.norm.attn.w", "float32", (2,)),
    )
    assert [label for label in labels(report) if label[0].isdigit()] == [
        "0-9,30-31", "10", "11", "12", "00",
    ]  # fmt: skip
    folded = next(line for line in "".join(tree(report)).splitlines() if "0-9,30-31" in line)
    assert folded.split()[-4:-1] == ["24", "96", "B"]


def test_depth(reports: dict[str, ListReport]) -> None:
    """Levels below the one asked for are summed up, not shown."""
    assert labels(reports["lenet"], 0) == ["model.pt"]
    assert labels(reports["lenet"], 1) == ["model.pt", "conv", "fc"]
    assert labels(reports["lenet"], 2) == ["model.pt", "conv", "0", "3", "fc", "0", "2", "4"]


def test_module_that_is_a_tensor(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """A name may stand for a tensor and lead to others."""
    report = make_report(make_entry("a", shape=(2,)), make_entry("a.b", shape=(3,)))
    rows = "".join(tree(report)).splitlines()
    assert rows[3].split()[:4] == ["└─", "a", "float32[2]", "2"]


def test_deep_names(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """A thousand components neither overflow the stack nor the screen."""
    report = make_report(make_entry(".".join(["x"] * 1000)), make_entry(".".join(["x"] * 999)))
    for width in (80, None):
        lines = "".join(tree(report, width=width)).splitlines()
        assert len(lines) < 80
        assert width is None or max(map(cell_len, lines)) <= width


def test_colour_is_style_alone(reports: dict[str, ListReport]) -> None:
    """Without its codes the coloured tree is the plain one."""
    painted = "".join(tree(reports["transformer"], width=80, color=True))
    for code in ("0", "1", "2"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted.replace("\x1b[36m", "") == "".join(tree(reports["transformer"], width=80))


_NAMES = st.lists(st.sampled_from("ab0123"), min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(_NAMES, st.sampled_from([(), (2,)])), unique_by=lambda pair: pair[0]))
def test_top_level_adds_up(
    make_entry: Callable[..., TensorInfo],
    make_report: Callable[..., ListReport],
    tensors: list[tuple[str, tuple[int, ...]]],
) -> None:
    """However it folds, each tensor is counted once."""
    report = make_report(*(make_entry(name, shape=shape) for name, shape in tensors))
    rows = "".join(tree(report, depth=1)).split("─\n")[1].splitlines()[:-1]
    counts = [int(row.replace(" B", "").rstrip("█▉▊▋▌▍▎▏ ").split()[-3]) for row in rows]
    assert counts[0] == len(tensors) == sum(counts[1:])
