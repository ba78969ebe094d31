"""Whether two outputs say the same: `python -m benchmarks.answers CHECK A B`.

A process of its own, since its memory would be carried over to what is timed; see timing.py.
"""

from __future__ import annotations

import json
import re
import sys
from typing import NamedTuple

__all__ = ["statistics", "tensors"]

_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_GAP = re.compile(r"\t|  +")
_SHORT = {"F32": "float32", "BF16": "bfloat16"}
_CLOSE = 1e-5
_ROUGH, _ROUGHER = 1e-3, 0.05


class _Numbers(NamedTuple):
    mean: float
    std: float
    min: float
    max: float
    nan: float


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


def statistics(path: str) -> dict[str, _Numbers]:
    """Return the statistics by name, of the JSON of `show` or of a script's lines."""
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    if not text.startswith("{"):
        rows = [line.split("\t") for line in text.splitlines()]
        return {name: _Numbers(*map(float, numbers)) for name, *numbers in rows}
    shown = json.loads(text)["tensors"]
    return {one["name"]: _Numbers(*map(one["stats"].get, _Numbers._fields)) for one in shown}


def _check_names(ours: str, theirs: str) -> None:
    mine, others = tensors(ours), tensors(theirs)
    if not mine:
        sys.exit("our side lists nothing")
    for pair in zip(mine, others, strict=False):
        if pair[0] != pair[1]:
            sys.exit(f"ours lists {pair[0]}, theirs {pair[1]}")
    if len(mine) != len(others):
        sys.exit(f"ours lists {len(mine):,} tensors, theirs {len(others):,}")


def _check_numbers(ours: str, theirs: str) -> None:
    """Hold statistics in float64 against those in float32.

    The mean of numbers around 0 is a small rest of large sums, so `std` is what it is held against.
    """
    mine, others = statistics(ours), statistics(theirs)
    if not mine or mine.keys() != others.keys():
        sys.exit(f"ours measures {len(mine):,} tensors, theirs {len(others):,}, or other names")
    for name, numbers in mine.items():
        for field, a, b in zip(_Numbers._fields, numbers, others[name], strict=True):
            size = max(abs(b), numbers.std if field == "mean" else 0)
            if not abs(a - b) <= _CLOSE * size:
                sys.exit(f"{name}: {field} is {a!r} in ours, {b!r} in theirs")


def _check_changes(ours: str, theirs: str) -> None:
    """Hold changes in float64 against those of a script in float32, whose cosine is rough."""
    with open(ours, encoding="utf-8") as stream:
        mine = {one["name"]: one for one in json.load(stream)["values"]}
    with open(theirs, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    others = {name: [float(number) for number in numbers] for name, *numbers in rows}
    if not mine or mine.keys() != others.keys():
        sys.exit(f"ours finds {len(mine):,} changed tensors, theirs {len(others):,}, or others")
    for name, (max_abs, l2, cosine) in others.items():
        one = mine[name]
        if not (
            abs(one["max_abs"] - max_abs) <= _ROUGH * max_abs
            and abs(one["l2"] - l2) <= _ROUGH * l2
            and abs(one["cosine"] - cosine) <= _ROUGHER
        ):
            sys.exit(f"{name}: ours says {one}, theirs {max_abs}, {l2}, {cosine}")


def _check_peer(ours: str, theirs: str) -> None:
    """Hold changes against the rows of `sft diff --delta`: largest, mean, relative L2, cosine."""
    with open(ours, encoding="utf-8") as stream:
        mine = {one["name"]: one for one in json.load(stream)["values"]}
    with open(theirs, encoding="utf-8") as lines:
        rows = [line.split() for line in lines if line.startswith("differ ")]
    if not mine or mine.keys() != {name for _, name, *_ in rows}:
        sys.exit(f"ours finds {len(mine):,} changed tensors, theirs {len(rows):,}, or others")
    for _, name, *numbers in rows:
        max_abs, _, relative, _ = map(float, numbers)
        one = mine[name]
        for a, b in ((one["max_abs"], max_abs), (one["rel_l2"], relative)):
            if not abs(a - b) <= _ROUGH * b:
                sys.exit(f"{name}: ours says {a}, theirs {b}")


def _check_scope(ours: str, theirs: str) -> None:
    """Hold the number of changed elements against the one that `weightscope diff` states."""
    with open(ours, encoding="utf-8") as stream:
        mine = sum(one["changed"] for one in json.load(stream)["values"])
    with open(theirs, encoding="utf-8") as stream:
        stated = re.search(r"Changed params: \*\*([0-9,]+)\*\*", stream.read())
    if stated is None or int(stated[1].replace(",", "")) != mine:
        sys.exit(f"ours finds {mine:,} changed elements, theirs {stated and stated[1]}")


_CHECKS = {
    "names": _check_names,
    "numbers": _check_numbers,
    "changes": _check_changes,
    "peer": _check_peer,
    "scope": _check_scope,
}

if __name__ == "__main__":
    _CHECKS[sys.argv[1]](sys.argv[2], sys.argv[3])
