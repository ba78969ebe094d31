"""safetensors: eight bytes of length, a JSON header, the tensors' bytes, and nothing else.

The rules are those of the reference reader (`safetensors/src/tensor.rs`: `SafeTensors::
read_metadata` and `Metadata::validate`), and two of our own: names must be unique, and an entry
must be an object. A header as the usual writers make it is matched entry by entry with a regular
expression; any other takes the JSON parser. Both end in the same checks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from paramcli.checkpoint import DTYPES, Checkpoint, DType, Place, Storage, TensorInfo
from paramcli.errors import SourceError
from paramcli.sources.ties import restore

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


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it was written, duplicate keys included."""


def _pairs(pairs: list[tuple[str, object]]) -> _Pairs:
    """Keep an object's pairs. Refuses what JSON can say and UTF-8 cannot: half a character."""
    for text in (text for pair in pairs for text in pair if type(text) is str):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{text!r} is no text") from None
    return _Pairs(pairs)


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
            hint="the file is cut short; copy or download it again",
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
    pos, metadata = 1, {}
    if text.startswith('{"__metadata__":{'):
        try:
            found, pos = _DECODER.raw_decode(text, len('{"__metadata__":'))
        except (ValueError, RecursionError):
            return None
        metadata = _metadata(found, path)
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
            return None  # what is wrong with it is said by whoever reads any header
        storage = new(Storage, (path, start, nbytes))
        fields = (name, dtype, shape, stride, 0, storage, "tensor", "strided", (), (), ())
        add(new(TensorInfo, fields))
        pos = match.end()
        match = _ENTRY(text, pos)
    if pos < len(text) or text.endswith(","):
        return None
    return (entries, metadata) if "__metadata__" not in {info.name for info in entries} else None


def _any(text: str, path: str) -> tuple[list[TensorInfo], dict[str, str]]:
    """Read a header with the JSON parser."""
    try:
        header = _DECODER.decode(text)
    except RecursionError:
        raise SourceError("the header's JSON is nested too deep", path=path) from None
    except ValueError as error:
        raise SourceError(f"the header is not JSON: {error}", path=path) from None
    if not isinstance(header, _Pairs):
        raise SourceError("the header is not a JSON object", path=path)
    metadata: dict[str, str] = {}
    entries: list[TensorInfo] = []
    names = Counter(name for name, _ in header)
    if names["__metadata__"] > 1:
        raise SourceError("the header has its metadata twice", path=path)
    _check_names(names, path)
    for name, value in header:
        if name == "__metadata__":
            metadata = _metadata(value, path)
        else:
            entries.append(_entry(name, value, path))
    return entries, metadata


def _entry(name: str, value: object, path: str) -> TensorInfo:
    if not isinstance(value, _Pairs):
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
        raise SourceError(f"tensor {name!r} has the unknown dtype {kind!r}", path=path)
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


def _check_names(names: Counter[str], path: str) -> None:
    (name, times), *_ = names.most_common(1) or [("", 0)]
    if times > 1:
        raise SourceError(f"two tensors are named {name!r}", path=path)


def _check(entries: list[TensorInfo], file: File, data_start: int) -> None:
    """Names are unique; the data is covered once, from its first byte to the end of the file."""
    if len({info.name for info in entries}) != len(entries):
        _check_names(Counter(info.name for info in entries), file.path)
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
            hint="the file is cut short; copy or download it again",
        )  # fmt: skip
    if missing:
        raise SourceError(
            f"{-missing:,} bytes stand after the last tensor",
            path=file.path,
            offset=data_start + end,
        )


def _metadata(value: object, path: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, _Pairs) or len({name for name, _ in value}) < len(value):
        raise SourceError("the metadata is no object, or has a key twice", path=path)
    found = {name: text for name, text in value if type(text) is str}
    if len(found) < len(value):
        raise SourceError("the metadata does not map text to text", path=path)
    return found


def _wrong_size(name: str, path: str) -> SourceError:
    return SourceError(f"tensor {name!r} has another size than its shape and dtype say", path=path)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(digits: str) -> int:
    return int(digits) if digits != "-0" else -1  # no size for the reference reader either


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_number, parse_constant=_no_constant
)
