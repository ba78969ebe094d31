"""`paramcli show`."""

# Annotations are not text here: Typer would parse each of them twice, for a millisecond.

import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from paramcli.commands.completion import complete_name
from paramcli.commands.filed import Filed
from paramcli.commands.options import (
    WHAT_A_TARGET_IS,
    All,
    Arg,
    ArgsFile,
    Debug,
    Device,
    Format,
    FormatOption,
    Key,
    Report,
    Width,
)
from paramcli.commands.streams import (
    chosen,
    color,
    followed,
    guarded,
    introduce,
    opened,
    say,
    terminal_width,
    write,
)
from paramcli.errors import UsageError

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.verbs.show import FileReport, ShowReport

__all__ = ["show"]


class Check(StrEnum):
    """Checks that make the exit code 1 where they fail."""

    FINITE = "finite"


def show(  # noqa: PLR0913 - one parameter for each documented option
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help=WHAT_A_TARGET_IS, show_default=False)
    ] = "",
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN…",
            help="names, module paths, globs or /regex/; none: the file itself",
            autocompletion=complete_name,
            show_default=False,
        ),
    ] = None,
    *,
    values: Annotated[bool, typer.Option("--values", help="show the values")] = False,
    part: Annotated[
        str | None,
        typer.Option(
            "--slice", metavar="'0,:5'", help="a part, as in NumPy",
            show_default=False,
        ),
    ] = None,
    stats: Annotated[bool, typer.Option(help="compute statistics")] = True,
    check: Annotated[
        Check | None,
        typer.Option(metavar="finite", help="exit 1 for NaN, inf", show_default=False),
    ] = None,
    device: Annotated[
        Device,
        typer.Option("--device", metavar="DEVICE", help="cpu or cuda", show_default=False),
    ] = Device.CPU,
    key: Key = None,
    everything: All = False,
    arg: Arg = None,
    args_file: ArgsFile = None,
    format_: FormatOption = None,
    width: Width = None,
    report_to: Report = None,
    debug: Debug = False,
) -> int:  # fmt: skip
    """Show a file's facts, or tensors with statistics and values."""
    filed = Filed("show", report_to)

    def act() -> int:
        from paramcli.project import requests

        numbers = (bool(patterns) and (values or part is not None or stats)) or check is not None
        (request,) = requests(
            [target] if target else None,
            key=key, everything=everything, arg=arg or [], args_file=args_file, values=numbers,
        )  # fmt: skip
        checkpoint = opened(request)
        introduce(checkpoint)
        for problem in checkpoint.problems:
            say(f"warning: {problem}")
        if check is not None:
            found, read = _checked(checkpoint, patterns or [], device)
            filed.keep(found)
            return _concluded(found, read, chosen(format_), width)
        if not patterns:
            if values or part is not None:
                raise UsageError(
                    "--values and --slice want the name of a tensor or module",
                    hint="for example: paramcli show model.pt 'conv.*' --values",
                )
            from paramcli.verbs.show import show_file

            report: ShowReport | FileReport = show_file(checkpoint, _size(request.target))
        else:
            from paramcli.verbs.show import show_tensors

            report = followed(
                lambda progress: show_tensors(
                    checkpoint, patterns, statistics=stats, values=values or part is not None,
                    part=part, device=device.value, progress=progress,
                ),
            )  # fmt: skip
        filed.keep(report)
        write(_drawn(report, chosen(format_), width))
        return 0

    return guarded(act, filed, debug=debug)


def _checked(
    checkpoint: "Checkpoint", patterns: list[str], device: Device
) -> "tuple[ShowReport, int]":
    from paramcli.verbs.show import check_finite

    return followed(
        lambda progress: check_finite(checkpoint, patterns, device=device.value, progress=progress),
    )


def _concluded(report: "ShowReport", read: int, form: Format, width: int | None) -> int:
    """Show what is not finite, of so many tensors; return the exit code."""
    bad = report.tensors
    if bad or form is Format.JSON:
        write(_drawn(report, form, width))
    for shown in bad:
        say(f"not finite: {shown.info.name}, first at {list(shown.first_bad or ())}")
    say(f"check finite: {len(bad):,} of {read:,} tensors hold a NaN or an infinity")
    return 1 if bad else 0


def _size(target: str) -> int | None:
    """Bytes of the file on disk, None where the target is none."""
    path = os.path.expanduser(target)
    return os.path.getsize(path) if os.path.isfile(path) else None


def _drawn(report: "ShowReport | FileReport", form: Format, width: int | None) -> Iterable[str]:
    """The report in the form asked for; each room is loaded only when it is chosen."""
    if form is Format.TABLE:
        from paramcli.render.show.terminal import draw

        screen = width or terminal_width()
        return draw(report, width=screen, color=color(), cut=width is not None)
    renderer: Callable[[ShowReport | FileReport], Iterable[str]]
    match form:
        case Format.JSON:
            from paramcli.render.show.json import as_json as renderer
        case Format.MARKDOWN:
            from paramcli.render.show.markdown import markdown as renderer
        case Format.TSV:
            from paramcli.render.show.tsv import tsv as renderer
        case _:
            raise UsageError(
                f"show has no --format {form.value}", hint="table, tsv, json, markdown"
            )
    return renderer(report)
