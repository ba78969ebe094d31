"""What repeats itself in a pickle, matched many times at once and taken apart by columns."""

from __future__ import annotations

import re
from array import array
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Items", "Slots", "Unusual", "columns", "decoded"]

T = TypeVar("T")

_SHORTEST, _LONGEST = 1 << 10, 1 << 18


class Unusual(Exception):  # noqa: N818 - a signal, never an error
    """What was matched is not just what a pickler writes: it must be read opcode by opcode."""


class Items:
    """Items of one form, matched where they lie one right after another.

    `reach` bytes are searched: twice as many where items filled half of them, else the least again,
    so that what is searched is never many times what is there.
    """

    def __init__(self, form: bytes) -> None:
        self._form = form + rb"|(.+)"  # what is no item is all the rest: none is sought behind it
        self.reach = _SHORTEST

    def match(self, data: bytes, pos: int) -> tuple[list[list[bytes]], int]:
        """Match items from `pos` on; return a column for each group, and the position after them.

        There are no columns where there are no items.
        """
        form = re.compile(self._form, re.DOTALL)  # here: compiling takes longer than a small file
        end = min(pos + self.reach, len(data))
        found = form.findall(data, pos, end)
        rest = len(found.pop()[-1]) if found and found[-1][-1] else 0
        filled = found and end - rest - pos > self.reach // 2
        self.reach = min(2 * self.reach, _LONGEST) if filled else _SHORTEST
        return columns(found)[:-1], end - rest

    def start_over(self) -> None:
        """Search the least again: what was matched could not be used."""
        self.reach = _SHORTEST


class Slots:
    """Memo slots, four bytes each, as one number of which each is a digit: compared all at once."""

    def __init__(self, slots: array[int]) -> None:
        self._number = int.from_bytes(slots.tobytes(), "little")
        self._ones = int.from_bytes(b"\1\0\0\0" * len(slots), "little")

    def check(self, written: bytes, by: int = 0) -> None:
        """Raise Unusual where others were written than these, or those `by` further on."""
        if int.from_bytes(written, "little") != self._number + by * self._ones:
            raise Unusual


def columns(rows: Sequence[tuple[T, ...]]) -> list[list[T]]:
    """Turn rows into columns, none of no rows; `zip` takes twice as long for thousands of rows."""
    width = len(rows[0]) if rows else 0
    flat = list(chain.from_iterable(rows))
    return [flat[at::width] for at in range(width)]


def decoded(sizes: Sequence[bytes], texts: Sequence[bytes]) -> list[str]:
    """Decode texts that have the lengths written before them, and no NUL among them."""
    if array("I", b"".join(sizes)).tolist() != list(map(len, texts)):
        raise Unusual
    return b"\0".join(texts).decode("utf-8", "surrogatepass").split("\0")
