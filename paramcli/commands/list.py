"""`paramcli list`."""

# Annotations are not text here: Typer would parse each of them twice, for a millisecond.

import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from paramcli.commands.filed import Filed
from paramcli.commands.options import (
    All,
    Arg,
    ArgsFile,
    Debug,
    Exclude,
    Format,
    FormatOption,
    Include,
    Key,
    Report,
    Targets,
    Width,
    nothing_matches,
)
from paramcli.commands.streams import (
    chosen,
    color,
    guarded,
    introduce,
    opened,
    say,
    terminal_width,
    write,
)
from paramcli.errors import UsageError

if TYPE_CHECKING:
    from paramcli.verbs.safety import SafetyReport
    from paramcli.verbs.survey import ListReport

__all__ = ["list_"]


class Check(StrEnum):
    """Checks that make the exit code 1 where they fail."""

    SAFE = "safe"


class Sort(StrEnum):
    """Orders of rows."""

    FILE = "file"
    NAME = "name"
    COUNT = "count"
    BYTES = "bytes"


def list_(  # noqa: PLR0913 - one parameter for each documented option
    targets: Targets = None,
    *,
    include: Include = None,
    exclude: Exclude = None,
    sort: Annotated[
        Sort,
        typer.Option(metavar="ORDER", help="file, name, count, bytes", show_default=False),
    ] = Sort.FILE,
    tree: Annotated[bool, typer.Option("--tree", help="modules, subtotals")] = False,
    depth: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="levels of the tree", show_default=False),
    ] = None,
    check: Annotated[
        Check | None,
        typer.Option(metavar="safe", help="can loading run code?", show_default=False),
    ] = None,
    key: Key = None,
    everything: All = False,
    arg: Arg = None,
    args_file: ArgsFile = None,
    format_: FormatOption = None,
    width: Width = None,
    report_to: Report = None,
    debug: Debug = False,
) -> int:
    """List every tensor: name, shape, dtype, size, and which names share bytes."""
    filed = Filed("list", report_to)

    def act() -> int:
        from paramcli.project import requests
        from paramcli.verbs.survey import survey

        wanted = requests(
            targets, key=key, everything=everything, arg=arg or [], args_file=args_file
        )
        if format_ is Format.LOCK and len(wanted) > 1:
            raise UsageError("a lock is of one target", hint="write one for each")
        verdict = 0
        for request in wanted:
            if check:
                _only_files(request.target)
            checkpoint = opened(request)
            entries = checkpoint.entries
            if include or exclude:
                from paramcli.select import select

                entries = select(entries, include or [], exclude or [])
            if checkpoint.entries and not entries:
                raise nothing_matches(include, exclude, [info.name for info in checkpoint.entries])
            report = survey(checkpoint, entries, order=sort.value)
            if check:
                from paramcli.verbs.safety import check_safe

                report = report._replace(check=check_safe(checkpoint))
            heading = checkpoint.origin if len(wanted) > 1 else None
            about = f"{heading}: " if heading else ""
            introduce(checkpoint, about)
            filed.keep(report)
            write(_drawn(report, _Look(chosen(format_), width, tree, depth, heading)))
            for problem in checkpoint.problems:
                say(f"warning: {about}{problem}")
                verdict = 1
            if report.check is not None:
                verdict = max(verdict, _concluded(report.check, about))
        return verdict

    return guarded(act, filed, debug=debug)


def _only_files(target: str) -> None:
    """Raise UsageError for a model class: to list it is to run its code."""
    import os

    from paramcli.sources.module import looks_like_module

    if not os.path.lexists(os.path.expanduser(target)) and looks_like_module(target):
        raise UsageError(
            "--check safe is for files: a class target runs its own code",
            hint="check the checkpoint that it goes with",
        )


def _concluded(report: "SafetyReport", about: str) -> int:
    """Say what a check found; return the exit code."""
    for _, name, message in report.findings:
        say(f"not safe: {about}{name}: {message}")
    found = len(report.findings)
    say(f"check safe: {about}{f'{found:,} found; see docs/security.md' if found else 'passed'}")
    return 1 if found else 0


class _Look(NamedTuple):
    """How a report is to be drawn: the options that say so, taken together."""

    form: Format
    width: int | None
    tree: bool
    depth: int | None
    heading: str | None


def _drawn(report: "ListReport", look: _Look) -> Iterable[str]:
    """The report in the form asked for; each room is loaded only when it is chosen."""
    screen = look.width or (terminal_width() if sys.stdout.isatty() else None)
    cut = look.width is not None
    if look.tree and look.form in (Format.TABLE, Format.TSV):
        from paramcli.render.tree import tree

        return tree(report, width=screen, depth=look.depth, color=color(), cut=cut)
    if look.form is Format.TABLE:
        from paramcli.render.terminal import draw

        width = screen or terminal_width()
        return draw(report, width=width, color=color(), heading=look.heading, cut=cut)
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
            from paramcli.render.tsv import tsv

            return tsv(report, heading=look.heading)
    return renderer(report)
