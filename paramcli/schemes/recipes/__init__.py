"""Recipes that ship with the package: TOML files of rules, to be read, copied and changed.

`rules` are tables of `match` and `scheme`; the last one that matches a tensor wins, and one that
matches nothing is no error here. A match is a pattern of names, `nn.Type` or `@role`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from paramcli.errors import SourceError

__all__ = ["Recipe", "Rule", "names", "parse", "read", "shipped", "text"]

_FOLDER = os.path.dirname(__file__)


class Rule(NamedTuple):
    """What it is for, and the scheme as it is written."""

    match: str
    scheme: str


class Recipe(NamedTuple):
    """Rules in order, a name for them, and where they come from."""

    name: str
    source: str
    rules: tuple[Rule, ...]

    def with_scheme(self, scheme: str) -> Recipe:
        """Put a scheme where the rules say $scheme."""
        rules = tuple(
            rule._replace(scheme=rule.scheme.replace("$scheme", scheme)) for rule in self.rules
        )
        return self._replace(rules=rules)


def names() -> tuple[str, ...]:
    """The recipes that ship, but for `default`, which is what a scheme alone means."""
    found = (name.removesuffix(".toml") for name in os.listdir(_FOLDER) if name.endswith(".toml"))
    return tuple(sorted(set(found) - {"default"}))


def shipped(name: str) -> Recipe | None:
    """Read one that ships, None if there is none of that name."""
    plain = name.lower().replace("-", "_")
    return read(_path(plain)) if plain in (*names(), "default") else None


def text(name: str) -> str:
    """The file of one that ships, as it stands."""
    with open(_path(name), encoding="utf-8") as file:
        return file.read()


def read(path: str) -> Recipe:
    """Read a recipe file. Raises SourceError where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read(), path)
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower(), path=path) from None
    except UnicodeDecodeError as error:
        raise SourceError(f"not UTF-8: {error}", path=path) from None


def parse(content: str, path: str) -> Recipe:
    """Read the text of a recipe. Raises SourceError that names `path`."""
    import tomllib

    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"not TOML: {error}", path=path) from None
    rules = table.get("rules")
    if not isinstance(rules, list) or not rules:
        raise SourceError("a recipe has rules, a list of match and scheme", path=path)
    name, source = table.get("name", ""), table.get("source", "")
    if not (isinstance(name, str) and isinstance(source, str)):
        raise SourceError("name and source of a recipe are texts", path=path)
    return Recipe(
        name, source, tuple(_rule(rule, place, path) for place, rule in enumerate(rules, 1))
    )


def _rule(rule: object, place: int, path: str) -> Rule:
    if not isinstance(rule, dict) or set(rule) != {"match", "scheme"}:
        raise SourceError(f"rule {place} is not a match and a scheme", path=path)
    match, scheme = rule["match"], rule["scheme"]
    if not (isinstance(match, str) and isinstance(scheme, str)):
        raise SourceError(f"match and scheme of rule {place} are texts", path=path)
    return Rule(match, scheme)


def _path(name: str) -> str:
    return os.path.join(_FOLDER, f"{name}.toml")
