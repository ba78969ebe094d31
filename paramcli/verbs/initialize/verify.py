"""Whether a file still is what its own recipe makes: drawn anew and compared, byte by byte."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError
from paramcli.owners import Owner
from paramcli.schemes.recipe import read_recipe
from paramcli.schemes.stream import STREAM
from paramcli.verbs.initialize.overlay import initialized
from paramcli.verbs.initialize.plan import make_plan
from paramcli.verbs.initialize.values import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.drawing import Drawn
    from paramcli.tensors import Kind, TensorInfo
    from paramcli.verbs.initialize.plan import Plan, Planned

__all__ = ["VerifyReport", "recorded", "verify"]

_RECIPE, _MODULES = "paramcli.recipe", "paramcli.modules"
_PATIENCE, _EACH = 1.5, 0.001
"""Seconds that a recorded recipe may take, and more for each tensor."""


class VerifyReport(NamedTuple):
    """Tensors by name: `unchanged` ones, `changed` ones, and those that could not be checked.

    `unchecked` are kept from another file, or given by a model's constructor; `missing` and
    `unexpected` are names that the model has and the file has not, and the other way round.
    """

    target: str
    format: str
    recipe: str
    seed: int
    stream: str
    version: str
    unchanged: tuple[str, ...]
    changed: tuple[str, ...]
    unchecked: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing was found to be otherwise."""
        return not (self.changed or self.missing or self.unexpected)


def recorded(file: Checkpoint, target: Checkpoint | None = None) -> Plan:
    """Plan anew what a file's metadata says that it was made by, of a `target` or of its own names.

    Raises SourceError where there is no recipe in it, or one of another stream.
    """
    text = file.metadata.get(_RECIPE)
    if text is None:
        raise SourceError(
            "its metadata has no recipe", path=file.origin,
            hint="only files that paramcli init wrote have one; saved again, they lose it",
        )  # fmt: skip
    stream = file.metadata.get("paramcli.stream", STREAM)
    if stream != STREAM:
        raise SourceError(
            f"it was drawn from the stream {stream!r}; this is {STREAM!r}", path=file.origin,
            hint="use the version of paramcli that wrote it",
        )  # fmt: skip
    recipe = read_recipe(text, f"{file.origin}: {_RECIPE}")
    kept = _kept(file)
    base = replace(file, entries=tuple(info for info in file if info.name in kept))
    with _in_time(file):
        return make_plan(
            target or _known(file), recipe._replace(needed=frozenset()), base=base,
            narrow=_narrow(file),
        )  # fmt: skip


@contextlib.contextmanager
def _in_time(file: Checkpoint) -> Iterator[None]:
    """Give up on a recipe that takes too long: a regular expression can be made to.

    Only the main thread can be stopped so, and not everywhere.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: object) -> None:
        raise SourceError(
            "the recipe in its metadata takes too long to apply", path=file.origin,
            hint="one of its patterns may be made to hang; name the TARGET and a --scheme",
        )  # fmt: skip

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE + _EACH * len(file))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _known(file: Checkpoint) -> Checkpoint:
    """The file with what its metadata tell of its modules."""
    owners: dict[str, Owner] = {}
    kinds: dict[str, Kind] = {}
    for kind, of_type, classes, groups, transposed, padding, names in _rows(file):
        for name in names:
            path = name.rpartition(".")[0]
            if of_type:
                owners[name] = Owner(path, of_type, tuple(classes), groups, transposed, padding)
            kinds[name] = kind
    entries = tuple(info._replace(kind=kinds.get(info.name, info.kind)) for info in file.entries)
    # What a constructor gave cannot be known here; that it was given can.
    return replace(file, entries=entries, modules=owners, format="module")


class _Row(NamedTuple):
    kind: Kind
    type: str
    classes: list[str]
    groups: int
    transposed: bool
    padding: int | None
    names: list[str]


def _rows(file: Checkpoint) -> list[_Row]:
    text = file.metadata.get(_MODULES)
    if text is None:
        return []
    try:
        rows = json.loads(text)
        good = all(_is_row(*row) for row in rows)
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        raise SourceError(f"its metadata {_MODULES!r} are damaged", path=file.origin)
    return [_Row(*row) for row in rows]


def _is_row(  # noqa: PLR0913, PLR0917 - the fields of a row
    kind: object,
    of_type: object,
    classes: object,
    groups: object,
    transposed: object,
    padding: object,
    names: object,
) -> bool:
    return (
        kind in ("parameter", "buffer", "tensor")
        and isinstance(of_type, str)
        and _texts(classes)
        and type(groups) is int
        and groups > 0
        and type(transposed) is bool
        and (padding is None or type(padding) is int)
        and _texts(names)
    )


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _kept(file: Checkpoint) -> set[str]:
    try:
        names = json.loads(file.metadata.get("paramcli.kept", "[]"))
    except (ValueError, RecursionError):
        names = None
    if not _texts(names):
        raise SourceError("its metadata 'paramcli.kept' are damaged", path=file.origin)
    return set(names)


def _narrow(file: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of the model that muP was tuned on."""
    try:
        found = json.loads(file.metadata.get("paramcli.base", "{}"))
        shapes = {str(name): tuple(shape) for name, shape in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        shapes = {"": ("",)}
    if not all(type(size) is int and size >= 0 for shape in shapes.values() for size in shape):
        raise SourceError("its metadata 'paramcli.base' are damaged", path=file.origin)
    return shapes


def verify(
    file: Checkpoint,
    plan: Plan,
    given: Callable[[], Checkpoint] | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Draw what the plan says and compare the file with it, in pieces.

    `given` opens the model with its constructor's values; without it those are not checked. Raises
    SourceError where the file cannot be read.
    """
    there = {info.name: info for info in file}
    wanted = {item.info.name: item for item in plan.items}
    tensors = [one for one in plan.tensors if one.info.name in there]
    checked = [one for one in tensors if one.kept is None and (given is not None or not one.given)]
    changed = _changed(file, there, plan, checked, given, workers, progress)
    known = dict.fromkeys(one.info.name for one in checked)
    return VerifyReport(
        target=file.origin,
        format=file.format,
        recipe=plan.recipe.name,
        seed=plan.seed,
        stream=plan.stream,
        version=file.metadata.get("paramcli.version", ""),
        unchanged=tuple(name for name in known if name not in changed),
        changed=tuple(name for name in known if name in changed),
        unchecked=tuple(one.info.name for one in tensors if one.info.name not in known),
        missing=_absent(wanted, there),
        unexpected=_absent(there, wanted),
    )


def _changed(  # noqa: PLR0913, PLR0917 - both sides, and how to compare them
    file: Checkpoint,
    there: Mapping[str, TensorInfo],
    plan: Plan,
    checked: Sequence[Planned],
    given: Callable[[], Checkpoint] | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> set[str]:
    """Names whose type, shape or bytes are not those that are drawn."""
    from paramcli.save.contents import stretch
    from paramcli.save.drawing import drawn

    alike = [one for one in checked if _alike(one.info, there[one.info.name])]
    changed = {one.info.name for one in checked} - {one.info.name for one in alike}
    anew = initialized(plan, "", given)
    assert anew.draw is not None
    own = threading.local()

    def same(piece: Drawn, content: memoryview) -> bool:
        if getattr(own, "number", None) != piece.stretch:
            info = there[alike[piece.stretch].info.name]
            own.number, own.stored = piece.stretch, Stored(file, info, info.dtype.name)
        found = bytearray(piece.nbytes)
        first = piece.start * 8 // alike[piece.stretch].info.dtype.bits
        own.stored.fill(first, memoryview(found))
        return found == content  # by memcmp, as two views would not be

    total = plan.nbytes
    stretches = [stretch(anew, one.info) for one in alike]
    for piece, as_drawn in drawn(anew.draw, stretches, same, workers, whole=anew.whole):
        if not as_drawn:
            changed.add(alike[piece.stretch].info.name)
        if progress is not None:
            progress(piece.nbytes, total)
    return changed


def _alike(one: TensorInfo, other: TensorInfo) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype)


def _absent(names: Mapping[str, object], there: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in there)
