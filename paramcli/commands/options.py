"""The options that several commands share, each written once."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from paramcli.commands.completion import complete_name, complete_tree
from paramcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "WHAT_A_TARGET_IS",
    "All",
    "Arg",
    "ArgsFile",
    "Debug",
    "Device",
    "Exclude",
    "Format",
    "FormatOption",
    "Include",
    "Key",
    "OutputFormat",
    "Report",
    "Targets",
    "To",
    "Width",
    "check_output",
    "nothing_matches",
]  # fmt: skip

_NARROWEST = 40
WHAT_A_TARGET_IS = (
    "file, directory, index, address, or pkg.mod:Class / file.py:Class, which runs that "
    "code (nothing else ever does); none: that of [tool.paramcli]"
)


class Format(StrEnum):
    """Forms of output."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    LOCK = "lock"


class Device(StrEnum):
    """Where numbers are computed."""

    CPU = "cpu"
    CUDA = "cuda"


class OutputFormat(StrEnum):
    """Formats that are not told from the name of the output."""

    DCP = "dcp"


To = Annotated[
    OutputFormat | None,
    typer.Option("--to", metavar="dcp", help="OUT is of that format", show_default=False),
]

Report = Annotated[
    str | None,
    typer.Option("--report", metavar="FILE", help=".json or .html too", show_default=False),
]

Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET…", help=WHAT_A_TARGET_IS, show_default=False),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="only these (glob, /regex/, path)",
        autocompletion=complete_name,
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="not these",
        autocompletion=complete_name,
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="A.B",
        help="one tree of several",
        autocompletion=complete_tree,
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="all trees, full paths")]
Arg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=JSON", help="class keyword", show_default=False),
]
ArgsFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="class keywords, TOML", show_default=False),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORM",
        show_default=False,
        help="table, tsv, json, markdown, …",
    ),
]


def _wide_enough(width: int | None) -> int | None:
    """Typer's own bounds would stand in the help, and push all else aside."""
    if width is not None and width < _NARROWEST:
        raise typer.BadParameter(f"{width} is less than {_NARROWEST}")
    return width


Width = Annotated[
    int | None,
    typer.Option(
        metavar="CELLS", help="cut names to fit", show_default=False,
        callback=_wide_enough,
    ),
]  # fmt: skip
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks")]


def check_output(output: str | None, options: Mapping[str, object]) -> None:
    """Raise UsageError for an option that says how to write, where nothing is written."""
    for option, given in options.items():
        if given and not output:
            raise UsageError(f"{option} wants -o OUT", hint="say where to write it")


def nothing_matches(
    include: Sequence[str] | None, exclude: Sequence[str] | None, names: Sequence[str]
) -> UsageError:
    """Say that patterns pick none of these names, and which may have been meant."""
    from paramcli.select import near

    if not include:
        return UsageError(f"--exclude {' '.join(exclude or [])} leaves nothing")
    close = near(include[0], names)
    return UsageError(
        f"no name matches {' '.join(include)}",
        hint=f"did you mean {' or '.join(close)}?" if close else "leave --include out to see all",
    )
