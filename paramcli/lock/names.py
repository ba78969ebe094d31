"""Names as a lock writes them: `blocks.{0..3}.weight` is four, `{{` a brace of a name's own."""

from __future__ import annotations

import re
from itertools import product

from paramcli.lock.dims import Malformed

__all__ = ["MOST_NAMES", "expand", "written"]

MOST_NAMES = 1_000_000
"""Names that one lock may stand for in all."""

_PIECE = re.compile(
    r"(?P<plain>[^{}]+)|(?P<brace>\{\{|\}\})"
    r"|\{(?P<first>0|[1-9][0-9]{0,8})\.\.(?P<last>0|[1-9][0-9]{0,8})\}"
)


def expand(text: str, budget: int = MOST_NAMES) -> list[str]:
    """Return the names that a line stands for, the last run counting fastest.

    Raises `Malformed` for a brace that is neither doubled nor of a run, for a run that counts
    down, and where there would be more names than `budget`.
    """
    if "{" not in text and "}" not in text:
        return [text]
    pieces: list[list[str]] = []
    count, position = 1, 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            raise Malformed("a brace of the name's own is doubled; a run is {0..3}", position)
        if piece["first"]:
            first, last = int(piece["first"]), int(piece["last"])
            if first > last:
                raise Malformed("a run that counts down", position)
            count *= last + 1 - first
            if count > budget:
                raise Malformed(f"more than {MOST_NAMES:,} names in one lock", position)
            pieces.append([str(number) for number in range(first, last + 1)])
        else:
            pieces.append([piece["plain"] or piece["brace"][0]])
        position = piece.end()
    return ["".join(choice) for choice in product(*pieces)]


def written(name: str) -> str:
    """Write one name so that `expand` gives it back."""
    return name.replace("{", "{{").replace("}", "}}")
