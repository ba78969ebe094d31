"""Recipes: which rules fill a whole model. They ship as TOML, are written as TOML, and compose."""

from __future__ import annotations

import json
import os
import re
import tomllib
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError, UsageError
from paramcli.schemes import registry
from paramcli.schemes.rules import Rule, generic, parse_rule
from paramcli.schemes.stream import STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Recipe", "compose", "presets", "read_recipe", "write_recipe"]

_PRESETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recipes")
_KEYS = {"name", "source", "seed", "dtype", "stream", "apply", "rules"}
_PRESET = re.compile(r"[\w-]+")
_FIXED = (
    Rule("@bias", "zeros"), Rule("@norm_weight", "ones"), Rule("@norm_bias", "zeros"),
    Rule("@running_mean", "zeros"), Rule("@running_var", "ones"), Rule("@counter", "zeros"),
    Rule("@scale", "ones"), Rule("@buffer", "model"),
)  # fmt: skip
"""What holds for any scheme that is for weights alone."""
_EVERYWHERE = {"zeros", "ones", "constant", "torch", "tutorial", "zero_residual"}
"""Schemes that are for parameters of every role."""
_PARAMETERS = (
    "weight", "bias", "embedding", "position", "norm_weight", "norm_bias", "scale", "unknown",
)  # fmt: skip
_WEIGHTS = ("weight", "embedding", "position")


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
    source: str = ""


def presets() -> tuple[str, ...]:
    """Names of the recipes that ship with the package."""
    if not os.path.isdir(_PRESETS):
        return ()
    return tuple(sorted(name[:-5] for name in os.listdir(_PRESETS) if name.endswith(".toml")))


def compose(
    scheme: str | None, path: str | None = None, rules: Sequence[str] = (), apply: str = ""
) -> Recipe:
    """Put a recipe together: a preset, a file, a scheme, rules; what comes later wins.

    `scheme` is the name of a preset or a scheme with its arguments. Raises UsageError for what is
    malformed or not known, SourceError for a file that cannot be read.
    """
    found = Recipe("", ())
    preset = scheme is not None and _PRESET.fullmatch(scheme) and scheme in presets()
    if preset:
        found = _of_file(os.path.join(_PRESETS, f"{scheme}.toml"), shipped=True)
    if path is not None:
        given = _of_file(path)
        found = given._replace(rules=found.rules + given.rules, name=given.name or found.name)
    if scheme is not None and not preset:
        found = found._replace(rules=found.rules + _spread(scheme), name=scheme)
    own = tuple(parse_rule(text) for text in rules)
    for rule in own:
        registry.parse(rule.scheme)
    return found._replace(
        rules=found.rules + own, needed=found.needed | set(own), apply=apply or found.apply
    )


def _spread(text: str) -> tuple[Rule, ...]:
    """The rules that one scheme stands for: norms, biases and buffers have fixed values."""
    try:
        scheme = registry.parse(text)
    except UsageError as error:
        close = _near(text, presets())
        raise UsageError(str(error), hint=close or error.hint) from None
    if scheme.name == "model":
        return (Rule("*", "model"),)
    roles = _PARAMETERS if scheme.name in _EVERYWHERE else _WEIGHTS
    return (*_FIXED, *(Rule(f"@{role}", scheme.text) for role in roles))


def _near(text: str, names: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(text, names, 1)
    return f"did you mean {close[0]}?" if close else ""


def _of_file(path: str, *, shipped: bool = False) -> Recipe:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            content = file.read().decode()
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower(), path=path) from None
    except UnicodeDecodeError as error:
        raise SourceError(f"not TOML: {error}", path=path) from None
    recipe = read_recipe(content, path)
    return recipe._replace(needed=frozenset()) if shipped else recipe


def read_recipe(content: str, where: str) -> Recipe:
    """Read a recipe in TOML; `where` names it in errors.

    Its rules that go by name must match something. Raises SourceError for what is no recipe, and
    UsageError for patterns and schemes that are malformed.
    """
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"not TOML: {error}", path=where) from None
    unknown = sorted(table.keys() - _KEYS)
    if unknown:
        raise SourceError(
            f"a recipe has no key {unknown[0]!r}", path=where,
            hint=f"it has {', '.join(sorted(_KEYS))}",
        )  # fmt: skip
    stream = table.get("stream", STREAM)
    if stream != STREAM:
        raise SourceError(
            f"it was drawn from the stream {stream!r}; this is {STREAM!r}", path=where,
            hint="use the version of paramcli that wrote it",
        )  # fmt: skip
    rules = tuple(_rule(entry, where) for entry in _entries(table, where))
    for rule in rules:
        registry.parse(rule.scheme)
    return Recipe(
        name=_text(table, "name", where),
        rules=rules,
        needed=frozenset(rule for rule in rules if not generic(rule)),
        seed=_seed(table, where),
        dtype=_text(table, "dtype", where) or None,
        apply=_text(table, "apply", where),
        source=_text(table, "source", where),
    )


def _entries(table: Mapping[str, object], where: str) -> list[object]:
    entries = table.get("rules", [])
    if not isinstance(entries, list):
        raise SourceError("its rules are no tables: write [[rules]]", path=where)
    return entries


def _rule(entry: object, where: str) -> Rule:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("match"), str)
        or not isinstance(entry.get("scheme"), str)
        or entry.keys() - {"match", "scheme", "why"}
    ):
        raise SourceError(f"a rule has a match and a scheme, not {entry!r}", path=where)
    return parse_rule(f"{entry['match']}={entry['scheme']}")


def _text(table: Mapping[str, object], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise SourceError(f"{key} is no text: {value!r}", path=where)
    return value


def _seed(table: Mapping[str, object], where: str) -> int | None:
    value = table.get("seed")
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,4000}", value):
        return int(value)  # one that TOML's 64 bits do not hold
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
    for rule in used:
        lines += ["", "[[rules]]"]
        lines += [f"match = {_quoted(rule.match)}", f"scheme = {_quoted(rule.scheme)}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Write a basic string of TOML, whose escapes are those of JSON; DEL is one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
