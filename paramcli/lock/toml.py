"""The statements of a lock, one after another: TOML without inline tables, known by its place.

`tomllib` tells neither lines nor places, is quadratic in the parts of a dotted key, and takes
13 µs for a line that one regular expression reads in one. So it is given single statements, and
only those that are not written in the usual way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Statement", "misplaced", "statements"]

_DEEPEST = 8  # arrays within arrays
_ITEM = 2  # depth of an array within an array
_PARTS = 64  # of a dotted key
_SHOWN = 80  # characters of a table's name in a message
_LIKENESS = 0.5
_TABLES = ("dims", "tensors", "rules")
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f"
_END = rf"[ \t]*(?:#[^{_CONTROL}]*+)?(?:\n|\Z)"
_PART = rf"""(?:[A-Za-z0-9_-]++|"(?:[^"\\{_CONTROL}]++|\\[^\n])*+"|'[^'{_CONTROL}]*+')"""
_BLANK = re.compile(rf"(?:[ \t]*+(?:#[^{_CONTROL}]*+)?\n)++|{_END}")
_USUAL = re.compile(
    rf'[ \t]*(?:"([^"\\{_CONTROL}]++)"|([A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+))'
    rf'[ \t]*=[ \t]*"([^"\\{_CONTROL}]*+)"{_END}'
)
_OPENING = re.compile(r"[ \t]*\[")
_HEADER = re.compile(rf"[ \t]*\[[ \t]*({_PART})[ \t]*\]{_END}")
_KEY = re.compile(rf"[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART}){{0,{_PARTS - 1}}})[ \t]*")
_TOKEN = re.compile(
    r""""(?:[^"\\\n]++|\\[^\n])*+"|'[^'\n]*+'|#[^\n]*+|[\[\]{}"'\n]|[^\[\]{}"'#\n]++"""
)
_PLACE = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")


class Statement(NamedTuple):
    """`name = value` under `[table]`. Parts of a dotted key are joined to one name.

    `line` counts from 1; `at` and `value_at` are characters of the text, where key and value
    begin, and `items` the places and lines on which the arrays within an array begin.
    """

    table: str
    name: str
    value: object
    line: int
    at: int
    value_at: int
    items: tuple[tuple[int, int], ...] = ()


def misplaced(
    message: str, text: str, position: int, *, path: str, hint: str | None = None
) -> LockError:
    """Make the error for a character of the text."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return LockError(
        message,
        path=path,
        line=text.count("\n", 0, position) + 1,
        column=position - start + 1,
        text=text[start : end if end >= 0 else len(text)],
        hint=hint,
    )


def statements(text: str, path: str) -> Iterator[Statement]:
    r"""Yield the statements of a text with `\n` alone between lines. Raises `LockError`."""
    table, seen = "", set[str]()
    position, line, size = 0, 1, len(text)
    usual = _USUAL.match
    while position < size:
        found = usual(text, position)
        if found and table:
            quoted, bare, value = found.groups()
            yield Statement(
                table, quoted or bare, value, line, found.start(1 if quoted else 2), found.start(3)
            )
            position, line = found.end(), line + 1
        elif blank := _BLANK.match(text, position):
            line += text.count("\n", position, blank.end())
            position = blank.end()
        elif _OPENING.match(text, position):
            table, position = _header(text, position, path)
            if table in seen:
                message = f"a second [{table}]"
                raise misplaced(message, text, text.rindex("[", 0, position), path=path)
            seen.add(table)
            line += 1
        elif not table:
            raise misplaced(
                "a line before the first table", text, position, path=path,
                hint="[dims], [tensors] and [rules] hold all that a lock says",
            )  # fmt: skip
        else:
            statement, position = _statement(table, text, position, line, path)
            yield statement
            line += text.count("\n", statement.at, position)


def _header(text: str, position: int, path: str) -> tuple[str, int]:
    """Return the name of a table and where the next line begins."""
    found = _HEADER.match(text, position)
    name = found[1].strip("\"'") if found else ""
    if found and name in _TABLES:
        return name, found.end()
    from difflib import get_close_matches

    close = get_close_matches(name, _TABLES, 1, _LIKENESS)
    raise misplaced(
        f"a lock has no table [{name[:_SHOWN]}]" if found else "a lock has no such table",
        text, position, path=path,
        hint=f"did you mean [{close[0]}]?" if close else "it has [dims], [tensors] and [rules]",
    )  # fmt: skip


def _statement(table: str, text: str, position: int, line: int, path: str) -> tuple[Statement, int]:
    """Read one statement by `tomllib`; return it and where the next line begins."""
    import tomllib

    key = _KEY.match(text, position)
    if key is None or text[key.end() : key.end() + 1] != "=":
        at = key.end() if key else position
        message = "this is no line of a lock: name = value"
        if text[at : at + 1] == "." and key:
            message = f"a key of more than {_PARTS} parts, which can be quoted as one"
        raise misplaced(message, text, at, path=path)
    value_at = key.end() + 1
    while text[value_at : value_at + 1] in (" ", "\t"):
        value_at += 1
    end, openings = _end(text, value_at, path)
    start = key.start(1)
    statement = text[start:end]
    try:
        value: object = tomllib.loads(statement)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        message = str(error)[: place.start() if place else None]
        at = len(statement.rstrip("\n"))
        if place and place[1]:
            lines = statement.split("\n")[: int(place[1]) - 1]
            at = sum(map(len, lines)) + len(lines) + int(place[2]) - 1
        raise misplaced(message[:1].lower() + message[1:], text, start + at, path=path) from None
    except ValueError:  # more digits than Python takes
        raise misplaced("a value out of all range", text, value_at, path=path) from None
    parts = []
    while isinstance(value, dict):
        [(part, value)] = value.items()
        parts.append(part)
    items: list[tuple[int, int]] = []
    at, number = start, line
    for opening in openings:
        number += text.count("\n", at, opening)
        at = opening
        items.append((at, number))
    return Statement(table, ".".join(parts), value, line, start, value_at, tuple(items)), end


def _end(text: str, position: int, path: str) -> tuple[int, list[int]]:
    """Find where a value and its line end, and where the arrays within an array begin."""
    depth, openings = 0, list[int]()
    for token in _TOKEN.finditer(text, position):
        match token[0]:
            case "\n" if depth <= 0:
                return token.end(), openings
            case "[":
                depth += 1
                if depth > _DEEPEST:
                    raise misplaced("arrays too deep", text, token.start(), path=path)
                if depth == _ITEM:
                    openings.append(token.start())
            case "]":
                depth -= 1
            case "{":
                raise misplaced("a lock has no inline tables", text, token.start(), path=path)
            case '"' | "'":
                message = "this string does not end on its line"
                raise misplaced(message, text, token.start(), path=path)
    return len(text), openings
