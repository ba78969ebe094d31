"""What repeats itself in a pickle, matched many times at once and taken apart by columns."""

from __future__ import annotations

import re
from array import array
from itertools import accumulate, chain, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Items", "Unusual", "check_slots", "decoded"]

_SHORTEST, _LONGEST = 1 << 10, 1 << 18


class Unusual(Exception):  # noqa: N818 - a signal, never an error
    """What was matched is not just what a pickler writes: it must be read opcode by opcode."""


class Items:
    """Items of one form, matched where they lie one right after another.

    `reach` bytes are searched: twice as many where items filled half of them, else the least again,
    so that what is searched is never many times what is there.
    """

    def __init__(self, form: bytes) -> None:
        self._form = form
        self.reach = _SHORTEST

    def match(self, data: bytes, pos: int) -> list[tuple[bytes, ...]]:
        """Match items from `pos` on; return a column for each group, the first an item's whole."""
        form = re.compile(self._form, re.DOTALL)  # here: compiling takes longer than a small file
        columns = list(zip(*form.findall(data, pos, pos + self.reach), strict=True))
        if columns and not data.startswith(b"".join(columns[0]), pos):
            starts = accumulate(map(len, columns[0]), initial=pos)
            joined = map(data.startswith, columns[0], starts)
            together = sum(1 for _ in takewhile(bool, joined))
            columns = [column[:together] for column in columns] if together else []
        filled = bool(columns) and sum(map(len, columns[0])) > self.reach // 2
        self.reach = min(2 * self.reach, _LONGEST) if filled else _SHORTEST
        return columns

    def start_over(self) -> None:
        """Search the least again: what was matched could not be used."""
        self.reach = _SHORTEST


def check_slots(columns: Sequence[Sequence[bytes]], fresh: int) -> int:
    """Return the memo slot past those that items write, one after another from `fresh` on.

    A column holds what each item writes of one slot: four bytes, or none. Raises Unusual where
    others are written.
    """
    joined, width = list(map(b"".join, columns)), 4 * len(columns[0])
    end = fresh + sum(map(len, joined)) // 4
    if end > 1 << 32:
        raise Unusual
    full = [column for column in joined if column]
    if all(len(column) == width for column in full):  # every item writes as many
        for place, column in enumerate(full):
            if array("I", column) != array("I", range(fresh + place, end, len(full))):
                raise Unusual
    else:
        written = b"".join(chain.from_iterable(zip(*columns, strict=True)))
        if written != array("I", range(fresh, end)).tobytes():
            raise Unusual
    return end


def decoded(sizes: Sequence[bytes], texts: Sequence[bytes]) -> list[str]:
    """Decode texts that have the lengths written before them, and no NUL among them."""
    if array("I", b"".join(sizes)).tolist() != list(map(len, texts)):
        raise Unusual
    return b"\0".join(texts).decode("utf-8", "surrogatepass").split("\0")
