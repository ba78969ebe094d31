"""The command line: each command opens, acts, renders and exits, with no logic of its own."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

import paramcli
from paramcli.errors import ParamcliError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paramcli.verbs.survey import ListReport

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="paramcli",
    help="Look into, initialize, tie and compare the parameters of neural networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """Forms of output."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    LOCK = "lock"


class Sort(StrEnum):
    """Orders of rows."""

    FILE = "file"
    NAME = "name"
    COUNT = "count"
    BYTES = "bytes"


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if wanted:
        _write([f"paramcli {paramcli.__version__}\n"])
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command(
    "list", epilog="Examples: paramcli list model.pt · paramcli list net.py:Net --arg hidden=64"
)
def list_(  # noqa: PLR0913 - one parameter for each documented option
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET…",
            help="File, directory, index, or pkg.mod:Class / file.py:Class, which runs that code "
            "(nothing else ever does). None: the target of \\[tool.paramcli] in pyproject.toml.",
            show_default=False,
        ),
    ] = None,
    *,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only names that match (glob, /regex/, module path).",
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="No names that match.", show_default=False),
    ] = None,
    sort: Annotated[Sort, typer.Option(help="Order of the rows.")] = Sort.FILE,
    tree: Annotated[
        bool, typer.Option("--tree", help="Modules with subtotals and size bars.")
    ] = False,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Levels of the tree.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="A.B", help="Pick one tree of a training checkpoint.", show_default=False
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show all trees, with full paths.")
    ] = False,
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=JSON", help="Keyword for a class target.", show_default=False),
    ] = None,
    args_file: Annotated[
        str | None,
        typer.Option(metavar="FILE.toml", help="Keywords for a class target.", show_default=False),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Default: table on a terminal, else tsv.", show_default=False
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=40, help="Cut names to fit a table of this width.", show_default=False),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> int:
    """List every tensor: name, shape, dtype, size, and which names share bytes."""

    def act() -> int:
        from paramcli.project import requests
        from paramcli.sources import open_request
        from paramcli.verbs.survey import survey

        wanted = requests(
            targets, key=key, everything=everything, arg=arg or [], args_file=args_file
        )
        verdict = 0
        for request in wanted:
            checkpoint = open_request(request)
            entries = checkpoint.entries
            if include or exclude:
                from paramcli.select import select

                entries = select(entries, include or [], exclude or [])
            if checkpoint.entries and not entries:
                raise _nothing_matches(include, exclude, [info.name for info in checkpoint.entries])
            report = survey(checkpoint, entries, order=sort.value)
            _tell(checkpoint.notes)
            if checkpoint.pickle is not None:
                _tell([checkpoint.pickle.summary()])
            heading = request.target if len(wanted) > 1 else None
            _write(_drawn(report, _Look(_chosen(format_), width, tree, depth, heading)))
            for problem in checkpoint.problems:
                _say(f"warning: {problem}")
                verdict = 1
        return verdict

    return _guarded(act, debug=debug)


def _nothing_matches(
    include: Sequence[str] | None, exclude: Sequence[str] | None, names: list[str]
) -> UsageError:
    from paramcli.select import near

    if not include:
        return UsageError(f"--exclude {' '.join(exclude or [])} leaves nothing to list")
    close = near(include[0], names)
    return UsageError(
        f"no name matches {' '.join(include)}",
        hint=f"did you mean {' or '.join(close)}?" if close else "run list without --include",
    )


def _chosen(wanted: Format | None) -> Format:
    if wanted is not None:
        return wanted
    return Format.TABLE if sys.stdout.isatty() else Format.TSV


class _Look(NamedTuple):
    """How a report is to be drawn: the options that say so, taken together."""

    form: Format
    width: int | None
    tree: bool = False
    depth: int | None = None
    heading: str | None = None


def _drawn(report: ListReport, look: _Look) -> Iterable[str]:
    """The report in the form asked for; each room is loaded only when it is chosen."""
    screen = look.width or (_terminal_width() if sys.stdout.isatty() else None)
    cut, color = look.width is not None, _color()
    if look.tree and look.form in (Format.TABLE, Format.TSV):
        from paramcli.render.tree import tree

        return tree(report, width=screen, depth=look.depth, color=color, cut=cut)
    if look.form is Format.TABLE:
        from paramcli.render.terminal import draw

        width = screen or _terminal_width()
        return draw(report, width=width, color=color, heading=look.heading, cut=cut)
    renderer: Callable[[ListReport], Iterable[str]]
    match look.form:
        case Format.JSON:
            from paramcli.render.json import as_json as renderer
        case Format.MARKDOWN:
            from paramcli.render.markdown import markdown as renderer
        case Format.GITHUB:
            from paramcli.render.github import github as renderer
        case Format.LOCK:
            from paramcli.render.lock import lock as renderer
        case _:
            from paramcli.render.tsv import tsv as renderer
    return renderer(report)


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _color() -> bool:
    """Colour only on a terminal that has not asked to be spared."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


# --- what leaves the process ------------------------------------------------------------------


def _write(chunks: Iterable[str]) -> None:
    """Write data to stdout."""
    for chunk in chunks:
        sys.stdout.write(chunk)
    sys.stdout.flush()


def _say(line: str) -> None:
    from paramcli.render.text import safe

    sys.stderr.write(safe(line) + "\n")


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        _say(f"note: {note}")


def _guarded(act: Callable[[], int], *, debug: bool) -> int:
    """Run a command; turn its errors into one line, a hint and an exit code."""
    try:
        return act()
    except ParamcliError as error:
        if debug:
            raise
        _say(f"error: {error}")
        for line in f"hint: {error.hint}".splitlines() if error.hint else ():
            _say(line)
        return error.exit_code
    except BrokenPipeError:  # a reader that has gone away has seen what it wanted
        return 0
    except OSError as error:
        return _failed(f"cannot write the output: {error.strerror}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for "differs" alone, 2, or 130."""
    for stream in (sys.stdout, sys.stderr):
        # Names may hold what the locale cannot write, and lone surrogates none can.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(app(argv, prog_name="paramcli", standalone_mode=False) or 0)
    except SystemExit:  # Typer's answer to a pipe that closed while it wrote its help
        return 0
    except OSError as error:
        return _failed(f"cannot write the output: {error.strerror}")
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # Typer's own usage errors, whose class is private to it
        if not hasattr(error, "format_message"):
            raise
        return _failed(str(error.format_message()), "run: paramcli --help")


def _failed(message: str, hint: str | None = None) -> int:
    _say(f"error: {message}")
    if hint:
        _say(f"hint: {hint}")
    return ParamcliError.exit_code


def run() -> None:
    """Run the installed command."""
    gc.disable()  # metadata is trees of tuples without cycles; collecting doubles the time
    code = main()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    # A closed stdout must not be flushed again, nor a large checkpoint be taken apart, at exit.
    os._exit(code)
