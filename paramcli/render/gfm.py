"""Pieces of GitHub Markdown: text that stays text, and the rows of a table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.render.text import safe, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.tensors import TensorInfo

__all__ = ["block", "cell", "code", "row", "shape_cell"]

_BACKTICKS = re.compile("`+")


def code(text: str) -> str:
    """Put text into a code span that outlasts its own backticks.

    https://github.github.com/gfm/#code-spans
    """
    text = safe(text)
    fence = _fence(text, 1)
    if not text or text[0] in "` " or text[-1] in "` ":
        text = f" {text} "  # GFM takes one space off each side
    return f"{fence}{text}{fence}"


def cell(text: str) -> str:
    """Put text into a code span within a table: GFM splits cells before it reads code spans."""
    return code(text).replace("|", "\\|")


def block(text: str) -> str:
    """Put whole lines into a block of code that outlasts their own backticks."""
    fence = _fence(text, 3)
    return f"{fence}text\n{text}{fence}\n"


def _fence(text: str, least: int) -> str:
    return "`" * max(least, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))


def shape_cell(info: TensorInfo) -> str:
    r"""Write a shape: `\[6, 1]`, since `[x](…)` and `[^1]` would be links, `*` emphasis."""
    return shape_of(info).replace("[", "\\[").replace("*", "\\*").replace("_", "\\_")


def row(cells: Sequence[str]) -> str:
    """Lay cells already written as a row of a table."""
    return f"| {' | '.join(cells)} |\n"
