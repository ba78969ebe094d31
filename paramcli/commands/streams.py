"""What leaves the process: data on stdout, talk on stderr, and an exit code for every ending."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, TypeVar

from paramcli import ranks
from paramcli.commands.options import Format
from paramcli.errors import ParamcliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paramcli.checkpoint import Checkpoint
    from paramcli.commands.filed import Filed
    from paramcli.sources import Request

__all__ = [
    "Progress", "chosen", "color", "fail", "followed", "guarded", "introduce", "opened", "say",
    "terminal_width", "write",
]  # fmt: skip


def write(chunks: Iterable[str]) -> None:
    """Write data to stdout."""
    for chunk in chunks:
        sys.stdout.write(chunk)
    sys.stdout.flush()


def say(line: str) -> None:
    """Say something on stderr, in a line."""
    from paramcli.render.text import safe

    sys.stderr.write(safe(line) + "\n")


def introduce(checkpoint: Checkpoint, about: str = "") -> None:
    """Say what was picked of a checkpoint, and what its pickles asked for; `about` goes before."""
    for note in checkpoint.notes:
        say(f"note: {about}{note}")
    if checkpoint.pickle is not None:
        say(f"note: {about}{checkpoint.pickle.summary()}")
        if checkpoint.pickle.inert:
            from paramcli.verbs.safety import warnings

            for warning in warnings(checkpoint.pickle):
                say(f"warning: {about}{warning}")
    if not checkpoint.entries:
        say(f"note: {about}it holds no tensors")


def chosen(form: Format | None) -> Format:
    """Return the form of output: what was asked for, else what suits a terminal or a pipe."""
    return form or (Format.TABLE if sys.stdout.isatty() else Format.TSV)


def terminal_width() -> int:
    """Cells of a line of the terminal, or of one that could be there."""
    import shutil

    return shutil.get_terminal_size().columns


def color() -> bool:
    """Colour only on a terminal that has not asked to be spared."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def guarded(act: Callable[[], int], filed: Filed, *, debug: bool) -> int:
    """Run a command and file its report; turn errors into one line, a hint and an exit code."""

    def whole() -> int:
        filed.check()
        code = act()
        filed.write(code)
        return code

    try:
        return ranks.agreed(whole)
    except ParamcliError as error:
        _trace(debug=debug)
        filed.fail(error)
        return fail(str(error), error.hint, error.exit_code)
    except BrokenPipeError:  # a reader that has gone away has seen what it wanted
        return 0
    except OSError as error:
        _trace(debug=debug)
        return fail(f"cannot write the output: {error.strerror}")
    except MemoryError:
        _trace(debug=debug)
        return fail("there is not enough memory for this")
    except Exception as error:  # noqa: BLE001 - exit code 1 would say "differs", or "check failed"
        _trace(debug=debug)
        filed.fail(error)
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        return fail(f"paramcli itself failed: {what}", None if debug else "--debug shows where")


def _trace(*, debug: bool) -> None:
    """Show where the error that is being handled was raised, if that was asked for."""
    if debug:
        import traceback

        traceback.print_exc()


def fail(message: str, hint: str | None = None, code: int = ParamcliError.exit_code) -> int:
    """Say what went wrong and what to do next; return the exit code."""
    say(f"error: {message}")
    for line in f"hint: {hint}".splitlines() if hint else ():
        say(line)
    return code


T = TypeVar("T")

_OFTEN = 0.1
_PATIENCE = 1.0
"""Seconds between two looks of a progress line, and before the first."""


class Progress:
    """A line on stderr for work over a second, on a terminal only; it counts bytes, or `what`."""

    def __init__(self, what: str = "") -> None:
        self._what = what
        self._done = 0
        self._shown = time.monotonic() + _PATIENCE - _OFTEN
        self._began = False

    def __call__(self, done: int, total: int) -> None:
        """Count so many more as done, of all that there are, and show that now and then."""
        self._done += done
        now = time.monotonic()
        if now - self._shown < _OFTEN or not sys.stderr.isatty():
            return
        from paramcli.render.text import binary

        self._shown, self._began = now, True
        share = self._done / max(total, 1)
        count, whole = (
            f"{number:,} {self._what}" if self._what else binary(number)
            for number in (self._done, total)
        )
        sys.stderr.write(f"\r{count} of {whole} ({share:.0%})\x1b[K")
        sys.stderr.flush()

    def close(self) -> None:
        """Take the line away again."""
        if self._began:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def opened(request: Request) -> Checkpoint:
    """Open a target, shown how far it is where that takes many requests."""
    from paramcli.sources import open_request

    return followed(lambda progress: open_request(request._replace(watch=progress)), "shards")


def followed(work: Callable[[Progress], T], what: str = "") -> T:
    """Do some work, its progress shown while it lasts."""
    progress = Progress(what)
    try:
        return work(progress)
    finally:
        progress.close()
