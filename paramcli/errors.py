"""Every failure that a user can meet, under one root, each carrying its own exit code and hint.

ParamcliError               2   what went wrong, and what to do next
├── UsageError              2   the command line asks for something that cannot be
│   └── PatternError        2   a name pattern is malformed; draws a caret under the place
├── SourceError             2   a target cannot be read: missing, damaged, foreign or hostile
├── OutputError             2   an output cannot be written: no space, no permission
└── UserCodeError           2   code of the user's own (a model class) failed while it ran
"""

from __future__ import annotations

__all__ = [
    "OutputError", "ParamcliError", "PatternError", "SourceError", "UsageError", "UserCodeError",
]  # fmt: skip


class ParamcliError(Exception):
    """The root. `str(error)` is one line that says what and where; `hint` says what next."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(_one_line(message))
        self.hint = hint


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


class OutputError(ParamcliError):
    """An output cannot be written; what stood there before still does. `path` names it."""

    def __init__(self, message: str, *, path: str, hint: str | None = None) -> None:
        super().__init__(f"{path}: {message}", hint=hint)
        self.path = path


class UserCodeError(ParamcliError):
    """A model class of the user's own failed; the original exception is the `__cause__`."""


def _one_line(message: str) -> str:
    """Escape what the text of a file may have brought into a message: it is one line."""
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
