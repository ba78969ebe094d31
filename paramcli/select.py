"""Name patterns: what the words of a command line pick from the names of a checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from heapq import nsmallest
from itertools import accumulate
from typing import TYPE_CHECKING

from paramcli.errors import PatternError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from paramcli.tensors import TensorInfo

__all__ = ["Pattern", "compile_pattern", "natural", "near", "select"]

_GLOB_CHARACTERS = frozenset("*?[{")
_GLOB_TOKEN = re.compile(
    r"\{(?P<first>[0-9]{1,18})\.\.(?P<last>[0-9]{1,18})\}|\[(?P<set>!?\]?[^\]]*)\]|(?P<one>.)",
    re.DOTALL,
)
_WILD = {"*": ".*", "?": "."}
_SET_TOKEN = re.compile(r"(?P<low>.)-(?P<high>.)|(?P<one>.)", re.DOTALL)
_LONGEST_RUN = 10_000
_DIGITS = re.compile(r"[0-9]+")
_CANDIDATES = 200
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled name pattern; `text` is how it was written."""

    text: str
    _matcher: Callable[[str], object]

    def matches(self, name: str) -> bool:
        """Whether the pattern picks this name. A name written out always picks itself."""
        return self._matcher(name) is not None or name == self.text


def compile_pattern(text: str) -> Pattern:
    """Read a pattern: `/regex/` (found anywhere), a glob over the whole name, or a module path.

    In a glob `*` crosses dots, `?` is one character, `[a-z]` and `[!a-z]` are sets, `{a,b}` are
    alternatives and `{0..3}` a run of numbers. A module path picks the name itself and all names
    below it: `fc` picks `fc.weight`. Raises `PatternError` at the first wrong character.
    """
    if text.startswith("/"):
        if len(text) == 1 or not text.endswith("/"):
            raise PatternError("the regular expression has no closing /", text, len(text))
        try:
            return Pattern(text, re.compile(text[1:-1]).search)
        except re.error as error:
            position = 1 + (error.pos or 0)
            message = f"malformed regular expression: {error.msg}"
            raise PatternError(message, text, position) from error
    if _GLOB_CHARACTERS.isdisjoint(text):
        regex = re.escape(text) + r"(?:\..*)?"
    else:
        regex = "".join(_translate(text))
    return Pattern(text, re.compile(regex, re.DOTALL).fullmatch)


def select(
    entries: Iterable[TensorInfo],
    include: Iterable[str | Pattern] = (),
    exclude: Iterable[str | Pattern] = (),
) -> tuple[TensorInfo, ...]:
    """Keep, in order, what any `include` picks (all if there is none) and no `exclude` does."""
    wanted, unwanted = (
        [compile_pattern(one) if isinstance(one, str) else one for one in patterns]
        for patterns in (include, exclude)
    )
    return tuple(
        info
        for info in entries
        if (not wanted or any(pattern.matches(info.name) for pattern in wanted))
        and not any(pattern.matches(info.name) for pattern in unwanted)
    )


def near(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` of the names, and of the modules above them, that `name` may have meant."""
    from difflib import get_close_matches

    modules = (accumulate(other.split(".", _DEEPEST), "{}.{}".format) for other in names)
    known = dict.fromkeys(path for paths in modules for path in paths)
    parts = frozenset(name.split("."))

    def distance(other: str) -> tuple[int, int]:
        """Rank cheaply, since difflib would take seconds over 100,000 names."""
        return len(parts.symmetric_difference(other.split("."))), abs(len(other) - len(name))

    return get_close_matches(name, nsmallest(_CANDIDATES, known, key=distance), n)


def natural(name: str) -> tuple[str, str]:
    """Sort key under which `layer.2` comes before `layer.10`; equal only for equal names."""
    return _DIGITS.sub(_by_length, name), name


def _by_length(digits: re.Match[str]) -> str:
    """Write a number after its length, so that comparing text compares numbers of any size."""
    number = digits[0].lstrip("0")
    return f"{len(number):06}{number}"


def _translate(text: str) -> Iterator[str]:
    """Yield the pieces of the regular expression that means the same as a glob."""
    unclosed: list[int] = []
    for token in _GLOB_TOKEN.finditer(text):
        character = token["one"]
        if token["first"]:
            yield _run(text, token)
        elif token["set"] is not None:
            yield _set(text, token)
        elif character in _WILD:
            yield _WILD[character]
        elif character == "[":
            raise PatternError("this [ is never closed", text, token.start())
        elif character == "{":
            unclosed.append(token.start())
            yield "(?:"
        elif character == "," and unclosed:
            yield "|"
        elif character == "}" and unclosed:
            unclosed.pop()
            yield ")"
        else:
            yield re.escape(character)
    if unclosed:
        raise PatternError("this { is never closed", text, unclosed[-1])


def _run(text: str, token: re.Match[str]) -> str:
    first, last = sorted((int(token["first"]), int(token["last"])))
    if last - first >= _LONGEST_RUN:
        raise PatternError(f"a run of more than {_LONGEST_RUN:,} numbers", text, token.start())
    return f"(?:{'|'.join(map(str, range(first, last + 1)))})"


def _set(text: str, token: re.Match[str]) -> str:
    body = token["set"].removeprefix("!")
    start = token.end("set") - len(body)
    if not body:
        raise PatternError("an empty set matches nothing", text, token.start())
    pieces = ["[^" if token["set"] != body else "["]
    for part in _SET_TOKEN.finditer(body):
        if part["one"]:
            pieces.append(re.escape(part["one"]))
        elif part["low"] <= part["high"]:
            pieces.append(f"{re.escape(part['low'])}-{re.escape(part['high'])}")
        else:
            raise PatternError("a range that runs backwards", text, start + part.start())
    return "".join([*pieces, "]"])
