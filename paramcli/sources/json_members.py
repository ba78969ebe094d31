"""The members of a JSON object one by one, so that brackets without end become no objects.

Strict as the reference reader of safetensors is: no NaN, no half of a character, no key unseen.
Positions are those of characters in the whole text. All of it raises ValueError for what is not
JSON, and RecursionError for what is nested too deep.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pairs", "object_at", "text_at", "value_at"]

_WINDOWS = (1 << 10, 1 << 15, 1 << 20)
"""Characters that a value may take: it is tried with few first."""
_space = re.compile(r"[ \t\n\r]*").match


class Pairs(list[tuple[str, object]]):
    """A JSON object as it was written, duplicate keys included."""


def object_at(text: str, pos: int, member: Callable[[str, int], int]) -> int:
    """Read the object at `pos`, and return where it ends.

    `member` gets each name and where its value begins, and returns where that ends.
    """
    pos = _after(text, pos, "{")
    if text.startswith("}", pos):
        return pos + 1
    while True:
        name, pos = text_at(text, pos)
        pos = _skip(text, member(name, _after(text, _skip(text, pos), ":")))
        if text.startswith("}", pos):
            return pos + 1
        pos = _after(text, pos, ",")


def text_at(text: str, pos: int) -> tuple[str, int]:
    """Read the string at `pos`, and where it ends."""
    if not text.startswith('"', pos):
        raise json.JSONDecodeError("Expecting a string", text, pos)
    found, end = scanstring(text, pos + 1)
    return _whole(found), end


def value_at(text: str, pos: int) -> tuple[object, int]:
    """Read the value at `pos`, objects as `Pairs`, and where it ends, after a million at most."""
    for size in _WINDOWS:
        window = text[pos : pos + size]
        try:
            found, end = _DECODER.raw_decode(window)
        except ValueError as error:
            if len(window) < size:
                raise ValueError(f"{error} of the value at character {pos:,}") from None
        else:
            if "\\u" in window[:end]:
                _whole(json.dumps(found, ensure_ascii=False))
            return found, pos + end
    raise ValueError(f"the value at character {pos:,} is longer than a tensor can need")


def _after(text: str, pos: int, mark: str) -> int:
    if not text.startswith(mark, pos):
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, pos)
    return _skip(text, pos + 1)


def _skip(text: str, pos: int) -> int:
    found = _space(text, pos)
    return found.end() if found else pos


def _whole(text: str) -> str:
    """Refuse what JSON can say and UTF-8 cannot: half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text[:80]!r} has half a character") from None
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(digits: str) -> int:
    return int(digits) if digits != "-0" else -1  # no size for the reference reader either


_DECODER = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=_number, parse_constant=_no_constant)
