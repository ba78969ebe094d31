"""`paramcli init`."""

# Annotations are not text here: Typer would parse each of them twice, for a millisecond.

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from paramcli.commands.asked import Asked, Opened, composed, open_target, planned
from paramcli.commands.completion import complete_rule, complete_scheme
from paramcli.commands.filed import Filed
from paramcli.commands.options import (
    WHAT_A_TARGET_IS,
    Arg,
    ArgsFile,
    Debug,
    Device,
    Format,
    FormatOption,
    Key,
    OutputFormat,
    Report,
    To,
    Width,
    check_output,
)
from paramcli.commands.sizes import parse_size
from paramcli.commands.streams import (
    chosen,
    color,
    followed,
    guarded,
    introduce,
    say,
    terminal_width,
    write,
)
from paramcli.errors import UsageError

if TYPE_CHECKING:
    from paramcli.sources import Request
    from paramcli.verbs.initialize import InitReport, Plan, VerifyReport

__all__ = ["init"]


def init(  # noqa: PLR0913 - one parameter for each documented option
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help=WHAT_A_TARGET_IS, show_default=False)
    ] = "",
    *,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="OUT", show_default=False,
            help=".safetensors or .pt; none: preview",
        ),
    ] = "",
    scheme: Annotated[
        str | None,
        typer.Option(
            metavar="NAME(…)", help="kaiming, gpt2, …",
            autocompletion=complete_scheme, show_default=False,
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAT=SCHEME", autocompletion=complete_rule, show_default=False,
            help="'*.bias=zeros', …",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="FILE", help="rules of a file", show_default=False)
    ] = None,
    apply: Annotated[
        str,
        typer.Option(
            metavar="PKG.MOD:FN", help="net.apply(fn)", show_default=False
        ),
    ] = "",
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="0 if not given", show_default=False)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="cast floats", show_default=False),
    ] = None,
    missing_only: Annotated[
        str | None,
        typer.Option(metavar="BASE", help="keep what BASE has", show_default=False),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="mup's tuned model", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="plan, draw nothing")] = False,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="recipe to stdout")
    ] = False,
    verify: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="did its recipe make it?",
            show_default=False,
        ),
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option(metavar="5GB", help="OUT holds shards", show_default=False),
    ] = None,
    to: To = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="OUT may be the input")
    ] = False,
    device: Annotated[
        Device,
        typer.Option(
            "--device", metavar="DEVICE", help="cpu, cuda: same bytes", show_default=False
        ),
    ] = Device.CPU,
    key: Key = None,
    arg: Arg = None,
    args_file: ArgsFile = None,
    format_: FormatOption = None,
    width: Width = None,
    report_to: Report = None,
    debug: Debug = False,
) -> int:  # fmt: skip
    """Initialize a model: any scheme, the same bytes every time and everywhere."""
    filed = Filed("init", report_to)

    def act() -> int:
        form = chosen(format_)
        if form in (Format.GITHUB, Format.LOCK):
            raise UsageError(
                f"init has no --format {form.value}", hint="table, tsv, json, markdown"
            )
        asked = Asked(scheme, recipe, rule or [], apply, seed)
        if verify is not None:
            request = _request(target, key, arg, args_file) if target else None
            return _verified(verify, request, asked, _Look(form, width))
        check_output(output, {"--in-place": in_place, "--to": to, "--shard-size": shard_size})
        where = _Where(
            output, None if shard_size is None else parse_size(shard_size), to, in_place, dry_run,
            device.value,
        )  # fmt: skip
        request = _request(target, key, arg, args_file)
        opened = open_target(request, composed(asked, project=not target))
        found = planned(opened, dtype, missing_only, base)
        if print_recipe:
            from paramcli.schemes.recipe import write_recipe

            write([write_recipe(found.recipe, found.rules)])
            return 0
        report = _carried_out(found, opened, where)
        filed.keep(report)
        write(_drawn(report, _Look(form, width)))
        _conclude(report, form)
        return 0

    return guarded(act, filed, debug=debug)


class _Where(NamedTuple):
    """Where the result goes, if anywhere, and by what it is drawn."""

    output: str
    shards: int | None
    to: OutputFormat | None
    in_place: bool
    dry_run: bool
    device: str


class _Look(NamedTuple):
    """How a report is to be drawn."""

    form: Format
    width: int | None


def _request(
    target: str, key: str | None, arg: list[str] | None, args_file: str | None
) -> "Request":
    from paramcli.project import requests

    (request,) = requests(
        [target] if target else None, key=key, everything=False, arg=arg or [],
        args_file=args_file,
    )  # fmt: skip
    return request


def _carried_out(plan: "Plan", opened: Opened, where: _Where) -> "InitReport":
    """Do what is planned, as far as it was asked for, and report it."""
    from paramcli import __version__
    from paramcli.save import save
    from paramcli.verbs.initialize import (
        Measuring,
        initialized,
        measure_drawn,
        report,
        workers_for,
    )

    if where.dry_run:
        return report(plan)
    made = initialized(plan, __version__, opened.given(plan), device=where.device)
    for note in made.notes:
        if note not in opened.checkpoint.notes:
            say(f"note: {note}")
    workers = workers_for(plan, where.device)
    if not where.output:
        return report(plan, followed(lambda progress: measure_drawn(plan, made, workers, progress)))
    sources = {one.source.origin for one in plan.tensors if one.source is not None}
    if not where.in_place and any(_same_file(where.output, source) for source in sources):
        raise UsageError(
            f"{where.output} is what is read", hint="write to another file, or give --in-place"
        )
    measuring, total = Measuring(plan), plan.nbytes
    followed(
        lambda progress: save(
            made, where.output, shard_size=where.shards, to=where.to, in_place=where.in_place,
            workers=workers, watch=measuring, progress=lambda done: progress(done, total),
        )
    )  # fmt: skip
    return report(plan, measuring.measured(), where.output)


def _same_file(one: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return False


def _verified(path: str, request: "Request | None", asked: Asked, look: _Look) -> int:
    """Check a file against its own recipe, or against the target and the recipe that are given."""
    from paramcli.sources import Request, open_request
    from paramcli.verbs.initialize import make_plan, recorded, verify, workers_for

    file = open_request(Request(path))
    introduce(file)
    given = None
    if request is None:
        if asked.anything:
            raise UsageError(
                "--verify takes the recipe that the file holds",
                hint="name the TARGET too, to check it against another recipe",
            )
        plan = recorded(file)
    else:
        own = None if asked.scheme or asked.recipe or asked.rules else recorded(file)
        if own and own.recipe.apply != asked.apply:
            raise UsageError(
                f"{path} says that it was made by applying {own.recipe.apply or 'nothing'}",
                hint="give the same --apply: code that a file names is not run by itself",
            )
        opened = open_target(request, own.recipe if own else composed(asked, project=False))
        if own:
            plan = recorded(file, opened.checkpoint)
        else:
            plan = make_plan(opened.checkpoint, opened.recipe, touched=opened.touched)
        given = opened.given(plan)
    workers = workers_for(plan)
    report = followed(
        lambda progress: verify(file, plan, given, workers=workers, progress=progress)
    )
    with contextlib.suppress(BrokenPipeError):  # the verdict stands, read or not
        write(_drawn_verified(report, look))
    if look.form is Format.TSV:
        say("as it was initialized" if report.same else "changed since it was initialized")
    return 0 if report.same else 1


def _drawn(report: "InitReport", look: _Look) -> Iterable[str]:
    """The report in the form asked for; each room is loaded only when it is chosen."""
    match look.form:
        case Format.JSON:
            from paramcli.render.init.json import as_json

            return as_json(report)
        case Format.MARKDOWN:
            from paramcli.render.init.markdown import markdown

            return markdown(report)
        case Format.TABLE:
            from paramcli.render.init.terminal import draw

            screen = look.width or terminal_width()
            return draw(report, width=screen, color=color(), cut=look.width is not None)
        case _:
            from paramcli.render.init.tsv import tsv

            return tsv(report)


def _drawn_verified(report: "VerifyReport", look: _Look) -> Iterable[str]:
    match look.form:
        case Format.JSON:
            from paramcli.render.init.json import json_verified

            return json_verified(report)
        case Format.MARKDOWN:
            from paramcli.render.init.markdown import markdown_verified

            return markdown_verified(report)
        case Format.TABLE:
            from paramcli.render.init.terminal import draw_verified

            screen = look.width or terminal_width()
            return draw_verified(report, width=screen, color=color(), cut=look.width is not None)
        case _:
            from paramcli.render.init.tsv import tsv_verified

            return tsv_verified(report)


def _conclude(report: "InitReport", form: Format) -> None:
    """Say on stderr what rows do not."""
    from paramcli.render.init.table import flagged, remarks, totals

    for note in report.notes:
        say(f"note: {note}")
    if form is Format.TSV:
        say(totals(report))
        for line in remarks(report):
            say(line)
    if form is not Format.TABLE and report.flagged:
        say(f"warning: {flagged(report)}")
