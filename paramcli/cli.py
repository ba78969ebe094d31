"""The command line: the app with its commands, and the exit code of every ending."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import paramcli
from paramcli import ranks
from paramcli.commands.streams import fail, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["app", "main", "run"]  # noqa: F822 - `app` is made when it is asked for

_COMMANDS = {
    "list": (
        "paramcli.commands.list:list_",
        ("paramcli list model.pt", "paramcli list net.py:Net --arg hidden=64"),
    ),
    "show": (
        "paramcli.commands.show:show",
        ("paramcli show model.pt", "paramcli show net.py:Net fc --values"),
    ),
    "init": (
        "paramcli.commands.init:init",
        (
            "paramcli init net.py:Net --scheme kaiming -o net.safetensors",
            "paramcli init gpt.lock --scheme gpt2 --dry-run",
        ),
    ),
    "tie": (
        "paramcli.commands.tie:tie",
        ("paramcli tie net.py:Net --probe --input 2,4", "paramcli tie m.pt a b -o t.pt"),
    ),
    "diff": (
        "paramcli.commands.diff:diff",
        ("paramcli diff base.pt tuned.pt", "paramcli diff a.pt net.py:Net"),
    ),
}
"""By its name the function of each command, imported only when it is wanted, and two examples."""


class _Command(TyperCommand):
    """A command whose help fits a screen."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Typer's, whose classes are private to it
        _help(self, ctx, formatter)


class _Group(TyperGroup):
    """The app itself."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
        _help(self, ctx, formatter)


def _help(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
    from paramcli.commands.help import page

    formatter.write("\n".join(page(command, ctx)))


def _made(names: Iterable[str]) -> typer.Typer:
    """Make the app with these commands."""
    made = typer.Typer(
        name="paramcli",
        cls=_Group,
        help="Look into, initialize, tie and compare the parameters of neural networks.",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    for name in names:
        place, examples = _COMMANDS[name]
        module, _, function = place.partition(":")
        epilog = "Examples:  " + "\n           ".join(examples)
        made.command(name, cls=_Command, epilog=epilog)(getattr(import_module(module), function))
    return made


def __getattr__(name: str) -> typer.Typer:
    """Make the whole app for those who ask for it, such as a documentation tool."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made(_COMMANDS)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if wanted:
        write([f"paramcli {paramcli.__version__}\n"])
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="show the version"),
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for "differs" alone, 2, or 130."""
    if sys.stdout is None:
        return fail("cannot write the output: stdout is closed")
    for stream in (sys.stdout, sys.stderr):
        # Names may hold what the locale cannot write, and lone surrogates none can.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        # Typer takes 6 ms to make a command: only the one that is named is made; all where none is.
        app = _made([word for word in words[:1] if word in _COMMANDS] or _COMMANDS)
        return int(app(words, prog_name="paramcli", standalone_mode=False) or 0)
    except SystemExit:  # Typer's answer to a pipe that closed while it wrote its help
        return 0
    except OSError as error:
        return fail(f"cannot write the output: {error.strerror}")
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # Typer's own usage errors, whose class is private to it
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        asked = context.command_path if context else "paramcli"
        return fail(str(error.format_message()), f"run: {asked} --help")


_STREAMS = 3  # stdin, stdout, stderr


def run() -> None:
    """Run the installed command."""
    # Before a class target loads NumPy: see paramcli.numeric.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with contextlib.suppress(OSError):
        # A file must not be opened as 2, where errors are written, because that was closed.
        while os.open(os.devnull, os.O_RDWR) < _STREAMS:
            pass
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    with ranks.silenced():
        code = main()
    if sys.stdout is None:
        os._exit(code)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    # A closed stdout must not be flushed again, nor a large checkpoint be taken apart, at exit.
    os._exit(code)
