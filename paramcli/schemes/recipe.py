"""The recipe of a run: what is asked for put together, and written so that it gives the same again.

Beside its rules a recipe may hold the seed, the dtype, the function that was applied and the
stream; those that ship (`paramcli.schemes.recipes`) have rules alone.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError, UsageError
from paramcli.schemes import recipes, registry
from paramcli.schemes.recipes import Rule
from paramcli.schemes.rules import generic, parse_rule
from paramcli.schemes.stream import STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Recipe", "compose", "read_recipe", "write_recipe"]

_KEYS = {"name", "source", "seed", "dtype", "stream", "apply", "rules"}
_NAME = re.compile(r"[\w-]+")
_EVERYWHERE = {
    **dict.fromkeys(("normal", "trunc_normal", "uniform"), ("embedding", "position")),
    **dict.fromkeys(
        ("zeros", "ones", "constant"),
        ("embedding", "position", "bias", "norm_weight", "norm_bias", "scale", "unknown"),
    ),
}
"""Roles beside weights that schemes are for which do not depend on fans, when they stand alone."""


class Recipe(NamedTuple):
    """Rules in order, the last that matches a tensor winning; `needed` must each match one.

    `seed` and `dtype` are None where the recipe leaves them open. `apply` names a function that
    was applied to the modules, "" for none.
    """

    name: str
    rules: tuple[Rule, ...]
    needed: frozenset[Rule] = frozenset()
    seed: int | None = None
    dtype: str | None = None
    apply: str = ""


def compose(
    scheme: str | None = None,
    path: str | None = None,
    rules: Sequence[str] = (),
    apply: str = "",
) -> Recipe:
    """Put a recipe together: one that ships, a file, a scheme, rules; what comes later wins.

    `scheme` is the name of one that ships, or a scheme with its arguments. Raises UsageError for
    what is malformed or not known, SourceError for a file that cannot be read.
    """
    found = Recipe("", ())
    shipped = recipes.shipped(scheme) if scheme and _NAME.fullmatch(scheme) else None
    if shipped is not None:
        found = Recipe(shipped.name, shipped.rules)
    if path is not None:
        given = read_recipe(_read(path), path)
        found = given._replace(rules=found.rules + given.rules, name=given.name or found.name)
    if scheme and shipped is None:
        found = found._replace(rules=found.rules + _spread(scheme), name=scheme)
    own = tuple(parse_rule(text) for text in rules)
    for rule in own:
        registry.parse(rule.scheme)
    return found._replace(
        rules=found.rules + own, needed=found.needed | set(own), apply=apply or found.apply
    )


def _spread(text: str) -> tuple[Rule, ...]:
    """The rules that one scheme stands for."""
    try:
        scheme = registry.parse(text)
    except UsageError as error:
        from difflib import get_close_matches

        close = get_close_matches(text, recipes.names(), 1)
        hint = f"did you mean {close[0]}?" if close else error.hint
        raise UsageError(str(error), hint=hint) from None
    default = recipes.shipped("default")
    assert default is not None
    more = (Rule(f"@{role}", scheme.text) for role in _EVERYWHERE.get(scheme.name, ()))
    return (*default.with_scheme(scheme.text).rules, *more)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower(), path=path) from None
    except UnicodeDecodeError as error:
        raise SourceError(f"not UTF-8: {error}", path=path) from None


def read_recipe(content: str, where: str) -> Recipe:
    """Read a recipe in TOML; `where` names it in errors.

    Its rules that go by name must match something. Raises SourceError for what is no recipe, and
    UsageError for patterns and schemes that are malformed.
    """
    found = recipes.parse(content, where)
    table = tomllib.loads(content)
    unknown = sorted(table.keys() - _KEYS)
    if unknown:
        raise SourceError(
            f"a recipe has no key {unknown[0]!r}",
            path=where,
            hint=f"it has {', '.join(sorted(_KEYS))}",
        )
    stream = table.get("stream", STREAM)
    if stream != STREAM:
        raise SourceError(
            f"it was drawn from the stream {stream!r}; this is {STREAM!r}",
            path=where,
            hint="use the version of paramcli that wrote it",
        )
    for rule in found.rules:
        parse_rule(f"{rule.match}={rule.scheme}")
        registry.parse(rule.scheme)
    return Recipe(
        name=found.name,
        rules=found.rules,
        needed=frozenset(rule for rule in found.rules if not generic(rule)),
        seed=_seed(table, where),
        dtype=_text(table, "dtype", where) or None,
        apply=_text(table, "apply", where),
    )


def _text(table: Mapping[str, object], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise SourceError(f"{key} is no text: {value!r}", path=where)
    return value


def _seed(table: Mapping[str, object], where: str) -> int | None:
    value = table.get("seed")
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,4000}", value):
        return int(value)  # one that the 64 bits of a TOML integer do not hold
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise SourceError(f"seed is no whole number: {value!r}", path=where)
    return value


def write_recipe(recipe: Recipe, used: Sequence[Rule]) -> str:
    """Write the recipe of a run in TOML: the rules that it used, and all else that counts."""
    lines = [f"name = {_quoted(recipe.name)}"] if recipe.name else []
    lines.append(f"stream = {_quoted(STREAM)}")
    seed = recipe.seed or 0
    lines.append(f"seed = {seed}" if abs(seed) < 1 << 63 else f'seed = "{seed}"')
    if recipe.dtype:
        lines.append(f"dtype = {_quoted(recipe.dtype)}")
    if recipe.apply:
        lines.append(f"apply = {_quoted(recipe.apply)}")
    lines.append("rules = [")
    lines += (
        f"  {{ match = {_quoted(rule.match)}, scheme = {_quoted(rule.scheme)} }}," for rule in used
    )
    return "\n".join([*lines, "]"]) + "\n"


def _quoted(text: str) -> str:
    """Write a basic string of TOML, whose escapes are those of JSON; DEL is one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
