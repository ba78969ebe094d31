"""The bytes of the stream, pinned for ever: a change of any of them needs another STREAM.

`python -m tests.unit.schemes.test_golden` writes the file for a new one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from paramcli.schemes import draws
from paramcli.schemes.stream import STREAM, key
from tests.unit.schemes.filled import DRAWS, filled

GOLDEN = Path(__file__).with_name("golden.json")
_PLACES = [(0, "weight", 0), (-1, "blocks.0.attn.qkv.weight", 32_765), (1 << 70, "é", 1 << 40)]


def _described(dtype: str, draw: draws.Draw, place: tuple[int, str, int]) -> dict[str, Any]:
    """Say what is drawn, its first bytes and the hash of 70,000 numbers: a block and more."""
    seed, name, start = place
    found = filled(draw, dtype, start, 70_000, key(seed, name)).tobytes()
    return {
        "dtype": dtype,
        "draw": [type(draw).__name__, *map(repr, astuple(draw))],
        "place": place,
        "first": found[:16].hex(),
        "blake2b": hashlib.blake2b(found, digest_size=16).hexdigest(),
    }


def _cases() -> list[dict[str, Any]]:
    return json.loads(GOLDEN.read_text())["drawn"] if GOLDEN.exists() else []


def test_the_file_is_of_this_stream() -> None:
    assert json.loads(GOLDEN.read_text())["stream"] == STREAM
    assert {case["dtype"] for case in _cases()} == set(draws.DTYPES)


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["blake2b"])
def test_the_bytes_are_those_of_old(case: dict[str, Any]) -> None:
    kind, *numbers = case["draw"]
    draw = getattr(draws, kind)(*map(float, numbers))
    assert _described(case["dtype"], draw, case["place"])["blake2b"] == case["blake2b"]


def _write() -> None:
    drawn = [
        _described(dtype, draw, place)
        for dtype in draws.DTYPES
        for number, draw in enumerate(DRAWS)
        for place in (_PLACES if dtype in ("float32", "float64") else [_PLACES[number % 3]])
    ]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in drawn)
    GOLDEN.write_text(f'{{"stream": "{STREAM}", "drawn": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    _write()
