"""A lock file read: every line understood, or refused with its place."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NoReturn

from paramcli.lock.dims import LARGEST, Dims, Malformed, parse_dims
from paramcli.lock.model import Line, Lock, Rules, Size, Tied
from paramcli.lock.names import MOST_CHARACTERS, MOST_NAMES, expand
from paramcli.lock.resolve import unsettled
from paramcli.lock.toml import misplaced, statements

if TYPE_CHECKING:
    from collections.abc import Collection

    from paramcli.lock.toml import Statement

__all__ = ["read_lock"]

_RULES = ("extra", "count_max", "bytes_max", "dtype", "finite", "tied")
_EXTRA = ("forbid", "allow")
_SHOWN = 200  # characters of a name in a message
_CANDIDATES = 10_000
_MOST_SIZES = 10_000


def read_lock(text: str, path: str, dtypes: Collection[str]) -> Lock:
    """Read the text of a lock. `path` is what errors name, `dtypes` the element types there are.

    Raises `LockError` for what is no TOML, what a lock does not have, names that stand twice or
    are more than 1,000,000, and dims that no checkpoint can settle.
    """
    reader = _Reader(text.replace("\r\n", "\n"), path, dtypes)
    reader.read()
    return reader.lock()


class _Reader:
    """What has been read so far, and where it stands."""

    def __init__(self, text: str, path: str, dtypes: Collection[str]) -> None:
        self._text = text
        self._path = path
        self._dtypes = dtypes
        self._dims: dict[str, Size] = {}
        self._lines: list[Line] = []
        self._places: dict[str, int] = {}  # the line of each name
        self._characters = MOST_CHARACTERS
        self._known: dict[str, tuple[str, Dims]] = {}
        self._rules: dict[str, Statement] = {}
        self._tied: list[Tied] = []

    def read(self) -> None:
        """Read all statements."""
        for statement in statements(self._text, self._path):
            if statement.table == "tensors":
                self._tensor(statement)
            elif statement.table == "dims":
                self._dim(statement)
            else:
                self._rule(statement)
        for rule in self._rules.values():
            if rule.name == "tied":
                self._read_ties(rule)

    def lock(self) -> Lock:
        """Return what was read. Raises `LockError` where nothing can settle a dim."""
        values = {name: rule.value for name, rule in self._rules.items()}
        allowed = values.get("dtype", ())
        rules = Rules(
            extra=values.get("extra", "forbid"),  # type: ignore[arg-type]
            count_max=values.get("count_max"),  # type: ignore[arg-type]
            bytes_max=values.get("bytes_max"),  # type: ignore[arg-type]
            dtype=(allowed,) if isinstance(allowed, str) else tuple(allowed),  # type: ignore[arg-type]
            finite=bool(values.get("finite", False)),
            tied=tuple(self._tied),
            lines={name: rule.line for name, rule in self._rules.items()},
        )
        lock = Lock(self._path, self._dims, tuple(self._lines), rules)
        self._check_sizes()
        if (found := unsettled(lock)) is not None:
            line, name = found
            raise misplaced(
                f"nothing settles {name}, which is alone in no dim",
                self._text, self._start(line.number), path=self._path,
                hint=f"give it in [dims]: {name} = 64",
            )  # fmt: skip
        return lock

    def _check_sizes(self) -> None:
        """Refuse what the sizes given make negative, or larger than a tensor can be."""
        sizes = {name: size.value for name, size in self._dims.items()}
        distinct = {line.dims.text: line for line in reversed(self._lines)}
        for _, _, dims, line in distinct.values():
            sized = [(dim.text, dim.value(sizes)) for dim in dims.dims]
            known = [(text, value) for text, value in sized if value is not None]
            for text, value in known:
                if value < 0:
                    self._fail(f"{text} is negative with the sizes given", self._start(line))
            if prod(max(1, value) for _, value in known) > LARGEST:
                self._fail(f"{dims.text} is larger than a tensor can be", self._start(line))

    def _start(self, line: int) -> int:
        """Where a line begins."""
        position = 0
        for _ in range(line - 1):
            position = self._text.index("\n", position) + 1
        return position

    def _fail(self, message: str, position: int, hint: str | None = None) -> NoReturn:
        raise misplaced(message, self._text, position, path=self._path, hint=hint) from None

    def _inside(self, string: str, at: int, position: int) -> int:
        """Where a character of a string stands in the text; where it begins if it has escapes."""
        for start in (at, at + 1):
            if self._text.startswith(string, start):
                return start + position
        return at

    def _tensor(self, statement: Statement) -> None:
        _, name, value, number, at, value_at, _ = statement
        known = self._known.get(value) if isinstance(value, str) else None
        if known is None:
            known = self._read_value(value, value_at)
        dtype, dims = known
        plain = "{" not in name and "}" not in name and len(self._lines) < MOST_NAMES
        for one in (name,) if plain else self._expand(name, at):
            if one in self._places:
                self._fail(f"{_short(one)} stands on line {self._places[one]} too", at)
            self._places[one] = number
            self._lines.append(Line(one, dtype, dims, number))

    def _expand(self, name: str, at: int) -> list[str]:
        try:
            names = expand(name, MOST_NAMES - len(self._lines), self._characters)
        except Malformed as error:
            self._fail(str(error), self._inside(name, at, error.position))
        self._characters -= sum(map(len, names))
        return names

    def _read_value(self, value: object, at: int) -> tuple[str, Dims]:
        if not isinstance(value, str):
            self._fail('a tensor is written "float32[64, 3]"', at)
        stripped = value.strip()
        dtype, bracket, shape = stripped.partition("[")
        start = self._inside(value, at, len(value) - len(value.lstrip()))
        if dtype.rstrip() not in self._dtypes:
            hint = self._meant(dtype.rstrip(), self._dtypes)
            self._fail(f"no dtype {_short(dtype.rstrip()) or 'at all'}", start, hint)
        if not bracket or not shape.endswith("]"):
            end = start + len(stripped) - 1
            self._fail('a shape in brackets is missing, as in "float32[64, 3]"', end)
        try:
            dims = parse_dims(shape[:-1])
        except Malformed as error:
            position = len(dtype) + 1 + error.position
            self._fail(str(error), start + position if start > at or value in self._text else at)
        self._known[value] = dtype.rstrip(), dims
        return self._known[value]

    def _dim(self, statement: Statement) -> None:
        name, value = statement.name, statement.value
        if len(self._dims) == _MOST_SIZES:
            self._fail(f"more than {_MOST_SIZES:,} sizes", statement.at)
        if not (name.isascii() and name.isidentifier()):
            self._fail("no name for a dim: letters, digits and _ make one", statement.at)
        if name in self._dims:
            self._fail(f"{_short(name)} stands on line {self._dims[name].line} too", statement.at)
        size = self._whole(statement, value)
        self._dims[name] = Size(size, "[dims]", statement.line)

    def _whole(self, statement: Statement, value: object) -> int:
        if type(value) is not int:
            self._fail(f"{_short(statement.name)} is a whole number", statement.value_at)
        if not 0 <= value <= LARGEST:
            message = "negative" if value < 0 else "larger than 2**63 - 1"
            self._fail(f"{_short(statement.name)} cannot be {message}", statement.value_at)
        return value

    def _rule(self, statement: Statement) -> None:
        name, value, at = statement.name, statement.value, statement.value_at
        if name in self._rules:
            self._fail(f"{name} stands on line {self._rules[name].line} too", statement.at)
        match name:
            case "extra":
                if value not in _EXTRA:
                    self._fail('extra is "forbid" or "allow"', at)
            case "count_max" | "bytes_max":
                self._whole(statement, value)
            case "finite":
                if not isinstance(value, bool):
                    self._fail("finite is true or false", at)
            case "dtype":
                self._check_dtypes(value, at)
            case "tied":
                pass  # its names may stand in lines that are still to come
            case _:
                hint = self._meant(name, _RULES) or f"the rules are {', '.join(_RULES)}"
                self._fail(f"no rule {_short(name)}", statement.at, hint)
        self._rules[name] = statement

    def _check_dtypes(self, value: object, at: int) -> None:
        if value == []:
            self._fail("dtype names one at least", at)
        for dtype in value if isinstance(value, list) else [value]:
            if not isinstance(dtype, str):
                self._fail('dtype is a name or a list of names: ["float32"]', at)
            if dtype not in self._dtypes:
                self._fail(f"no dtype {_short(dtype)}", at, self._meant(dtype, self._dtypes))

    def _read_ties(self, statement: Statement) -> None:
        groups, at = statement.value, statement.value_at
        if not isinstance(groups, list) or not all(
            isinstance(group, list) and all(isinstance(name, str) for name in group)
            for group in groups
        ):
            self._fail('tied is a list of lists of names: [["head.weight", "embed.weight"]]', at)
        seen: set[str] = set()
        for group, (start, line) in zip(groups, statement.items, strict=True):
            names: list[str] = []
            for text in group:
                names += self._tie(text, start, seen)
            if len(names) == 1 or not names:
                self._fail("tied names are two at least", start)
            self._tied.append(Tied(tuple(names), line))

    def _tie(self, text: str, at: int, seen: set[str]) -> list[str]:
        """Return names to tie, each of which stands in a line and in no other group."""
        try:
            names = expand(text)
        except Malformed as error:
            self._fail(str(error), at)
        for name in names:
            if name not in self._places:
                hint = self._meant(name, self._places)
                self._fail(f"tied, but no line has {_short(name)}", at, hint)
            if name in seen:
                self._fail(f"{_short(name)} is tied twice", at)
            seen.add(name)
        return names

    @staticmethod
    def _meant(name: str, names: Collection[str]) -> str | None:
        from difflib import get_close_matches
        from itertools import islice

        close = get_close_matches(name[:_SHOWN], islice(names, _CANDIDATES), 1)
        return f"did you mean {close[0]}?" if close else None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
