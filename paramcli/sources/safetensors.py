"""safetensors: eight bytes of length, a JSON header, the tensors' bytes, and nothing else.

The rules are those of the reference reader (`safetensors/src/tensor.rs`: `SafeTensors::
read_metadata` and `Metadata::validate`), and two of our own: names must be unique, and an entry
must be an object. A header as the usual writers make it is matched entry by entry with a regular
expression; any other takes the JSON parser. Both end in the same checks.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from paramcli.checkpoint import Checkpoint
from paramcli.errors import CUT_SHORT, SourceError
from paramcli.sources.json_members import Pairs, object_at, text_at, value_at
from paramcli.sources.ties import restore
from paramcli.tensors import DTYPES, DType, Place, Storage, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramcli.files import File
    from paramcli.sources import Request

__all__ = ["SAFETENSORS_DTYPES", "Header", "open_safetensors", "read_header"]

MAX_HEADER = 100_000_000
_MAX_USIZE = 1 << 64

SAFETENSORS_DTYPES: dict[str, DType] = {
    written: DTYPES[name]
    for written, name in {
        "BOOL": "bool", "F4": "float4_e2m1fn", "F6_E2M3": "float6_e2m3fn",
        "F6_E3M2": "float6_e3m2fn", "U8": "uint8", "I8": "int8", "F8_E5M2": "float8_e5m2",
        "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu",
        "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "I16": "int16",
        "U16": "uint16", "F16": "float16", "BF16": "bfloat16", "I32": "int32", "U32": "uint32",
        "F32": "float32", "C64": "complex64", "F64": "float64", "I64": "int64", "U64": "uint64",
    }.items()
}  # fmt: skip
"""Element types by the names that safetensors 0.8 writes."""

_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_ENTRY = re.compile(
    r'"([^"\\\x00-\x1f]*)":\{"dtype":"([A-Z0-9_]+)","shape":\[((?:'
    + _NUMBER + r"(?:," + _NUMBER + r")*)?)\],"
    r'"data_offsets":\[(' + _NUMBER + r"),(" + _NUMBER + r")\]\}(?:,|\}[ \t\n\r]*\Z)"
).match  # fmt: skip


class Header(NamedTuple):
    """What a header states: tensors in its order, its metadata, and where the data begins."""

    entries: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    data_start: int


def open_safetensors(file: File, request: Request) -> Checkpoint:
    """Open one file. Names that the metadata says were dropped for a tie are listed as tied."""
    header = read_header(file)
    entries, metadata = restore(header.entries, header.metadata, file.path)

    def locate(storage: Storage) -> Place:
        return Place(storage.file, header.data_start + int(storage.key))

    return Checkpoint(
        origin=request.target,
        format="safetensors",
        entries=entries,
        metadata=metadata,
        locate=locate,
    )


def read_header(file: File) -> Header:
    """Read and check the header of a safetensors file. Raises SourceError for a broken rule."""
    path = file.path
    if file.size < 8:
        raise SourceError(
            "shorter than the eight bytes that every safetensors begins with", path=path
        )
    size = int.from_bytes(file.read(0, 8), "little")
    if size > MAX_HEADER:
        raise SourceError(f"the header claims {size:,} bytes; 100,000,000 are allowed", path=path)
    if 8 + size > file.size:
        raise SourceError(
            f"the header claims {size:,} bytes, past the end of the file", path=path,
            hint=CUT_SHORT,
        )  # fmt: skip
    try:
        text = file.read(8, size).decode()
    except UnicodeDecodeError as error:
        raise SourceError("the header is not UTF-8", path=path, offset=8 + error.start) from None
    if not text.startswith("{"):
        raise SourceError("the header does not begin with an opening brace", path=path, offset=8)
    entries, metadata = _usual(text, path) or _any(text, path)
    _check(entries, file, 8 + size)
    return Header(tuple(entries), metadata, 8 + size)


def _usual(text: str, path: str) -> tuple[list[TensorInfo], dict[str, str]] | None:
    """Read a header as the usual writers lay it out; None where it is laid out otherwise."""
    pos: int = 1
    metadata: dict[str, str] = {}
    if text.startswith('{"__metadata__":{'):
        try:
            metadata, pos = _metadata(text, len('{"__metadata__":'), path)
        except ValueError:
            return None
        pos += 1
        if text[pos - 1 : pos] != ",":
            return None
    entries: list[TensorInfo] = []
    views: dict[tuple[str, str], tuple[DType, tuple[int, ...], tuple[int, ...], int]] = {}
    add, new = entries.append, tuple.__new__
    match = _ENTRY(text, pos)
    while match is not None:
        name, kind, dims, begin, end = match.groups()
        view = views.get((kind, dims))
        if view is None:
            shape = tuple(map(int, dims.split(","))) if dims else ()
            view = views[kind, dims] = _view(name, kind, shape, path)
        dtype, shape, stride, nbytes = view
        start = int(begin)
        if int(end) - start != nbytes:
            raise _wrong_size(name, path)
        storage = new(Storage, (path, start, nbytes))
        fields = (name, dtype, shape, stride, 0, storage, "tensor", "strided", (), (), ())
        add(new(TensorInfo, fields))
        pos = match.end()
        match = _ENTRY(text, pos)
    if pos < len(text) or text.endswith(","):
        return None
    return (entries, metadata) if "__metadata__" not in {info.name for info in entries} else None


def _any(text: str, path: str) -> tuple[list[TensorInfo], dict[str, str]]:
    """Read a header with the JSON parser, a tensor at a time: as objects, 40 times its size."""
    metadata: dict[str, str] | None = None
    entries: dict[str, TensorInfo] = {}

    def member(name: str, pos: int) -> int:
        nonlocal metadata
        if name == "__metadata__":
            if metadata is not None:
                raise SourceError("the header has its metadata twice", path=path)
            metadata, end = _metadata(text, pos, path)
            return end
        if name in entries:
            raise SourceError(f"two tensors are named {name!r}", path=path)
        value, end = value_at(text, pos)
        entries[name] = _entry(name, value, path)
        return end

    try:
        end = object_at(text, 0, member)
    except RecursionError:
        raise SourceError("the header's JSON is nested too deep", path=path) from None
    except ValueError as error:
        raise SourceError(f"the header is not JSON: {error}", path=path) from None
    if text[end:].strip(" \t\n\r"):
        raise SourceError(f"the header's JSON ends at character {end:,}", path=path)
    return list(entries.values()), metadata or {}


def _entry(name: str, value: object, path: str) -> TensorInfo:
    if not isinstance(value, Pairs):
        raise SourceError(f"tensor {name!r} is described by something that is no object", path=path)
    fields = dict(value)
    if len(fields) != len(value):
        raise SourceError(f"tensor {name!r} has a field twice", path=path)
    try:
        kind, dims, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    except KeyError as missing:
        raise SourceError(f"tensor {name!r} lacks its {missing}", path=path) from None
    if type(kind) is not str:
        raise SourceError(f"tensor {name!r} has a dtype that is no text", path=path)
    shape = _numbers(name, "shape", dims, path)
    begin_end = _numbers(name, "data_offsets", offsets, path)
    if len(begin_end) != 2:
        raise SourceError(f"tensor {name!r} has data_offsets that are not two", path=path)
    dtype, shape, stride, nbytes = _view(name, kind, shape, path)
    begin, end = begin_end
    if end - begin != nbytes:
        raise _wrong_size(name, path)
    return TensorInfo(name, dtype, shape, stride, 0, Storage(path, begin, nbytes))


def _numbers(name: str, field: str, value: object, path: str) -> tuple[int, ...]:
    if type(value) is list and all(type(n) is int and 0 <= n < _MAX_USIZE for n in value):
        return tuple(value)
    raise SourceError(f"tensor {name!r} has a {field} that is no list of sizes", path=path)


def _view(
    name: str, kind: str, shape: tuple[int, ...], path: str
) -> tuple[DType, tuple[int, ...], tuple[int, ...], int]:
    """Element type, shape, row-major stride and bytes of a tensor."""
    dtype = SAFETENSORS_DTYPES.get(kind)
    if dtype is None:
        raise SourceError(
            f"tensor {name!r} has the unknown dtype {kind!r}", path=path,
            hint="it may need a newer paramcli",
        )  # fmt: skip
    count = 1
    for n in shape:
        count *= n
        if count >= _MAX_USIZE:
            raise SourceError(f"tensor {name!r} has more elements than can be counted", path=path)
    if count * dtype.bits % 8 or count * dtype.bits >= _MAX_USIZE:
        raise SourceError(f"tensor {name!r} does not fill whole bytes", path=path)
    stride, step = [], 1
    for n in reversed(shape):
        stride.append(step)
        step *= max(n, 1)
    return dtype, shape, tuple(reversed(stride)), count * dtype.bits // 8


def _check(entries: list[TensorInfo], file: File, data_start: int) -> None:
    """Names are unique; the data is covered once, from its first byte to the end of the file."""
    if len({info.name for info in entries}) != len(entries):
        counts = Counter(info.name for info in entries)
        raise SourceError(f"two tensors are named {counts.most_common(1)[0][0]!r}", path=file.path)
    end = 0
    for begin, nbytes in sorted((info.storage.key, info.storage.nbytes) for info in entries):
        if begin != end:
            problem = "overlap" if int(begin) < end else "leave a hole"
            raise SourceError(
                f"the tensors' data {problem}", path=file.path, offset=data_start + int(begin)
            )
        end += nbytes
    missing = data_start + end - file.size
    if missing > 0:
        raise SourceError(
            f"the file ends {missing:,} bytes before its last tensor does", path=file.path,
            hint=CUT_SHORT,
        )  # fmt: skip
    if missing:
        raise SourceError(
            f"{-missing:,} bytes stand after the last tensor",
            path=file.path,
            offset=data_start + end,
        )


def _metadata(text: str, pos: int, path: str) -> tuple[dict[str, str], int]:
    """Read metadata at a position, and where they end. Raises ValueError for what is not JSON."""
    found: dict[str, str] = {}
    if text.startswith("null", pos):
        return found, pos + 4
    if not text.startswith("{", pos):
        raise SourceError("the metadata is no object", path=path)

    def member(name: str, at: int) -> int:
        if name in found:
            raise SourceError(f"the metadata has the key {name!r} twice", path=path)
        if not text.startswith('"', at):
            raise SourceError("the metadata does not map text to text", path=path)
        found[name], end = text_at(text, at)
        return end

    return found, object_at(text, pos, member)


def _wrong_size(name: str, path: str) -> SourceError:
    return SourceError(f"tensor {name!r} has another size than its shape and dtype say", path=path)
