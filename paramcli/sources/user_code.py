"""The user's own code, found, imported and run so that it spoils neither our stdout nor imports."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import textwrap
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paramcli.errors import ParamcliError, SourceError, UsageError, UserCodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["Place", "blame", "load", "locate", "split", "visit"]

_OURS = str(Path(__file__).parents[1]) + os.sep
_LIBRARIES = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_FORMS = "write pkg.mod:Net or path/to/file.py:Net"

_guests: dict[str, str] = {}
"""The top-level modules that earlier targets brought, and the folder that each came from."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target's object is: a module by name, its file if given, and a path of attributes.

    `folders` are to be importable while its code runs.
    """

    target: str
    module: str
    attributes: tuple[str, ...]
    folders: tuple[str, ...]
    file: Path | None = None


def split(target: str) -> tuple[str, str]:
    """Cut `target` into the module or file, and the attribute path ("" where there is none)."""
    file, suffix, attributes = target.rpartition(".py:")
    if suffix:
        return f"{file}.py", attributes
    module, _, attributes = target.partition(":")
    return module, attributes


def locate(target: str) -> Place:
    """Find out what a target names, without running any of it."""
    left, right = split(target)
    attributes = tuple(right.split("."))
    if not left or not all(map(str.isidentifier, attributes)):
        trouble = "it names no class" if left and not right else "it is malformed"
        raise UsageError(f"{target} cannot be opened as a model class: {trouble}", hint=_FORMS)
    here = str(Path.cwd())
    if not left.endswith(".py"):
        return Place(target, left, attributes, (here,))
    file = Path(os.path.realpath(os.path.expanduser(left)))
    if not os.path.isfile(file):  # Path.is_file() raises for a name too long
        others = {path.name: path for path in file.parent.glob("*.py")}
        hint = _did_you_mean(file.name, list(others))
        raise SourceError("no such file", path=left, hint=hint)
    # As `python -m` would name it, so that the relative imports of a package work.
    folder, names = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return Place(target, ".".join(names), attributes, (str(folder), here), file)


@contextlib.contextmanager
def visit(place: Place) -> Iterator[None]:
    """Run user code: its folders importable, and what it prints sent to stderr.

    Modules that an earlier target brought from another folder are forgotten first: net.py and
    old/net.py may each have a `blocks` of their own.
    """
    for name in [name for name, folder in _guests.items() if folder != place.folders[0]]:
        del _guests[name]
        for loaded in [key for key in sys.modules if f"{key}.".startswith(f"{name}.")]:
            del sys.modules[loaded]
    importlib.invalidate_caches()
    before = set(sys.modules)
    sys.path[:0] = place.folders
    try:
        with _stdout_to_stderr():
            yield
    finally:
        for folder in place.folders:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)
        new = {name: _folder(sys.modules[name]) for name in sys.modules.keys() - before}
        _guests.update({name: folder for name, folder in new.items() if folder in place.folders})


def load(place: Place) -> object:
    """Import the target's module and return the object that it names."""
    with blame(f"{place.target}: importing it"):
        found: object = _import_file(place) if place.file else _import_name(place)
        for name in place.attributes:
            try:
                found = getattr(found, name)
            except AttributeError:
                kind = "module" if inspect.ismodule(found) else "object"
                message = f"{place.target}: the {kind} has no attribute {name!r}"
                raise SourceError(message, hint=_candidates(found, name)) from None
    return found


@contextlib.contextmanager
def blame(what: str) -> Iterator[None]:
    """Turn whatever user code raises into one line that says what, why and where."""
    try:
        yield
    except ParamcliError:
        raise
    except (Exception, SystemExit) as error:
        text = error.msg if isinstance(error, SyntaxError) else error
        reason = textwrap.shorten(f"{type(error).__name__}: {text}", 400, placeholder=" …")
        message = f"{what} raised {reason.rstrip(': ')}{_where(error)}"
        hint = None
        if isinstance(error, ModuleNotFoundError):
            hint = "install it beside paramcli, or run from the folder that holds it"
        raise UserCodeError(message, hint=hint) from error


def _import_name(place: Place) -> ModuleType:
    try:
        return importlib.import_module(place.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place.module}.".startswith(f"{error.name}."):
            raise
        raise SourceError(
            f"{place.target}: there is no module named {error.name!r}",
            hint="it is looked for in the current directory and among the installed packages",
        ) from None


def _import_file(place: Place) -> ModuleType:
    """Import a file by its path, or by its name where it is part of a package."""
    file, name = str(place.file), place.module
    if place.folders[0] != str(Path(file).parent):
        module = importlib.import_module(name)
        if _origin(module) != file:
            raise SourceError(
                f"cannot be imported as {name}: that is {_origin(module)}",
                path=file,
                hint="give its package a name that no other package has",
            )
        return module
    if not name.isidentifier() or _origin(sys.modules.get(name)) not in ("", file):
        name = file  # a name that nothing else has: json.py must not become `json`
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _origin(module: ModuleType | None) -> str:
    """Return the file of a module, "" where it is not loaded."""
    if module is None:
        return ""
    spec = module.__spec__
    return str(Path(spec.origin).resolve()) if spec and spec.origin else repr(module)


def _folder(module: ModuleType) -> str | None:
    """Return the folder that a top-level module was imported from."""
    spec = getattr(module, "__spec__", None)
    if spec is None or "." in spec.name:
        return None
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    return str(Path(places[0]).parent)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect Python's stdout, and the descriptor that C code and child processes write to."""
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as undo:
        with contextlib.suppress(OSError):  # a closed descriptor needs no guard
            saved = os.dup(1)
            undo.callback(os.close, saved)
            os.dup2(2, 1)
            undo.callback(os.dup2, saved, 1)
        yield


def _where(error: BaseException) -> str:
    """Return the innermost line of the user's own, in preference to those of libraries."""
    lines = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "<", error.lineno or 0))
    lines = [at for at in lines if not at[0].startswith((_OURS, "<"))]
    own = [at for at in lines if not at[0].startswith(_LIBRARIES)]
    if not lines:
        return ""
    name, number = (own or lines)[-1]
    file, here = Path(name), Path.cwd()
    return f" ({file.relative_to(here) if file.is_relative_to(here) else file}:{number})"


def _candidates(holder: object, name: str) -> str | None:
    """Suggest the model class or factory of `holder` that was probably meant."""
    from torch import nn

    found = {
        key: value
        for key, value in getattr(holder, "__dict__", {}).items()
        if not key.startswith("_")
        and (
            isinstance(value, nn.Module)
            or inspect.isfunction(value)
            or (inspect.isclass(value) and issubclass(value, nn.Module))
        )
    }
    here = getattr(holder, "__name__", None)
    own = [key for key, value in found.items() if value.__module__ == here]
    return _did_you_mean(name, list(found)) or (f"it has {', '.join(own[:5])}" if own else None)


def _did_you_mean(name: str, names: list[str]) -> str | None:
    """Suggest the nearest of `names`, whatever its case."""
    lowered = {other.casefold(): other for other in reversed(names)}
    close = difflib.get_close_matches(name.casefold(), lowered, n=1)
    return f"did you mean {lowered[close[0]]}?" if close else None
