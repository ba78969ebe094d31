"""The Markdown is a table whatever the names, by the word of another parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from paramcli.render.markdown import markdown
from paramcli.render.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport


def cells(document: str) -> list[list[str]]:
    """Read the text of each cell of each row, as GitHub would show it."""
    rows: list[list[str]] = []
    tokens = MarkdownIt().enable("table").parse(document)
    table = [token.type for token in tokens].index("table_open")
    for token in tokens[table:]:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


def test_table(reports: dict[str, ListReport]) -> None:
    """Numbers, kinds and groups stand under their titles, totals last."""
    rows = cells("".join(markdown(reports["transformer"])))
    assert rows[0] == ["Name", "Shape", "Dtype", "Count", "Bytes", "Kind", "Shared"]
    assert rows[1] == [
        "embed.weight", "[50257, 768]", "bfloat16", "38,597,376", "73.6 MiB", "parameter", "g1",
    ]  # fmt: skip
    assert [row[0] for row in rows[-2:]] == ["Total of 39", "Unique"]


def test_silent_columns_are_left_out(reports: dict[str, ListReport]) -> None:
    """A file that knows no kinds and shares nothing has neither column."""
    assert cells("".join(markdown(reports["lenet"])))[0][-1] == "Bytes"


@given(st.text(min_size=1), st.text("`|\\ *_<[", min_size=1, max_size=8))
def test_names_survive(
    make_entry: Callable[..., TensorInfo],
    make_report: Callable[..., ListReport],
    name: str,
    nasty: str,
) -> None:
    """Backticks, pipes, backslashes and markup in a name are shown as they are."""
    for text in (name, nasty):
        rows = cells("".join(markdown(make_report(make_entry(text), target=text))))
        assert len(rows) == 3
        assert {len(row) for row in rows} == {5}
        assert rows[1][0].strip() == safe(text).strip()
