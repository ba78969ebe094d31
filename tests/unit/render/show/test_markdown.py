"""`show` as Markdown is tables and code whatever the texts, by the word of another parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from paramcli.render.show.markdown import markdown
from paramcli.render.text import safe

if TYPE_CHECKING:
    from paramcli.verbs.show import FileReport, ShowReport
    from tests.unit.render.show.conftest import Make

nasty = st.text("`|\\ *_<[~\n", min_size=1, max_size=8)


def tables(report: ShowReport | FileReport) -> tuple[list[list[list[str]]], list[str]]:
    """Read the cells of each table and the content of each block of code, as GitHub would."""
    found: list[list[list[str]]] = []
    blocks: list[str] = []
    inside = False
    for token in MarkdownIt().enable("table").parse("".join(markdown(report))):
        inside = token.type == "table_open" or (inside and token.type != "table_close")
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and inside:
            found[-1][-1].append("".join(child.content for child in token.children or ()))
        elif token.type == "fence":
            blocks.append(token.content)
    return found, blocks


def test_many(shows: dict[str, ShowReport | FileReport]) -> None:
    """Many tensors are one table, without the columns that say nothing."""
    [rows], _ = tables(shows["plain"])
    assert rows[0] == ["Name", "Shape", "Dtype", "Mean", "Std", "Min", "Max", "L2", "Histogram"]
    assert rows[1][:4] == ["conv.0.weight", "[6, 1, 5, 5]", "float32", "0.1234"]
    [rows], _ = tables(shows["broken"])
    assert rows[0][-2:] == ["Shared", "Flags"]
    assert rows[1][-1] == "1,234 NaN, 2 inf, 1 -inf from [3, 11]"
    assert rows[5] == ["unknown", "[7]", "quint8", *[""] * 8]


def test_one(shows: dict[str, ShowReport | FileReport]) -> None:
    """One tensor is its facts and its statistics, and its values in a block of code."""
    [facts, measured], [block] = tables(shows["card"])
    assert facts[0] == ["", "weight"]
    assert ["Stride", "[1, 4] (not contiguous)"] in facts
    assert ["Zeros", "12 (50 %), 2 of them -0.0"] in measured
    assert block == " 0.5000  -0.2500      nan\n   1e-9     -inf  12.0000\n"


def test_module(shows: dict[str, ShowReport | FileReport]) -> None:
    """The values of a module stand below its table."""
    [rows], blocks = tables(shows["module"])
    assert len(rows) == 1 + len(blocks) == 9
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80


def test_file(shows: dict[str, ShowReport | FileReport]) -> None:
    """A file is a table for itself, and one for each of what it holds."""
    found, _ = tables(shows["file"])
    assert [rows[0][0] for rows in found] == ["", "Trees", "Metadata", "Values"]
    assert found[1][1:] == [["state_dict", "30 tensors"], ["optimizer", "84 tensors"]]
    found, _ = tables(shows["hostile"])
    assert found[1][1][0] == "a|b`c"
    assert found[2][-1] == ["… and 5 more", ""]


@given(nasty, nasty | st.text())
def test_texts_survive(
    make: Make,
    name: str,
    text: str,
) -> None:
    """Backticks, pipes, backslashes and markup are shown as they are, in every place."""
    file = make.file(target=name, producer=text, metadata={name: text}, problems=(text,), key=name)
    rows = tables(file)[0][2]
    assert [cell.strip() for cell in rows[1]] == [safe(name).strip(), safe(text).strip()]
    stats = make.stats()
    one = make.shown(name, (2,), stats=stats, facts={name: text}, values=[text, name], group=name)
    for tensors, count in (((one,), 2), ((one, one), 1)):
        found, blocks = tables(make.report(*tensors, target=text, note=text, module=name))
        assert len(found) == count
        assert len(blocks) == len(tensors)
        assert {len(row) for row in found[0]} == {len(found[0][0])}
