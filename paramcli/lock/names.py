"""Names as a lock writes them: `blocks.{0..3}.weight` is four, `{{` a brace of a name's own."""

from __future__ import annotations

import re
from itertools import product
from math import prod

from paramcli.lock.dims import Malformed

__all__ = ["MOST_CHARACTERS", "MOST_NAMES", "expand", "written"]

MOST_NAMES = 1_000_000
MOST_CHARACTERS = 1 << 28
"""Names that one lock may stand for in all, and characters that they may have together."""

_MOST_RUNS = 32  # of two numbers each they would be far too many names
_PIECE = re.compile(
    r"(?P<plain>(?:[^{}]++|\{\{|\}\})++)"
    r"|\{(?P<first>0|[1-9][0-9]{0,8})\.\.(?P<last>0|[1-9][0-9]{0,8})\}"
)


def expand(text: str, names: int = MOST_NAMES, characters: int = MOST_CHARACTERS) -> list[str]:
    """Return the names that a line stands for, the last run counting fastest.

    Raises `Malformed` for a brace that is neither doubled nor of a run, for a run that counts
    down, and where there would be more names or characters than these.
    """
    pieces: list[range | tuple[str]] = []
    position = 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            raise Malformed("a brace of the name's own is doubled; a run is {0..3}", position)
        if piece["plain"] is not None:
            pieces.append((piece["plain"].replace("{{", "{").replace("}}", "}"),))
        else:
            run = range(int(piece["first"]), int(piece["last"]) + 1)
            if not run:
                raise Malformed("a run that counts down", position)
            pieces.append(run)
        count = prod(map(len, pieces))
        if count > names or len(pieces) > 2 * _MOST_RUNS:
            raise Malformed(f"more than {MOST_NAMES:,} names in one lock", position)
        if count * len(text) > characters:
            raise Malformed("names too long to be so many", position)
        position = piece.end()
    return ["".join(map(str, choice)) for choice in product(*pieces)]


def written(name: str) -> str:
    """Write one name so that `expand` gives it back."""
    return name.replace("{", "{{").replace("}", "}}")
