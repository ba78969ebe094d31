"""Whether two lists name the same tensors: `python -m benchmarks.answers OURS THEIRS`.

A process of its own, since its memory would be carried over to what is timed; see timing.py.
"""

from __future__ import annotations

import re
import sys

__all__ = ["tensors"]

_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_GAP = re.compile(r"\t|  +")
_SHORT = {"F32": "float32", "BF16": "bfloat16"}


def tensors(path: str) -> list[tuple[str, str, str]]:
    """Return name, shape and dtype of the rows of a TSV, a table or a script's output, sorted."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            cells = _GAP.split(_COLORS.sub("", line).strip())
            if len(cells) > 2 and cells[1].startswith("["):  # no heading, rule or total
                name, shape, dtype = cells[:3]
                plain = dtype.removeprefix("torch.")
                rows.append((name, shape.replace(" ", ""), _SHORT.get(plain, plain)))
    return sorted(rows)


def _check(ours: str, theirs: str) -> None:
    mine, others = tensors(ours), tensors(theirs)
    if not mine:
        sys.exit("our side lists nothing")
    for pair in zip(mine, others, strict=False):
        if pair[0] != pair[1]:
            sys.exit(f"ours lists {pair[0]}, theirs {pair[1]}")
    if len(mine) != len(others):
        sys.exit(f"ours lists {len(mine):,} tensors, theirs {len(others):,}")


if __name__ == "__main__":
    _check(sys.argv[1], sys.argv[2])
