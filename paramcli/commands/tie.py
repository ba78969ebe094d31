"""`paramcli tie`."""

# Annotations are not text here: Typer would parse each of them twice, for a millisecond.

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from paramcli.commands.completion import complete_name
from paramcli.commands.filed import Filed
from paramcli.commands.options import (
    WHAT_A_TARGET_IS,
    All,
    Arg,
    ArgsFile,
    Debug,
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
    opened,
    say,
    terminal_width,
    write,
)
from paramcli.errors import UsageError

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request
    from paramcli.verbs.tie.report import TieReport

__all__ = ["tie"]

_SHOWN = 5


def tie(  # noqa: PLR0913 - one parameter for each documented option
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help=WHAT_A_TARGET_IS, show_default=False)
    ] = "",
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME…", help="tie these; the first one's bytes stand",
            autocompletion=complete_name, show_default=False,
        ),
    ] = None,
    *,
    find_equal: Annotated[
        bool, typer.Option("--find-equal", help="equal, but not tied")
    ] = False,
    winner: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="whose bytes stand", show_default=False),
    ] = None,
    untie: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="own bytes for these",
            autocompletion=complete_name, show_default=False,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="TARGET2", help="ties as it has them", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="tie unequal values")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help=".safetensors or .pt",
            show_default=False,
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="write over the target")
    ] = False,
    shard_size: Annotated[
        str | None,
        typer.Option(
            metavar="5GB", help="OUT holds shards", show_default=False
        ),
    ] = None,
    to: To = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="prove ties by running")
    ] = False,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="2,4", help="or 'int64[2,16]<100'",
            show_default=False,
        ),
    ] = None,
    key: Key = None,
    everything: All = False,
    arg: Arg = None,
    args_file: ArgsFile = None,
    details: Annotated[bool, typer.Option("--details", help="leave nothing out")] = False,
    format_: FormatOption = None,
    width: Width = None,
    report_to: Report = None,
    debug: Debug = False,
) -> int:  # fmt: skip
    """Show which names share bytes and how that is known; tie, untie, and prove."""
    filed = Filed("tie", report_to)

    def act() -> int:
        from paramcli.project import requests

        form = chosen(format_)
        if form in (Format.GITHUB, Format.LOCK):
            raise UsageError(f"tie has no --format {form.value}", hint="table, tsv, json, markdown")
        check_output(output, {"--to": to, "--shard-size": shard_size})
        change = _Change(names or [], winner, untie or [], like, force)
        writing = output is not None or in_place or shard_size is not None or to is not None
        _check(
            change, find_equal=find_equal, probe=probe, inputs=bool(input_), writing=writing
        )  # fmt: skip
        (request,) = requests(
            [target] if target else None,
            key=key, everything=everything, arg=arg or [], args_file=args_file,
            values=find_equal or bool(change.asked),
        )  # fmt: skip
        out = _Output(
            output or (request.target if in_place else None),
            None if shard_size is None else parse_size(shard_size),
            to,
            in_place,
        )
        checkpoint = _opened(request)
        if change.asked:
            report = _changed(checkpoint, request, change, out)
        else:
            report = _looked_at(checkpoint, find_equal=find_equal)
        if probe:
            if checkpoint.format != "module":
                raise UsageError("--probe runs a model, so it needs a class", hint="file.py:Net")
            from paramcli.verbs.tie.inputs import parse_input
            from paramcli.verbs.tie.probe import probe as run

            given = [parse_input(text) for text in input_ or []]
            report = report._replace(probe=run(request, checkpoint, report.groups, given))
        filed.keep(report)
        if report.config is not None and not report.config.agrees:
            says = f"tie_word_embeddings is {str(report.config.tied).lower()}"
            say(f"warning: {report.config.path}: {says}, but {report.config.text}")
        write(_drawn(report, form, width, details=details))
        return 0 if all(one.holds for one in report.probe or ()) else 1

    return guarded(act, filed, debug=debug)


class _Output(NamedTuple):
    """Where the result goes: a file, or a directory of shards or of a format; None for nowhere.

    `in_place` allows the file that is read.
    """

    path: str | None
    shard_size: int | None
    to: OutputFormat | None
    in_place: bool


class _Change(NamedTuple):
    """What is to be changed: names to tie, patterns to untie, or a target to be like."""

    names: Sequence[str]
    winner: str | None
    untie: Sequence[str]
    like: str | None
    force: bool

    @property
    def asked(self) -> list[str]:
        kinds = {"NAME": self.names, "--untie": self.untie, "--like": self.like}
        return [kind for kind, value in kinds.items() if value]


def _check(change: _Change, *, find_equal: bool, probe: bool, inputs: bool, writing: bool) -> None:
    """Raise UsageError for options that do not go together."""
    asked = change.asked
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} change ties in two ways", hint="one at a time")
    if asked and (find_equal or probe):
        raise UsageError(f"{asked[0]} changes ties; --find-equal and --probe only look")
    if writing and not asked:
        raise UsageError(
            "there is nothing to write: no tie is asked for",
            hint="name tensors to tie, or give --untie or --like",
        )
    if (change.winner is not None or change.force) and asked in ([], ["--untie"]):
        raise UsageError("--winner and --force are for ties that are made")
    if change.winner is not None and change.like:
        raise UsageError("--winner is for names that are tied, not for --like")
    if len(change.names) == 1 and change.winner is None:
        raise UsageError(
            "one name cannot be tied alone",
            hint=f"name another: paramcli tie TARGET {change.names[0]} NAME -o OUT",
        )
    if probe and not inputs:
        raise UsageError(
            "--probe runs the model, so it needs --input",
            hint="for example --input 2,4 or --input 'int64[2,16]<100'",
        )
    if inputs and not probe:
        raise UsageError("--input is for --probe")


def _opened(request: "Request") -> "Checkpoint":

    checkpoint = opened(request)
    introduce(checkpoint)
    for problem in checkpoint.problems:
        say(f"warning: {problem}")
    return checkpoint


def _looked_at(checkpoint: "Checkpoint", *, find_equal: bool) -> "TieReport":
    from paramcli.verbs.tie import find_equal as find
    from paramcli.verbs.tie import report

    found = report(checkpoint)
    if not find_equal:
        return found
    if checkpoint.entries and not any(info.storage.file for info in checkpoint):
        say(f"note: {checkpoint.origin} holds no values, so none can be equal")
    equal, left_out = followed(lambda progress: find(checkpoint, progress=progress))
    return found._replace(equal=equal, left_out=left_out)


def _changed(
    checkpoint: "Checkpoint", request: "Request", change: _Change, out: _Output
) -> "TieReport":
    from paramcli.verbs.tie import like, report, tie, untie

    if change.names:
        done = tie(checkpoint, change.names, winner=change.winner, force=change.force)
    elif change.untie:
        done = untie(checkpoint, change.untie)
    else:
        assert change.like is not None
        from paramcli.sources import Request, open_request

        other = open_request(Request(change.like, arguments=request.arguments))
        done = like(checkpoint, other, force=change.force)
    if not done.changes:
        say("note: they are tied so already")
    if out.path is not None:
        from paramcli.save import save

        lost = _lost(checkpoint)
        if lost and not out.in_place:
            say(f"note: not written: {lost}")
        total = sum(storage.nbytes for storage in {info.storage for info in done.checkpoint})
        followed(
            lambda progress: save(
                done.checkpoint, str(out.path), shard_size=out.shard_size,
                to=out.to, in_place=out.in_place,
                progress=lambda nbytes: progress(nbytes, total),
            )
        )  # fmt: skip
    return report(done.checkpoint, done.changes)._replace(output=out.path)


def _lost(checkpoint: "Checkpoint") -> str:
    """Name what a training checkpoint holds beside the tensors that are written."""
    trees = [tree.path for tree in checkpoint.trees if tree.path != (checkpoint.key or tree.path)]
    names = [name for name, _ in checkpoint.values] + trees
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _drawn(report: "TieReport", form: Format, width: int | None, *, details: bool) -> Iterable[str]:
    """The report in the form asked for; each room is loaded only when it is chosen."""
    match form:
        case Format.TABLE:
            from paramcli.render.tie.terminal import draw

            return draw(
                report, width=width or terminal_width(), color=color(), cut=width is not None,
                details=details,
            )  # fmt: skip
        case Format.JSON:
            from paramcli.render.tie.json import as_json

            return as_json(report)
        case Format.MARKDOWN:
            from paramcli.render.tie.markdown import markdown

            return markdown(report, details=details)
        case _:
            from paramcli.render.tie.tsv import tsv

            return tsv(report)
