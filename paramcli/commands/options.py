"""The options that several commands share, each written once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = [
    "WHAT_A_TARGET_IS",
    "All",
    "Arg",
    "ArgsFile",
    "Debug",
    "Format",
    "FormatOption",
    "Key",
    "Targets",
    "Width",
]  # fmt: skip

WHAT_A_TARGET_IS = (
    "File, directory, index, lock, or pkg.mod:Class / file.py:Class, which runs that code (nothing "
    "else ever does). None: the target of \\[tool.paramcli] in pyproject.toml."
)


class Format(StrEnum):
    """Forms of output."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    LOCK = "lock"


Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET…", help=WHAT_A_TARGET_IS, show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="A.B", help="Pick one tree of a training checkpoint.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Show all trees, with full paths.")]
Arg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=JSON", help="Keyword for a class target.", show_default=False),
]
ArgsFile = Annotated[
    str | None,
    typer.Option(metavar="FILE.toml", help="Keywords for a class target.", show_default=False),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="Default: table on a terminal, else tsv.", show_default=False),
]
Width = Annotated[
    int | None,
    typer.Option(min=40, help="Cut names to fit a table of this width.", show_default=False),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
