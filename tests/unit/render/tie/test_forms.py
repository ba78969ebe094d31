"""`tie` as text: on screens of several widths, as TSV, JSON and Markdown."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from rich.cells import cell_len

from paramcli.render.tie.json import as_json
from paramcli.render.tie.markdown import markdown
from paramcli.render.tie.terminal import draw
from paramcli.render.tie.tsv import tsv

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.verbs.tie.report import TieReport

    Ties = dict[str, TieReport]

NAMES = ["shared", "probed", "changed", "hostile", "empty"]
EACH = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize("width", [60, 80, 120])
@EACH
def test_screen(ties: Ties, snapshot: Callable[[str, str], None], name: str, width: int) -> None:
    drawing = "".join(draw(ties[name], width=width))
    assert max(map(cell_len, drawing.splitlines())) <= width
    snapshot(f"tie-{name}-{width}", drawing)


@EACH
def test_colour(ties: Ties, name: str) -> None:
    """Colour changes no character, and no text of a file paints."""
    plain = "".join(draw(ties[name], width=100))
    painted = "".join(draw(ties[name], width=100, color=True))
    assert re.sub(r"\x1b\[[0-9;]+m", "", painted) == plain
    assert all(line.isprintable() for line in plain.splitlines())


def test_colour_is_for_change_and_danger(ties: Ties) -> None:
    empty = "".join(draw(ties["empty"], width=80, color=True))
    assert set(re.findall(r"\x1b\[([0-9;]+)m", empty)) <= {"0", "1"}
    assert "\x1b[31mlost\x1b[0m" in "".join(draw(ties["probed"], width=120, color=True))


def test_details_leave_nothing_out(ties: Ties) -> None:
    few = "".join(draw(ties["shared"], width=120))
    assert "… and 9 more" in few
    assert "a.29" not in few
    assert "a.29" in "".join(draw(ties["shared"], width=120, details=True))


@pytest.mark.parametrize("name", NAMES)
def test_json(ties: Ties, name: str) -> None:
    text = "".join(as_json(ties[name]))
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    report = ties[name]
    assert found["schema"] == "paramcli.tie/1"
    assert found["output"] == report.output
    assert [one["names"] for one in found["groups"]] == [list(one.names) for one in report.groups]
    for one in found["groups"]:
        assert {"id", "names", "relation", "bytes", "evidence"} <= one.keys()
        assert one["relation"] in ("same", "overlap")
    assert [one["names"] for one in found["equal"]] == [
        list(one.names) for one in report.equal or ()
    ]
    for one in found["probe"]:
        assert {"group", "write_visible", "gradient_is_sum", "max_error"} <= one.keys()
    asked = {"equal": report.equal, "probe": report.probe}
    assert found["asked"] == [what for what, was in asked.items() if was is not None]


@EACH
def test_tsv(ties: Ties, name: str) -> None:
    titles, *lines = "".join(tsv(ties[name])).split("\n")[:-1]
    assert titles == "category\tid\tnames\trelation\tbytes\ttext"
    report = ties[name]
    kinds = [line.split("\t")[0] for line in lines]
    assert {line.count("\t") for line in lines} <= {5}
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert kinds.count("group") == len(report.groups)
    assert kinds.count("equal") == len(report.equal or ())
    assert kinds.count("probe") == len(report.probe or ())
    assert len(lines) == (
        len(report.groups) + len(report.equal or ()) + len(report.changes)
        + bool(report.config) + sum(1 + len(one.survival) for one in report.probe or ())
    )  # fmt: skip


@EACH
def test_markdown(ties: Ties, name: str) -> None:
    text = "".join(markdown(ties[name]))
    assert text.startswith("**`")
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "<script>" not in outside
    assert "\x1b" not in text
