"""`list` as a lock file: the names, dtypes, shapes and ties that a later check holds a model to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.errors import UsageError
from paramcli.render.text import chunks, remembered, safe, shape_text, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paramcli.checkpoint import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["lock"]

_INDEX = re.compile("0|[1-9][0-9]{0,8}")  # a number that comes back the same from its run
_DEEPEST = 64  # components of a name among which runs are looked for
_SPECIAL = re.compile(r'["\\]|[^ -~]')

Line = tuple[tuple[str, ...], str]


def lock(report: ListReport) -> Iterator[str]:
    """Yield a TOML document. Numbered layers that agree make one line: `"blocks.{0..3}.weight"`.

    Braces that belong to a name are doubled. Raises `UsageError` for a name that TOML cannot hold.
    """
    facts = remembered(_facts)
    lines: list[Line] = [
        (tuple(_literal(info.name).split(".", _DEEPEST)), facts(info)) for info in report.tensors
    ]
    for position in range(max((len(parts) for parts, _ in lines), default=0)):
        lines = _fold(lines, position)
    yield "[tensors]\n"
    yield from chunks(f'{_quoted(".".join(parts))} = "{value}"\n' for parts, value in lines)
    yield '\n[rules]\nextra = "forbid"\n'
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


def _literal(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")


def _array(names: Iterable[str]) -> str:
    return f"[{', '.join(_quoted(_literal(name)) for name in names)}]"


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
