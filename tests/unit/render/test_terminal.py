"""The screen at several widths, and that no name can leave its column or paint outside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from paramcli.render.terminal import Screen, draw
from paramcli.render.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

MODELS = ["lenet", "transformer", "hostile", "empty"]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("model", MODELS)
def test_screen(
    reports: dict[str, ListReport],
    snapshot: Callable[[str, str], None],
    model: str,
    width: int,
) -> None:
    """The table is what it was, and no wider than the screen."""
    drawing = "".join(draw(reports[model], width=width))
    assert max(map(cell_len, drawing.splitlines())) <= width
    snapshot(f"list-{model}-{width}", drawing)


def test_folded_screen(
    reports: dict[str, ListReport], snapshot: Callable[[str, str], None]
) -> None:
    """Where nothing may be cut, long names go on below themselves."""
    drawing = "".join(draw(reports["transformer"], width=80, cut=False, heading="gpt.py:Net"))
    assert "…" not in drawing
    snapshot("list-transformer-80-folded", drawing)


def test_colour(reports: dict[str, ListReport]) -> None:
    """Headers are bold, borders dim, groups cyan; without colour it is the same."""
    for model in MODELS:
        painted = "".join(draw(reports[model], width=120, color=True))
        plain = "".join(draw(reports[model], width=120))
        for code in ("0", "1", "2", "36"):
            painted = painted.replace(f"\x1b[{code}m", "")
        assert painted == plain
    painted = "".join(draw(reports["transformer"], width=120, color=True))
    assert painted.startswith("\x1b[1mName ")
    assert "\n\x1b[2m──" in painted
    assert "parameter  \x1b[36mg1\x1b[0m\n" in painted


@given(
    st.lists(st.text(st.characters(), max_size=60), unique=True, min_size=1, max_size=4),
    st.integers(10, 130),
    st.booleans(),
)
def test_any_name_at_any_width(
    make_entry: Callable[..., TensorInfo],
    make_report: Callable[..., ListReport],
    names: list[str],
    width: int,
    cut: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    """No line is wider than the screen, and every character can be printed."""
    entries = [make_entry(name, shape=(9,) * len(name), key="s" * (i % 2)) for i, name in
               enumerate(names)]  # fmt: skip
    drawing = "".join(draw(make_report(*entries), width=width, cut=cut, heading=names[0]))
    for line in drawing.split("\n"):
        assert line.isprintable()
        assert cell_len(line) <= max(width, 20)


@given(st.text(st.characters(), min_size=1).map(safe), st.integers(8, 40))
def test_folding_loses_nothing(name: str, room: int) -> None:
    """The lines of a folded name, joined, are the name."""
    screen = Screen(80, cut=False)
    lines = screen.lines(name, room)
    assert "".join(lines) == name
    assert max(map(screen.cells, lines)) <= room


@pytest.mark.parametrize(
    ("name", "room", "shown"),
    [
        ("encoder.weight", 14, "encoder.weight"),
        ("encoder.attention.weight", 14, "encode….weight"),
        ("encoder.layers.11.attention.weight", 20, "encoder.…11…n.weight"),
        ("a.layers.11.experts.3.w.weight", 20, "a.layer…11…3….weight"),
        ("a.1.2.3.4.5.6.7.8.9.10.11.12.weight", 14, "a.1.2.….weight"),
        ("注意力注意力注意力", 9, "注意…意力"),
    ],
)
def test_shorten(name: str, room: int, shown: str) -> None:
    """Middles go first, and of them the numbers of layers last."""
    assert Screen(80).shorten(name, room) == shown


def test_many_groups(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Ten groups are listed, and of a large group its first names."""
    report = make_report(
        *(make_entry(f"t.{n}.{m}", shape=(2,), key=str(n)) for n in range(12) for m in range(6))
    )
    lines = "".join(draw(report, width=100)).splitlines()
    assert lines[-2].startswith("g10  same  t.9.0 = t.9.1 = t.9.2 = t.9.3 = … (6 names)")
    assert lines[-1] == "… and 2 more groups"


def test_first_rows_come_first(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """A long table is drawn as it is read, not all at once."""
    report = make_report(*(make_entry(f"layer.{number}") for number in range(20_000)))
    chunks = draw(report, width=80)
    assert sum(next(chunks).count("\n") for _ in range(3)) < 10_000
