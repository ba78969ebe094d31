"""What the command line and pyproject.toml say together about which targets to open."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError, UsageError
from paramcli.sources import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Initialization", "initialization", "requests"]


class Initialization(NamedTuple):
    """How the project wants to be initialized, where it says so."""

    scheme: str | None
    seed: int | None


def requests(  # noqa: PLR0913 - the options that all verbs share
    targets: Sequence[str] | None,
    *,
    key: str | None,
    everything: bool,
    arg: Sequence[str],
    args_file: str | None,
    values: bool = False,
) -> list[Request]:
    """Turn the options that all verbs share into requests, one for each target.

    Without targets the nearest pyproject.toml's `[tool.paramcli]` gives one. Raises UsageError
    where neither does, and for options that contradict each other.
    """
    if key is not None and everything:
        raise UsageError("--key and --all contradict each other", hint="give one of the two")
    arguments = _from_file(args_file) | dict(_argument(text) for text in arg)
    if not targets:
        target, defaults = _project()
        targets, arguments = [target], defaults | arguments
    return [Request(target, key, everything, arguments, values) for target in targets]


def _argument(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--arg {text!r} is not NAME=VALUE", hint="for example --arg hidden=64")
    import json

    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _from_file(path: str | None) -> dict[str, object]:
    return {} if path is None else _toml(path)


def _toml(path: str) -> dict[str, object]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SourceError((error.strerror or str(error)).lower(), path=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"not TOML: {error}", path=path) from None


def initialization() -> Initialization:
    """Read scheme and seed from `[tool.paramcli]` of the nearest pyproject.toml."""
    path, table = _table()
    scheme, seed = table.get("scheme"), table.get("seed")
    if not isinstance(scheme, str | None):
        raise UsageError(f"scheme in [tool.paramcli] of {path} is no text")
    if not isinstance(seed, int | None) or isinstance(seed, bool):
        raise UsageError(f"seed in [tool.paramcli] of {path} is no whole number")
    return Initialization(scheme, seed)


def _table() -> tuple[str, dict[str, object]]:
    """The path of the nearest pyproject.toml and its `[tool.paramcli]`, empty where it has none."""
    directory = os.getcwd()
    while True:
        path = os.path.join(directory, "pyproject.toml")
        if os.path.isfile(path):
            break
        parent = os.path.dirname(directory)
        if parent == directory:
            raise _no_target("and no pyproject.toml is near")
        directory = parent
    tool = _toml(path).get("tool")
    table = tool.get("paramcli") if isinstance(tool, dict) else None
    return path, table if isinstance(table, dict) else {}


def _project() -> tuple[str, dict[str, object]]:
    """The target and its arguments from `[tool.paramcli]` of the nearest pyproject.toml."""
    path, table = _table()
    directory = os.path.dirname(path)
    target = table.get("target")
    if not isinstance(target, str):
        raise _no_target(f"and {path} has no target in [tool.paramcli]")
    arguments = table.get("args", {})
    if not isinstance(arguments, dict):
        raise UsageError(f"args in [tool.paramcli] of {path} is no table")
    here = os.path.join(directory, target)
    if os.path.lexists(here) or os.path.lexists(here.partition(":")[0]):
        return here, arguments
    sys.path.insert(0, directory)  # a module is named from the project's own folder
    return target, arguments


def _no_target(why: str) -> UsageError:
    return UsageError(f"no target is named, {why}", hint="for example: paramcli list model.pt")
