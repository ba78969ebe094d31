"""`show` on screens of several widths, and that nothing paints or leaves the screen."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from paramcli.render.show.terminal import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.verbs.show import FileReport, ShowReport
    from tests.unit.render.show.conftest import Make

NAMES = ["plain", "broken", "card", "module", "complex", "bare", "empty", "file", "hostile"]
text = st.text(st.characters(), max_size=60)
number = st.none() | st.floats()
screens = st.tuples(st.integers(10, 130), st.booleans())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_screen(
    shows: dict[str, ShowReport | FileReport],
    snapshot: Callable[[str, str], None],
    name: str,
    width: int,
) -> None:
    """The drawing is what it was, and no wider than the screen."""
    drawing = "".join(draw(shows[name], width=width))
    assert max(map(cell_len, drawing.splitlines())) <= width
    snapshot(f"show-{name}-{width}", drawing)


def test_folded_screen(shows: dict[str, ShowReport | FileReport]) -> None:
    """Where nothing may be cut, long names go on below themselves."""
    for name, width, lines in (
        ("plain", 60, ["transformer.encoder.layers.", "11.self_attn.in_proj_weight"]),
        ("hostile", 36, ["optimizer.param_groups.0.", "weight_decay"]),
    ):
        drawing = "".join(draw(shows[name], width=width, cut=False, heading="a\nheading"))
        assert drawing.startswith("a\\nheading\n")
        found = [line.split()[0] for line in drawing.splitlines() if line.strip()]
        at = found.index(lines[0])
        assert found[at : at + len(lines)] == lines


@pytest.mark.parametrize("name", NAMES)
def test_colour(shows: dict[str, ShowReport | FileReport], name: str) -> None:
    """Colour changes no character."""
    painted = "".join(draw(shows[name], width=100, color=True))
    assert re.sub(r"\x1b\[[0-9]+m", "", painted) == "".join(draw(shows[name], width=100))


def test_danger_is_red(shows: dict[str, ShowReport | FileReport]) -> None:
    """NaN and infinities, and problems of a file, are red; what is sound is not."""
    painted = "".join(draw(shows["broken"], width=120, color=True))
    assert "  \x1b[31mnan\x1b[0m  " in painted
    assert "\x1b[31m1,234 NaN, 2 inf, 1 -inf from [3, 11]\x1b[0m\n" in painted
    painted = "".join(draw(shows["card"], width=120, color=True))
    assert (
        "Mean                         \x1b[31mnan (0.0125 of the finite ones)\x1b[0m\n" in painted
    )
    assert "\x1b[31m-inf\x1b[0m" in painted
    assert "\x1b[31mlayers.0.weight is" in "".join(draw(shows["hostile"], width=80, color=True))
    for sound in ("plain", "bare", "file"):
        assert "\x1b[31m" not in "".join(draw(shows[sound], width=120, color=True))


def test_root_module(make: Make) -> None:
    """The module without a name has one here."""
    assert "".join(draw(make.report(module=""), width=80)).startswith("(root)\n")


def test_overlong_texts(shows: dict[str, ShowReport | FileReport]) -> None:
    """A long text tells how long it is; long sections tell how many more there are."""
    drawing = "".join(draw(shows["hostile"], width=120))
    assert "(5,000 characters)" in drawing
    assert "… and 5 more\n" in drawing
    assert "… and 50 more\n" in drawing


@given(
    st.lists(
        st.tuples(text, st.lists(st.integers(0, 10**6), max_size=5), number, st.integers(0)),
        min_size=1,
        max_size=3,
    ),
    st.recursive(
        st.floats() | st.integers() | st.complex_numbers() | text,
        lambda inner: st.tuples(inner, st.integers(0, 9)).map(lambda pair: [pair[0]] * pair[1]),
        max_leaves=4,
    ),
    screens,
)
def test_any_report_at_any_width(
    make: Make,
    tensors: list[tuple[str, list[int], float | None, int]],
    values: object,
    screen: tuple[int, bool],
) -> None:
    """No line is wider than the screen, and every character can be printed."""
    report = make.report(
        *(
            make.shown(
                name, tuple(shape), values=values, facts={name: name}, group=name or None,
                stats=make.stats(mean=(mean or 0.0, 0.0), min=mean, nan=count, positive_inf=count,
                                 histogram=shape),
            )
            for name, shape, mean, count in tensors
        ),
        note=tensors[0][0], module=tensors[0][0],
    )  # fmt: skip
    assert_fits("".join(draw(report, width=screen[0], cut=screen[1])), screen[0])


@given(st.lists(st.tuples(text, text), min_size=1, max_size=4), screens)
def test_any_file_at_any_width(
    make: Make,
    pairs: list[tuple[str, str]],
    screen: tuple[int, bool],
) -> None:
    """The same for what stands in a file."""
    [[name, value], *_] = pairs
    report = make.file(
        target=name,
        key=name,
        producer=value,
        problems=(value,),
        metadata=dict(pairs),
        values=tuple(pairs),
    )
    assert_fits("".join(draw(report, width=screen[0], cut=screen[1])), screen[0])


def assert_fits(drawing: str, width: int) -> None:
    for line in drawing.split("\n"):
        assert line.isprintable()
        assert cell_len(line) <= max(width, 20)


def test_not_finite_scalar(make: Make) -> None:
    """A scalar that is NaN has no index to tell."""
    stats = make.stats(mean=math.nan, nan=1)
    report = make.report(make.shown("loss", stats=stats, first_bad=()))
    assert "Not finite   1 NaN\n" in "".join(draw(report, width=80))


def test_integers_are_whole(make: Make) -> None:
    """One tensor has room for all digits of its least and greatest integer."""
    stats = make.stats(min=-(2**63), max=123_456_789)
    drawing = "".join(draw(make.report(make.shown("step", stats=stats)), width=80))
    assert "Min          -9,223,372,036,854,775,808\n" in drawing
    assert "Max          123,456,789\n" in drawing
