"""Names that a safetensors file does not store: what its metadata says of ties and of other views.

`safetensors.torch.save_model` stores one name of a tie and writes `{removed: kept}` for the rest.
That knows neither transposes and slices nor the order of names; where a file needs those, one key
of our own holds them as JSON: `{"version": 1, "names": [every name, in order], "views": {name:
{"of": stored name, "dtype", "shape", "stride", "offset", "marks"}}}`, offsets in elements from the
first of the stored tensor. Where that key stands, it alone decides which names are views.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from paramcli.errors import SourceError
from paramcli.tensors import DTYPES, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["VIEWS", "Restored", "restore", "restore_removed", "views_key", "without_ties"]

VIEWS = "paramcli.views"
_VERSION = 1
_MAX_RANK = 255
_MAX_ELEMENTS = 1 << 63
_FIELDS = {"of", "dtype", "shape", "stride", "offset", "marks"}


class Restored(NamedTuple):
    """All names of a file, and its metadata."""

    entries: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]


class _DamagedError(Exception):
    pass


def restore(entries: tuple[TensorInfo, ...], metadata: Mapping[str, str], path: str) -> Restored:
    """Add the names that are views of stored ones, and take our own key out of the metadata.

    Raises SourceError for a key that is damaged.
    """
    text = metadata.get(VIEWS)
    if text is None:
        return Restored(restore_removed(entries, metadata), metadata)
    rest = {key: value for key, value in metadata.items() if key != VIEWS}
    try:
        return _restore_told(entries, rest, _parsed(text))
    except _DamagedError as damage:
        raise SourceError(f"the metadata {VIEWS!r} {damage}", path=path) from None


def restore_removed(
    entries: tuple[TensorInfo, ...], metadata: Mapping[str, str]
) -> tuple[TensorInfo, ...]:
    """Add the names that the metadata maps to a stored one."""
    kept = set(metadata.values())
    views = {info.name: info for info in entries if info.name in kept} if kept else {}
    if not views:
        return entries
    names = {info.name for info in entries}
    return entries + tuple(
        views[to]._replace(name=name)
        for name, to in metadata.items()
        if to in views and name not in names
    )


def without_ties(entries: Iterable[TensorInfo], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata without what maps one tensor's name to another's."""
    names = {info.name for info in entries}
    return {key: text for key, text in metadata.items() if not (key in names and text in names)}


def views_key(names: Sequence[str], views: Mapping[str, tuple[TensorInfo, TensorInfo]]) -> str:
    """Write the key: every name in order, and for each view its own facts and the stored one's.

    Raises ValueError where a view does not begin a whole number of elements into the stored one.
    """
    described = {}
    for name, (view, stored) in views.items():
        bits = view.offset * view.dtype.bits - stored.offset * stored.dtype.bits
        if bits % view.dtype.bits:
            raise ValueError(f"{name!r} begins inside an element of {stored.name!r}")
        described[name] = {
            "of": stored.name,
            "dtype": view.dtype.name,
            "shape": view.shape,
            "stride": view.stride,
            "offset": bits // view.dtype.bits,
            "marks": view.marks,
        }
    told = {"version": _VERSION, "names": list(names), "views": described}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _parsed(text: str) -> dict[str, object]:
    try:
        told = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _DamagedError(f"is not JSON: {error}") from None
    if type(told) is not dict or type(told.get("version")) is not int:
        raise _DamagedError("states no version")
    if told["version"] != _VERSION:
        raise _DamagedError(f"is of version {told['version']}, which needs another paramcli")
    return told


def _restore_told(
    entries: tuple[TensorInfo, ...], metadata: dict[str, str], told: dict[str, object]
) -> Restored:
    names, views = told.get("names"), told.get("views")
    if type(names) is not list or not all(type(name) is str for name in names):
        raise _DamagedError("has no list of names")
    if type(views) is not dict:
        raise _DamagedError("has no views")
    stored = {info.name: info for info in entries}
    if len(set(names)) != len(names) or not stored.keys() | views.keys() <= set(names):
        raise _DamagedError("does not name every tensor once")
    found = []
    for name in names:
        if name in stored:
            if name in views:
                raise _DamagedError(f"makes a view of {name!r}, which is stored")
            found.append(stored[name])
        elif name in views:
            found.append(_view(name, views[name], stored))
        else:
            kept = stored.get(metadata.get(name, ""))
            if kept is None:
                raise _DamagedError(f"names {name!r}, which is neither stored nor tied")
            found.append(kept._replace(name=name))
    return Restored(tuple(found), metadata)


def _view(name: str, facts: object, stored: Mapping[str, TensorInfo]) -> TensorInfo:
    """Make a view of a stored tensor. It never reaches past that tensor's bytes."""
    if type(facts) is not dict or facts.keys() != _FIELDS:
        raise _DamagedError(f"does not describe {name!r} as a view")
    of, kind, marks = facts["of"], facts["dtype"], facts["marks"]
    base = stored.get(of) if type(of) is str else None
    dtype = DTYPES.get(kind) if type(kind) is str else None
    shape, stride, offset = _counts(facts["shape"]), _counts(facts["stride"]), facts["offset"]
    if (
        base is None
        or dtype is None
        or shape is None
        or stride is None
        or len(shape) != len(stride)
        or type(offset) is not int
        or not 0 <= offset < _MAX_ELEMENTS
        or marks not in ([], ["conj"], ["neg"], ["conj", "neg"])
        or ("conj" in marks and dtype.parts == 1)
        or (marks and dtype.bits < 8)
        or math.prod(shape) * dtype.bits >= _MAX_ELEMENTS
    ):
        raise _DamagedError(f"makes {name!r} a view that cannot be")
    info = TensorInfo(name, dtype, shape, stride, offset, base.storage, marks=tuple(marks))
    if info.extent[1] > base.storage.nbytes:
        raise _DamagedError(f"makes {name!r} reach past the bytes of {of!r}")
    return info


def _counts(value: object) -> tuple[int, ...] | None:
    if type(value) is not list or len(value) > _MAX_RANK:
        return None
    if not all(type(n) is int and 0 <= n < _MAX_ELEMENTS for n in value):
        return None
    return tuple(value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
