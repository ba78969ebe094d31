"""`diff` as Markdown is tables and code whatever the texts, by the word of another parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from paramcli.render.diff.markdown import markdown
from paramcli.render.text import safe
from tests.unit.render.diff.conftest import HOSTILE

if TYPE_CHECKING:
    from markdown_it.token import Token

    from paramcli.verbs.diff.report import DiffReport

HTML = {f"<details><summary>{title}</summary>" for title in (
    "Only in A", "Only in B", "Shape", "Dtype", "Facts", "Renamed", "Fused", "Transposed",
    "Ambiguous", "Ties", "Rules",
)} | {"</details>"}  # fmt: skip


def parsed(report: DiffReport, *, details: bool = False) -> list[Token]:
    text = "".join(markdown(report, details=details))
    return MarkdownIt().enable("table").parse(text)


def rows(tokens: list[Token]) -> list[list[list[str]]]:
    """Read the cells of each table, as GitHub would."""
    found: list[list[list[str]]] = []
    inside = False
    for token in tokens:
        inside = token.type == "table_open" or (inside and token.type != "table_close")
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and inside:
            found[-1][-1].append("".join(child.content for child in token.children or ()))
    return found


def test_summary(diffs: dict[str, DiffReport]) -> None:
    """Verdict and cause come first, then the counts, then what changed most."""
    text = "".join(markdown(diffs["renamed"]))
    lines = text.splitlines()
    assert lines[0] == "`base.pt` → `tuned.pt`"
    assert lines[2] == "**`differs: 38 renamed`**"
    assert lines[4].startswith("`likely: all 38 names match")
    counts, most, *_ = rows(parsed(diffs["tuned"]))
    assert counts[1] == ["equal", "1,030", ""]
    assert most[0] == [
        "Changed most", "Shape", "Rel L2", "Max abs", "Cosine", "Changed", "Not finite",
    ]  # fmt: skip
    assert most[1][0] == "blocks.11.attn.qkv.weight"
    assert len(most) == 9


def test_picture_is_code(diffs: dict[str, DiffReport]) -> None:
    """The picture stands in a block of code, no wider than GitHub shows."""
    [block] = [token.content for token in parsed(diffs["wide"]) if token.type == "fence"]
    assert block.startswith("Relative L2 by layer\n")
    assert max(map(len, block.splitlines())) <= 80
    assert not [token for token in parsed(diffs["same"]) if token.type == "fence"]


def test_details_are_folded_away(diffs: dict[str, DiffReport]) -> None:
    """Each kind opens on a click; alike ones are one line, unless all are wanted."""
    folded = rows(parsed(diffs["tuned"]))
    assert ["36 names", "h → layers, by rewrite"] in folded[6]
    unfolded = rows(parsed(diffs["tuned"], details=True))
    assert sum(map(len, unfolded)) > sum(map(len, folded)) + 30


@pytest.mark.parametrize("details", [False, True])
def test_nothing_breaks_out(diffs: dict[str, DiffReport], details: bool) -> None:  # noqa: FBT001
    """Names are code wherever they stand: no HTML but our own, no rows or columns but ours."""
    tokens = parsed(diffs["hostile"], details=details)
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert set(html) <= HTML
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inline} <= {
        "text", "code_inline", "strong_open", "strong_close",
    }  # fmt: skip
    for table in rows(tokens):
        assert {len(row) for row in table} == {len(table[0])}
    shapes = next(table for table in rows(tokens) if "[1, 2] → [2, 1]  x" in table[1][1])
    assert [row[0].strip() for row in shapes[1:]] == [safe(name).strip() for name in HOSTILE]
