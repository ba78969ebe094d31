"""What `--help` prints: a screen of it, options in two columns where there is room for them."""

from __future__ import annotations

from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import typer

from paramcli.commands.streams import color, terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typer.core import TyperCommand, TyperGroup

    Entry = tuple[str, str]
    """An option as it is written, and what it does."""

__all__ = ["page"]

_TYPERS_OWN = {
    "help": "show this", "install_completion": "for your shell", "show_completion": "to copy it",
}  # fmt: skip
_TWO_COLUMNS = 76
_GAP = 2
_NARROWEST = 12  # cells of what an option does


def page(command: TyperCommand | TyperGroup, ctx: Any) -> Iterator[str]:  # noqa: ANN401 - Typer's, whose class is private to it
    """Yield lines of usage, summary, arguments, commands, options and examples.

    They fit a terminal of 80 by 24; a narrower one has the options in one column.
    """
    width = max(terminal_width(), 2 * _NARROWEST)
    params: Sequence[Any] = command.get_params(ctx)
    commands = getattr(command, "commands", {})
    arguments = [param for param in params if param.param_type_name == "argument"]
    places = [one.metavar if one.required else f"[{one.metavar}]" for one in arguments]
    usage = [ctx.command_path, "[OPTIONS]", *(["COMMAND …"] if commands else places)]
    yield from wrap(f"Usage: {' '.join(usage)}", width)
    yield from wrap(str(command.help), width)
    for one in arguments:
        if one.help:  # Typer before 0.26 loses it to Click 8.5
            yield from wrap(f"{one.metavar}: {one.help}", width, subsequent_indent="  ")
    yield ""
    if commands:
        rows = [(name, one.help) for name, one in commands.items()]
        yield from (line.rstrip() for line in _column(rows, width))
        yield from ("", f"{ctx.command_path} COMMAND --help says what each of them takes.", "")
    options = [_entry(param) for param in params if param.param_type_name == "option"]
    yield from _columns(options, width)
    if command.epilog:
        yield ""
        yield from command.epilog.splitlines()


def _entry(param: Any) -> Entry:  # noqa: ANN401 - as above
    names = ", ".join(sorted(param.opts, key=len) + param.secondary_opts)
    text = _TYPERS_OWN.get(param.name) or param.help or ""
    return (names if param.is_flag else f"{names} {param.metavar}"), text


def _columns(entries: Sequence[Entry], width: int) -> Iterator[str]:
    """Lay entries in one column, or in two of which neither is longer than it must be."""
    if width < _TWO_COLUMNS:
        yield from (line.rstrip() for line in _column(entries, width))
        return
    room = (width - _GAP) // 2
    pairs = (
        (list(_column(entries[:at], room)), list(_column(entries[at:], room)))
        for at in range(1, len(entries))
    )
    left, right = min(pairs, key=lambda pair: max(map(len, pair)))
    for one, other in zip_longest(left, right, fillvalue=" " * room):
        yield f"{one}{' ' * _GAP}{other}".rstrip()


def _column(entries: Sequence[Entry], width: int) -> Iterator[str]:
    """Yield lines of that width, or a little more on a screen too narrow for anything."""
    widest = max(len(name) for name, _ in entries) + _GAP
    room = max(width - widest, _NARROWEST)
    for name, text in entries:
        first, *more = wrap(text, room) or [""]
        yield f"{_styled(name)}{' ' * (widest - len(name))}{first:{room}}"
        for line in more:
            yield f"{' ' * widest}{line:{room}}"


def _styled(name: str) -> str:
    return typer.style(name, fg="cyan", bold=True) if color() else name
