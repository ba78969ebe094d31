"""`paramcli diff`."""

# Annotations are not text here: Typer would parse each of them twice, for a millisecond.

import contextlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from paramcli.commands.filed import Filed
from paramcli.commands.options import (
    All,
    Arg,
    ArgsFile,
    Debug,
    Device,
    Exclude,
    Format,
    FormatOption,
    Include,
    Report,
    Width,
    nothing_matches,
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
    from paramcli.numeric.change import Tolerance
    from paramcli.sources import Request
    from paramcli.verbs.diff import DiffReport

__all__ = ["diff"]

_SIDES = 2


class Metrics(StrEnum):
    """What is computed of values that differ."""

    ALL = "all"
    NONE = "none"


def diff(  # noqa: PLR0913 - one parameter for each documented option
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", show_default=False,
            help="file, directory, index, address, or file.py:Class, which runs that code "
            "(nothing else ever does)",
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", show_default=False,
            help="the same; none: that of [tool.paramcli]",
        ),
    ] = "",
    *,
    shapes: Annotated[bool, typer.Option("--shapes", help="read no values")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="zips by their CRC-32")] = False,
    atol: Annotated[
        float | None,
        typer.Option(min=0, metavar="F", help="absolute tolerance", show_default=False),
    ] = None,
    rtol: Annotated[
        float | None, typer.Option(min=0, metavar="F", help="relative to B", show_default=False)
    ] = None,
    metrics: Annotated[
        Metrics,
        typer.Option(metavar="WHICH", help="all or none", show_default=False),
    ] = Metrics.ALL,
    include: Include = None,
    exclude: Exclude = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW", help="'module.=', 'h=layers'", show_default=False
        ),
    ] = None,
    ignore_dtype: Annotated[
        bool, typer.Option("--ignore-dtype", help="compare values alone")
    ] = False,
    ignore_ties: Annotated[bool, typer.Option("--ignore-ties", help="ties may differ")] = False,
    subset: Annotated[bool, typer.Option("--subset", help="B may have more names")] = False,
    device: Annotated[
        Device,
        typer.Option("--device", metavar="DEVICE", help="cpu or cuda", show_default=False),
    ] = Device.CPU,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="A.B", help="of both; twice: each", show_default=False),
    ] = None,
    everything: All = False,
    arg: Arg = None,
    args_file: ArgsFile = None,
    details: Annotated[bool, typer.Option("--details", help="leave nothing out")] = False,
    format_: FormatOption = None,
    width: Width = None,
    report_to: Report = None,
    debug: Debug = False,
) -> int:  # fmt: skip
    """Compare names, shapes, types, ties and values. Exits 1 where they differ."""
    filed = Filed("diff", report_to)

    def act() -> int:
        form = chosen(format_)
        if form is Format.LOCK:
            raise UsageError(
                "diff has no --format lock",
                hint="table, tsv, json, markdown, github; list --format lock writes a lock",
            )
        if quick and (shapes or atol is not None or rtol is not None):
            raise UsageError(
                "--quick compares checksums, so it goes with neither --shapes nor a tolerance"
            )
        from paramcli.verbs.diff import How, Options
        from paramcli.verbs.diff import diff as compare
        from paramcli.verbs.diff.names import parse_rename

        options = Options(
            shapes=shapes,
            how=How(
                quick=quick, metrics=metrics is Metrics.ALL, tolerance=_tolerance(atol, rtol),
                device=device.value,
            ),
            include=include or [], exclude=exclude or [],
            renames=[parse_rename(one) for one in rename or []],
            ignore_dtype=ignore_dtype, ignore_ties=ignore_ties, subset=subset,
        )  # fmt: skip
        wanted = _requests([a, b], key or [], everything=everything, arg=arg, args_file=args_file)
        sides = [opened(request) for request in wanted]
        for side, checkpoint in zip("AB", sides, strict=True):
            introduce(checkpoint, f"{side}: ")
            for problem in checkpoint.problems:
                say(f"warning: {side}: {problem}")
        _check_selection(sides, include, exclude)
        first, second = sides
        report = followed(lambda progress: compare(first, second, options, progress=progress))
        if not shapes:
            _tell_what_is_empty(sides)
        filed.keep(report)
        with contextlib.suppress(BrokenPipeError):  # the verdict stands, read or not
            write(_drawn(report, form, width, details=details))
        if form is Format.TSV:
            _conclude(report)
        return 0 if report.same else 1

    return guarded(act, filed, debug=debug)


def _tolerance(atol: float | None, rtol: float | None) -> "Tolerance | None":
    if atol is None and rtol is None:
        return None
    from paramcli.numeric.change import Tolerance

    tolerance = Tolerance(atol or 0.0, rtol or 0.0)
    if any(bound != bound for bound in tolerance):  # noqa: PLR0124 - NaN, which no bound refuses
        raise UsageError("a tolerance that is NaN makes all things unequal")
    return tolerance


def _requests(
    targets: Sequence[str],
    key: Sequence[str],
    *,
    everything: bool,
    arg: list[str] | None,
    args_file: str | None,
) -> "list[Request]":
    """Name both sides; the project's target is B where none is given."""
    from paramcli.project import requests

    if len(key) > _SIDES:
        raise UsageError(
            f"--key is given {len(key)} times, for two targets", hint="once for both, or once each"
        )
    keys = [one or None for one in key] or [None]
    found: list[Request] = []
    for target, tree in zip(targets, (keys[0], keys[-1]), strict=True):
        try:
            found += requests(
                [target] if target or not found else None,
                key=tree, everything=everything, arg=arg or [], args_file=args_file,
            )  # fmt: skip
        except UsageError as error:
            if target or not found:
                raise
            raise UsageError(
                f"diff wants two targets: {error}",
                hint="for example: paramcli diff base.pt tuned.pt",
            ) from None
    return found


def _check_selection(
    sides: "Sequence[Checkpoint]", include: list[str] | None, exclude: list[str] | None
) -> None:
    """Raise UsageError where a pattern leaves nothing to compare: that would be the same."""
    if include or exclude:
        from paramcli.select import select

        names = [info.name for side in sides for info in side]
        if names and not any(select(side, include or [], exclude or []) for side in sides):
            raise nothing_matches(include, exclude, names)


def _tell_what_is_empty(sides: "Sequence[Checkpoint]") -> None:
    """Say why no values were compared, where one side holds none."""
    empty = [
        f"{side} ({checkpoint.origin})"
        for side, checkpoint in zip("AB", sides, strict=True)
        if checkpoint.entries
        and not any(view.storage.file for info in checkpoint for view in info.views())
    ]
    if empty:
        say(f"note: values were not compared: there are none in {' and '.join(empty)}")


def _conclude(report: "DiffReport") -> None:
    """Say what the lines of a pipe do not."""
    from paramcli.render.diff.words import cause, verdict

    for line in (cause(report), verdict(report)):
        if line:
            say(line)


def _drawn(
    report: "DiffReport", form: Format, width: int | None, *, details: bool
) -> Iterable[str]:
    """The report in the form asked for; each room is loaded only when it is chosen."""
    match form:
        case Format.TABLE:
            from paramcli.render.diff.terminal import draw

            return draw(
                report, width=width or terminal_width(), color=color(), cut=width is not None,
                details=details,
            )  # fmt: skip
        case Format.JSON:
            from paramcli.render.diff.json import as_json

            return as_json(report)
        case Format.MARKDOWN:
            from paramcli.render.diff.markdown import markdown

            return markdown(report, details=details)
        case Format.GITHUB:
            from paramcli.render.diff.github import github

            return github(report)
        case _:
            from paramcli.render.diff.tsv import tsv

            return tsv(report)
