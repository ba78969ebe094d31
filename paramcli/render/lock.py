"""`list` as a lock file: the names, dtypes, shapes and ties that a later check holds a model to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.lock.names import written
from paramcli.render.text import alike, chunks, safe, shape_text, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paramcli.lock import Lock
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["lock"]

_INDEX = re.compile("0|[1-9][0-9]{0,8}")  # a number that comes back the same from its run
_DEEPEST = 64  # components of a name among which runs are looked for
_SPECIAL = re.compile(r'["\\]|[^ -~]')

Line = tuple[tuple[str, ...], str]


def lock(report: ListReport) -> Iterator[str]:
    """Yield a TOML document. Numbered layers that agree make one line: `"blocks.{0..3}.weight"`.

    Braces that belong to a name are doubled. A lock gives its names of dims and its rules back.
    Raises `UsageError` for a name that TOML cannot hold.
    """
    tensors = report.tensors
    values = map(_as_written, tensors) if report.lock else alike(_facts, tensors)
    lines: list[Line] = [
        (tuple(written(info.name).split(".", _DEEPEST)), value)
        for info, value in zip(tensors, values, strict=True)
    ]
    for position in range(max((len(parts) for parts, _ in lines), default=0)):
        lines = _fold(lines, position)
    if report.lock and report.lock.dims:
        sizes = report.lock.dims.items()
        yield "\n".join(["[dims]", *(f"{name} = {size.value}" for name, size in sizes), "\n"])
    yield "[tensors]\n"
    yield from chunks(f'{_quoted(".".join(parts))} = "{value}"\n' for parts, value in lines)
    yield "\n[rules]\n"
    if report.lock:
        yield from _rules(report.lock)
        listed = {info.name for info in report.tensors}
        kept = ([name for name in tie.names if name in listed] for tie in report.lock.rules.tied)
        tied = [tuple(names) for names in kept if len(names) > 1]
    else:
        yield 'extra = "forbid"\n'
        tied = [group.names for group in report.groups if group.relation == "same"]
    if tied:
        yield "\n".join(["tied = [", *(f"    {_array(names)}," for names in tied), "]\n"])


def _fold(lines: Sequence[Line], position: int) -> list[Line]:
    """Merge the lines that differ in one number alone, wherever these numbers are neighbours."""
    folded: list[tuple[int, Line]] = []
    runs: dict[tuple[tuple[str, ...], tuple[str, ...], str], dict[int, int]] = {}
    for order, line in enumerate(lines):
        parts, value = line
        if len(parts) > position and _INDEX.fullmatch(parts[position]):
            run = runs.setdefault((parts[:position], parts[position + 1 :], value), {})
            run[int(parts[position])] = order
        else:
            folded.append((order, line))
    for (before, after, value), run in runs.items():
        for first, last in spans(sorted(run)):
            numbers = f"{{{first}..{last}}}" if last > first else str(first)
            folded.append((run[first], ((*before, numbers, *after), value)))
    return [line for _, line in sorted(folded)]


def _facts(info: TensorInfo) -> str:
    return f"{info.dtype.name}{shape_text(info.shape)}"


def _as_written(info: TensorInfo) -> str:
    return f"{info.dtype.name}{dict(info.facts).get('dims', '')}" if info.facts else _facts(info)


def _rules(lock: Lock) -> Iterator[str]:
    rules = lock.rules
    yield f'extra = "{rules.extra}"\n'
    if rules.count_max is not None:
        yield f"count_max = {rules.count_max:_}\n"
    if rules.bytes_max is not None:
        yield f"bytes_max = {rules.bytes_max:_}\n"
    if "dtype" in rules.lines:
        yield f"dtype = [{', '.join(map(_quoted, rules.dtype))}]\n"
    if rules.finite:
        yield "finite = true\n"


def _array(names: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(written(name)) for name in names)}]"


def _quoted(text: str) -> str:
    """Write a TOML basic string (https://toml.io/en/v1.0.0#string), pure ASCII where it matters."""
    return f'"{_SPECIAL.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    if "\ud800" <= character <= "\udfff":
        raise UsageError(
            f"a lock cannot hold a name with {safe(character)}, half of a surrogate pair",
            hint="leave it out with --exclude",
        )
    return f"\\U{ord(character):08X}"
