"""Every failure that a user can meet, under one root, each carrying its own exit code and hint.

ParamcliError               2   what went wrong, and what to do next
├── UsageError              2   the command line asks for something that cannot be
│   └── PatternError        2   a name pattern is malformed; draws a caret under the place
├── SourceError             2   a target cannot be read: missing, damaged, foreign or hostile
│   └── LockError           2   a lock is malformed; draws a caret under the place
├── OutputError             2   an output cannot be written: no space, no permission
└── UserCodeError           2   code of the user's own (a model class) failed while it ran
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CUT_SHORT", "DAMAGED", "LockError", "OutputError", "ParamcliError", "PatternError",
    "SourceError", "UsageError", "UserCodeError", "a_few", "one_line",
]  # fmt: skip

CUT_SHORT = "the file is cut short; copy or download it again"
DAMAGED = "copy or download it again; if it stays so, it may be made to deceive"
"""Hints that several readers give."""

_FEW = 3
_BEFORE, _AROUND = 50, 76  # characters of a line that are shown


class ParamcliError(Exception):
    """The root. `str(error)` is one line that says what and where; `hint` says what next."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(one_line(message))
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[ParamcliError], args: tuple[object, ...], state: dict[str, object]
) -> ParamcliError:
    """Make an error as it was in another process, whatever its own constructor asks for."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(ParamcliError):
    """The command line asks for something that cannot be."""


class PatternError(UsageError):
    """A name pattern is malformed: `pattern` at character `position` (from 0)."""

    def __init__(self, message: str, pattern: str, position: int) -> None:
        super().__init__(message, hint=f"in the pattern\n  {pattern}\n  {' ' * position}^")
        self.pattern = pattern
        self.position = position


class SourceError(ParamcliError):
    """A target cannot be read. `path` is the file; `offset` the byte where trouble was met."""

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        where = f"{path}: " if path else ""
        at = f" (at byte {offset:,})" if offset is not None else ""
        super().__init__(f"{where}{message}{at}", hint=hint)
        self.path = path
        self.offset = offset


class LockError(SourceError):
    """A lock is malformed: at `line` and `column` (from 1) of the file `path`."""

    def __init__(  # noqa: PLR0913 - a message, and its place
        self, message: str, *, path: str, line: int, column: int, text: str, hint: str | None = None
    ) -> None:
        start = max(0, column - 1 - _BEFORE)
        before = one_line(text[start : column - 1])
        shown = before + one_line(text[column - 1 : start + _AROUND])
        caret = f"\n  {shown}\n  {' ' * len(before)}^"
        super().__init__(
            message, path=f"{path}:{line}:{column}", hint=(hint or "in this line") + caret
        )
        self.path = path
        self.line = line
        self.column = column


class OutputError(ParamcliError):
    """An output cannot be written; what stood there before still does. `path` names it."""

    def __init__(self, message: str, *, path: str, hint: str | None = None) -> None:
        super().__init__(f"{path}: {message}", hint=hint)
        self.path = path


class UserCodeError(ParamcliError):
    """A model class of the user's own failed; the original exception is the `__cause__`."""


def a_few(names: Sequence[str]) -> str:
    """Name three, and say where there are more: `a, b, c, …`."""
    return ", ".join(names[:_FEW]) + (", …" if len(names) > _FEW else "")


def one_line(message: str) -> str:
    """Escape what the text of a file may have brought into a message: it is one line."""
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
