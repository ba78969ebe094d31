"""Schemes as they are written: `kaiming_normal(mode=fan_out, a=0.1)`; a caret under mistakes."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from paramcli.errors import UsageError

__all__ = ["Call", "Value", "read", "write"]

Value = float | int | str | bool | None

_TOKEN = re.compile(
    r"\s*(?:(?P<word>[^\W\d][\w.²-]*)|(?P<number>[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>[(),=]))"
)
_WORDS: dict[str, Value] = {
    "true": True, "false": False, "none": None, "null": None, "inf": float("inf"),
}  # fmt: skip


class Call(NamedTuple):
    """A scheme's name and its arguments; those without a name have "" for one."""

    name: str
    arguments: tuple[tuple[str, Value], ...]


def read(text: str) -> Call:
    """Read NAME or NAME(VALUE, KEY=VALUE, …). Raises UsageError with a caret under what is wrong.

    Values are numbers, true, false, none, words, and words in quotes.
    """
    return _Reader(text).call()


def write(name: str, arguments: tuple[tuple[str, Value], ...]) -> str:
    """Write a scheme so that `read` reads the same."""
    return name + (f"({', '.join(map(_argument, arguments))})" if arguments else "")


def _argument(argument: tuple[str, Value]) -> str:
    name, value = argument
    if value is None or isinstance(value, bool):
        return f"{name}={str(value).lower()}"
    if isinstance(value, str):
        bare = re.fullmatch(r"[^\W\d][\w.²-]*", value) and value.lower() not in _WORDS
        return f"{name}={value}" if bare else f"{name}={value!r}"
    return f"{name}={value!r}"


class _Reader:
    """One pass over a text, a token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._next = 0
        self._at = 0
        self._kind = self._token = ""
        self._advance()

    def call(self) -> Call:
        name = self._token
        if self._kind != "word":
            self._fail("a scheme starts with its name")
        self._advance()
        arguments: list[tuple[str, Value]] = []
        if self._token == "(":  # noqa: S105 - a parenthesis is no password
            self._advance()
            while self._token != ")":  # noqa: S105
                arguments.append(self._argument({given for given, _ in arguments if given}))
                if self._token == ",":  # noqa: S105
                    self._advance()
                elif self._token != ")":  # noqa: S105
                    self._fail("expected , or )")
            self._advance()
        if self._kind:
            self._fail("expected nothing more")
        return Call(name, tuple(arguments))

    def _argument(self, given: set[str]) -> tuple[str, Value]:
        kind, token, at = self._kind, self._token, self._at
        if kind not in ("word", "number", "text"):
            self._fail("expected an argument")
        self._advance()
        if self._token != "=" or kind != "word":  # noqa: S105
            if given:
                self._at = at
                self._fail("an argument without a name cannot follow one with a name")
            return "", _value(kind, token)
        if token in given:
            self._at = at
            self._fail(f"{token} is given twice")
        self._advance()
        kind, value = self._kind, self._token
        if kind not in ("word", "number", "text"):
            self._fail(f"expected a value for {token}")
        self._advance()
        return token, _value(kind, value)

    def _advance(self) -> None:
        found = _TOKEN.match(self._text, self._next)
        self._at = self._next
        if found is None:
            self._kind = self._token = ""
            rest = self._text[self._next :]
            self._at += len(rest) - len(rest.lstrip())
            if rest.strip():
                self._fail(f"{rest.strip()[0]!r} means nothing here")
            return
        self._kind = str(found.lastgroup)
        self._token = found[self._kind]
        self._at = found.start(self._kind)
        self._next = found.end()

    def _fail(self, message: str) -> NoReturn:
        raise UsageError(
            f"malformed scheme: {message}",
            hint=f"in the scheme\n  {self._text}\n  {' ' * self._at}^",
        )


def _value(kind: str, token: str) -> Value:
    if kind == "text":
        return token[1:-1]
    if kind == "word":
        return _WORDS.get(token.lower(), token)
    try:
        return int(token)
    except ValueError:
        return float(token)
