"""Checkpoint files made by hand, byte by byte, as other versions and other programs write them.

`pickled` writes protocol 2 from plain values and the few stand-ins below, so that a test can ask
for any global and any call without having, or running, either.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAGIC = 0x1950A86A20F9469CFC6C


class Name(NamedTuple):
    """A global: GLOBAL."""

    path: str


class Call(NamedTuple):
    """A function applied to arguments: REDUCE, or NEWOBJ."""

    function: str
    args: tuple[object, ...] = ()
    opcode: bytes = b"R"


class Built(NamedTuple):
    """An object given its state: BUILD."""

    target: object
    state: object


class Persistent(NamedTuple):
    """A persistent id: BINPERSID."""

    identity: object


class Raw(NamedTuple):
    """Opcodes as they are."""

    opcodes: bytes


class Pairs(NamedTuple):
    """A dictionary whose keys need not be hashable, nor differ."""

    items: Sequence[tuple[object, object]]


def encode(node: object) -> bytes:  # noqa: C901, PLR0911 - a form for each kind
    """Write the opcodes that push a value, using no memo."""
    match node:
        case Name(path):
            module, _, name = path.rpartition(".")
            return f"c{module}\n{name}\n".encode()
        case Call(function, args, opcode):
            return encode(Name(function)) + encode(args) + opcode
        case Built(target, state):
            return encode(target) + encode(state) + b"b"
        case Persistent(identity):
            return encode(identity) + b"Q"
        case Raw(opcodes):
            return opcodes
        case Pairs(items):
            return b"}(" + b"".join(encode(key) + encode(value) for key, value in items) + b"u"
        case dict():
            return encode(Pairs(list(node.items())))
        case list():
            return b"](" + b"".join(map(encode, node)) + b"e"
        case tuple():
            return b"(" + b"".join(map(encode, node)) + b"t"
        case str():
            text = node.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        case _:
            return pickle.dumps(node, 2)[2:-1]


def pickled(node: object) -> bytes:
    """Write a whole pickle."""
    return b"\x80\x02" + encode(node) + b"."


def storage(key: object = "0", numel: int = 6, cls: str = "torch.FloatStorage") -> Persistent:
    """Name a storage as the zip format does."""
    return Persistent(("storage", Name(cls), key, "cpu", numel))


def tensor(
    of: object = None,
    size: Sequence[int] = (2, 3),
    stride: Sequence[int] = (3, 1),
    offset: int = 0,
) -> Call:
    """Call `_rebuild_tensor_v2` as torch.save does; six float32 of storage "0" by default."""
    args = (of or storage(), offset, tuple(size), tuple(stride), False)
    return Call("torch._utils._rebuild_tensor_v2", (*args, Call("collections.OrderedDict")))


def zipped(entries: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Make a zip archive of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def torch_zip(root: object, storages: Mapping[str, bytes] | None = None, **more: bytes) -> bytes:
    """Make what torch.save writes for `root`; storage "0" has 24 bytes by default.

    `more` are further entries, below the top folder.
    """
    content = root if isinstance(root, bytes) else pickled(root)
    found = {"0": bytes(24)} if storages is None else storages
    return zipped(
        {
            "archive/data.pkl": content,
            "archive/version": b"3\n",
            **{f"archive/data/{key}": data for key, data in found.items()},
            **{f"archive/{name}": data for name, data in more.items()},
        }
    )


def payload(**changes: Any) -> dict[str, Any]:
    """Describe a weight of torch.export: two by three float32 that lie in `weight_0`."""
    meta = {
        "dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 3}], "requires_grad": True,
        "device": {"type": "cpu", "index": None}, "strides": [{"as_int": 3}, {"as_int": 1}],
        "storage_offset": {"as_int": 0}, "layout": 7,
    }  # fmt: skip
    described = {"path_name": "weight_0", "is_param": True, "use_pickle": False}
    top = {key: value for key, value in changes.items() if key in described}
    inner = {key: value for key, value in changes.items() if key not in described}
    return {**described, **top, "tensor_meta": {**meta, **inner}}


def torch_export(
    weights: object, entries: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Make what torch.export.save writes since PyTorch 2.8; `entries` are those below `data/`."""
    return zipped(
        {
            "net/archive_format": b"pt2",
            "net/byteorder": b"little",
            "net/data/weights/model_weights_config.json": json.dumps(weights).encode(),
            **{f"net/data/{name}": content for name, content in entries.items()},
            "net/models/model.json": b"{}",
        },
        compression=compression,
    )


def torch_legacy(
    root: object,
    storages: Mapping[object, tuple[int, bytes]] | None = None,
    *,
    magic: bytes | None = None,
    version: object = 1001,
    system: object = None,
) -> bytes:
    """Make a legacy stream; `storages` maps keys to (number of elements, bytes)."""
    found = {"0": (6, bytes(24))} if storages is None else storages
    content = root if isinstance(root, bytes) else pickled(root)
    head = [
        magic or pickle.dumps(MAGIC, 2),
        pickled(version),
        pickled({"protocol_version": 1001, "little_endian": True} if system is None else system),
        content,
        pickled(list(found)),
    ]
    tail = [struct.pack("<q", numel) + data for numel, data in found.values()]
    return b"".join(head + tail)


def legacy_storage(
    key: object = "0", numel: int = 6, view: object = None, cls: str = "torch.FloatStorage"
) -> Persistent:
    """Name a storage as the legacy stream does: with a sixth field, the view."""
    return Persistent(("storage", Name(cls), key, "cpu", numel, view))


class TarTensor(NamedTuple):
    """An entry of the member `tensors`: which storage, and the view of it."""

    storage: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0


def torch_tar(
    root: object,
    tensors: Mapping[int, TarTensor],
    storages: Mapping[int, tuple[str, int, bytes]],
    views: Sequence[tuple[object, ...]] = (),
) -> bytes:
    """Make the tar file of PyTorch 0.1: `storages` maps numbers to (class, elements, bytes)."""
    body = pickled(len(storages))
    for key, (cls, numel, data) in storages.items():
        body += pickled((key, "cpu", Name(cls))) + struct.pack("<q", numel) + data
    body += pickled([tuple(view) for view in views])
    table = pickled(len(tensors))
    for key, found in tensors.items():
        rank = len(found.size)
        numbers = (*found.size, *found.stride, found.offset)
        table += pickled((key, found.storage, Name("torch.FloatTensor")))
        table += struct.pack(f"<ii{2 * rank + 1}q", rank, 0, *numbers)
    return tarred({"storages": body, "tensors": table, "pickle": pickled(root)})


def tarred(members: Mapping[str, bytes]) -> bytes:
    """Make a tar archive of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def safetensors(header: str | bytes, data: bytes = b"") -> bytes:
    """Make a safetensors file of a header as it is and the bytes after it."""
    text = header.encode() if isinstance(header, str) else header
    return len(text).to_bytes(8, "little") + text + data


def written(path: Path, content: bytes) -> str:
    """Write a file and return its path as a target."""
    path.write_bytes(content)
    return str(path)
