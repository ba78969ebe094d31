"""Lists of digits as text, a legacy file's keys of storages: many items are read in one step.

See `calls`: what is not just as a pickler writes it is read opcode by opcode, and gives the same.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from paramcli.sources.pickles.columns import Items, Slots, Unusual, decoded

__all__ = ["ITEM", "TextRun", "read_texts"]

_SHORTEST = 8
# APPENDS and MARK, as picklers put them after each thousand items; digits, and their memo slot.
ITEM = rb"(?:e\()?+X(....)([0-9]++)r(....)"


class TextRun(NamedTuple):
    """Texts, the position after them, and their memo slots from `start` to `end`."""

    items: list[str]
    position: int
    start: int
    end: int

    def memo(self) -> dict[int, object]:
        """What the slots hold."""
        return dict(zip(range(self.start, self.end), self.items, strict=True))


def read_texts(items: Items, data: bytes, pos: int, fresh: int) -> TextRun | None:
    """Read the run of texts at `pos`, in a list that is being filled; None for no run."""
    columns, position = items.match(data, pos)
    if not columns or len(columns[0]) < _SHORTEST:
        return None
    sizes, raw, slots = columns
    end = fresh + len(raw)
    try:
        Slots(array("I", range(fresh, end))).check(b"".join(slots))
        return TextRun(decoded(sizes, raw), position, fresh, end)
    except (Unusual, UnicodeDecodeError, OverflowError):  # slots have four bytes
        return None
