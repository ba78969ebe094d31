"""Hostile files of every format, made by name: each is one way to be damaged, or to deceive."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import TYPE_CHECKING

from tests import handmade, sample_files
from tests.handmade import Call, Name, Persistent, Raw, encode, pickled, safetensors, tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

Files = dict[str, bytes]
FULL = (1 << 64) - 1
_DTYPES: list[object] = ["f32", "", "F128", None, 3, []]


def _entry(
    dtype: object = "U8", shape: object = (1,), offsets: object = (0, 1), **more: object
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def _header(*pairs: tuple[str, object]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"


def _one(data: bytes = b"x", **fields: object) -> bytes:
    return safetensors(_header(("a", _entry() | fields)), data)


def safetensors_files() -> Files:
    """Headers that break a rule, and lengths that lie."""
    sizes = {
        "2**63": 1 << 63,
        "2**64 - 1": FULL,
        "past the end": 1000,
        "above 100 MB": 100_000_001,
        "zero": 0,
        "one": 1,
    }
    text = _header(("a", _entry()))
    made = {
        f"length {name}": size.to_bytes(8, "little") + b'{"a":1}' for name, size in sizes.items()
    }
    shapes: dict[str, object] = {
        "negative": [-1],
        "float": [1.0],
        "bool": [True],
        "text": ["1"],
        "null": None,
        "nested": [[1]],
        "number": 1,
        "huge": [10**30],
        "overflowing": [1 << 32, 1 << 32, 1 << 32],
        "minus zero": [-0.0],
    }
    made |= {f"shape {name}": _one(shape=shape) for name, shape in shapes.items()}
    made |= {f"offsets {name}": _one(data_offsets=shape) for name, shape in shapes.items()}
    made |= {
        f"without {field}": safetensors(
            _header(("a", {k: v for k, v in _entry().items() if k != field})), b"x"
        )
        for field in _entry()
    }
    made |= {f"dtype {dtype!r}": _one(dtype=dtype) for dtype in _DTYPES}
    b = ("b", _entry(offsets=(1, 2)))
    return made | {
        "not UTF-8": safetensors(b'{"\xff":1}'),
        "UTF-16": safetensors(text.encode("utf-16-le"), b"x"),
        "truncated JSON": safetensors(text[:-5], b"x"),
        "array": safetensors("[]"),
        "null": safetensors("null"),
        "text": safetensors('"x"'),
        "BOM": safetensors(b"\xef\xbb\xbf" + text.encode(), b"x"),
        "NaN": safetensors(text.replace("[1]", "[NaN]"), b"x"),
        "lone surrogate": safetensors(text.replace('"a"', '"\\ud800"'), b"x"),
        "raw surrogate": safetensors(
            text.replace('"a"', '"\ud800"').encode("utf-8", "surrogatepass"), b"x"
        ),
        "deep": safetensors('{"a":' + '{"a":' * 50_000 + "1" + "}" * 50_001),
        "deep arrays": safetensors('{"a":' + "[" * 200_000),
        "5000 digits": safetensors(text.replace("[1]", f"[{'9' * 5_000}]"), b"x"),
        "two of a name": safetensors(_header(("a", _entry()), ("a", _entry())), b"x"),
        "two metadata": safetensors(_header(("__metadata__", {}), ("__metadata__", {}), b), b"xx"),
        "metadata key twice": safetensors('{"__metadata__":{"k":"1","k":"2"}}'),
        "metadata of numbers": safetensors(_header(("__metadata__", {"k": 1}))),
        "overlap": safetensors(_header(("a", _entry()), ("b", _entry())), b"x"),
        "hole": safetensors(_header(("a", _entry()), ("b", _entry(offsets=(2, 3)))), b"xxx"),
        "trailing bytes": safetensors(text, b"xx"),
        "short data": safetensors(text),
        "size mismatch": _one(shape=[2]),
        "begin after end": _one(data_offsets=[1, 0], shape=[0]),
        "a field twice": safetensors(
            '{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"
        ),
    }


def sniffed_files() -> Files:
    """Files that are nothing, or only begin like something."""
    made = {f"{size} bytes": b"{}       "[:size] for size in range(8)}
    good = sample_files.files()
    for kind in sorted({*good} - {"lock"}):
        for part in (1, 2, 3):
            made[f"{kind}, {part}/4"] = good[kind].rstrip(b"\0")[: len(good[kind]) * part // 4]
    return made | {
        "zeros": bytes(10_000),
        "ones": b"\xff" * 10_000,
        "LFS": b"version https://git-lfs.x\noid 1\n",
        "web page": b"<!DOCTYPE html><html>",
        "empty JSON": b"{}",
        "JSON array": b"[1]",
        "deep JSON": b'{"weight_map":' + b"[" * 100_000,
        "deep TOML": b"[tensors]\na = " + b"[" * 100_000,
        "lock of a billion": b"[tensors]\n" + b'"' + b"{0..999}" * 3 + b'" = "int8[]"',
        "lock product": b'[tensors]\na = "int8[' + b"9999999999, " * 20 + b'1]"',
        "plain pickle": pickled({"a": Call("os.system", ("true",))}),
    }


def pickle_files() -> Files:
    """Opcodes that break what they run on, each in a zip that is otherwise good."""
    u32, u64 = struct.Struct("<I").pack, struct.Struct("<Q").pack
    bodies = {
        "nothing": b"",
        "no STOP": b"}",
        "underflow": b"R.",
        "mark underflow": b"t.",
        "empty STOP": b".",
        "EXT1": b"\x82\1.",
        "EXT2": b"\x83\1\0.",
        "EXT4": b"\x84\1\0\0\0.",
        "next buffer": b"\x97.",
        "unknown opcode": b"\xff.",
        "protocol 255": b"\x80\xff}.",
        "SETITEM on a tensor": encode(tensor()) + b"K\0K\1s.",
        "APPEND to a tensor": encode(tensor()) + b"K\1a.",
        "unicode 4 GB": b"X" + u32(1 << 31) + b"x.",
        "bytes 2**63": b"\x8e" + u64(1 << 63) + b"x.",
        "long of 2 GB": b"\x8b" + u32(1 << 31) + b"x.",
        "long of less than nothing": b"\x8b" + u32((1 << 32) - 1) + b"x.",
        "get of nothing": b"j" + u32(7) + b".",
        "digits": b"I" + b"9" * 60_000 + b"\n.",
        "line without end": b"V" + b"x" * 1_000_000,
        "lone quote": b"S'\n.",
        "persistent number": b"K\1Q.",
        "persistent text": b"Pstorage\n.",
        "persistent module": encode(Persistent(("module", Name("os.x"), "f", "src"))) + b".",
        "deep lists with a tensor": b"](" * 15_000 + encode(tensor()) + b"e" * 15_000 + b".",
        "marks": b"(" * 510_000 + b".",
        "containers": b"]0" * 600_000 + b"N.",
        "dictionaries": b"}" * 560_000 + b".",
    }
    made = {name: handmade.torch_zip(b"\x80\x02" + body) for name, body in bodies.items()}
    roots: dict[str, object] = {
        "negative stride": tensor(None, (2,), (-1,)),
        "negative size": tensor(None, (-2,), (1,)),
        "view past its storage": tensor(None, (7,), (1,)),
        "offset past it": tensor(None, (1,), (1,), 6),
        "negative offset": tensor(None, (1,), (1,), -1),
        "rank against rank": tensor(None, (2, 3), (1,)),
        "overflowing view": tensor(None, (1 << 40, 1 << 40), (1 << 40, 1)),
        "rank 256": tensor(None, (1,) * 256, (1,) * 256),
        "numel against storage": tensor(handmade.storage(numel=7)),
        "numel 2**62": tensor(handmade.storage(numel=1 << 62)),
        "numel negative": tensor(handmade.storage(numel=-6)),
        "numel text": tensor(handmade.storage(numel="6")),  # type: ignore[arg-type]
        "missing storage": tensor(handmade.storage("absent")),
        "storage above": tensor(handmade.storage("../data.pkl")),
        "storage in the root": tensor(handmade.storage("/etc/passwd")),
        "storage of bytes": tensor(handmade.storage(b"0")),
        "storage class unknown": tensor(handmade.storage(cls="os.FloatStorage")),
        "storage of lists": tensor(handmade.storage([])),
        "shape of text": Call(
            "torch._utils._rebuild_tensor_v2", (handmade.storage(), 0, "ab", (1,), False, None)
        ),
        "no arguments": Call("torch._utils._rebuild_tensor_v2"),
        "tensor of a tensor": tensor(tensor()),
        "qtensor of nothing": Call("torch._utils._rebuild_qtensor", (1, 2, 3)),
        "sparse of nothing": Call("torch._utils._rebuild_sparse_tensor", (1, 2)),
    }
    made |= {name: handmade.torch_zip({"w": root}) for name, root in roots.items()}
    made |= {
        f"legacy, {name}": handmade.torch_legacy(b"\x80\x02" + body)
        for name, body in bodies.items()
        if name not in ("nothing", "persistent module") and len(body) < 100_000
    }
    return made


def legacy_files() -> Files:
    """Streams whose lengths, keys and parts lie."""
    root = {"w": tensor(handmade.legacy_storage())}
    good = handmade.torch_legacy(root)
    lengths = {"negative": -1, "2**62": 1 << 62, "other": 5}
    made = {
        f"legacy length {name}": good[:-32] + struct.pack("<q", length) + good[-24:]
        for name, length in lengths.items()
    }
    return made | {
        "legacy cut": good[:-1],
        "legacy without storages": good[:-32],
        "legacy other keys": handmade.torch_legacy(root, {"1": (6, bytes(24))}),
        "legacy more keys": handmade.torch_legacy(root, {"0": (6, bytes(24)), "1": (0, b"")}),
        "legacy no keys": handmade.torch_legacy(root, {}),
        "legacy version": handmade.torch_legacy(root, version=1002),
        "legacy version of text": handmade.torch_legacy(root, version="x"),
        "legacy magic": handmade.torch_legacy(root, magic=pickled(1)),
        "legacy view": handmade.torch_legacy(
            {"w": tensor(handmade.legacy_storage(view=("v", 5, 5)))}
        ),
        "legacy view of text": handmade.torch_legacy(
            {"w": tensor(handmade.legacy_storage(view="v"))}
        ),
    }


def _patched(content: bytes, mark: bytes, at: int, value: bytes) -> bytes:
    place = content.index(mark) + at
    return content[:place] + value + content[place + len(value) :]


def zip_files() -> Files:
    """Archives in which two parts disagree, and such as grow."""
    good = handmade.torch_zip({"w": tensor()})
    root = pickled({"w": tensor()})
    local, central, end = b"PK\3\4", b"PK\1\2", b"PK\5\6"
    bomb = zipfile.ZIP_DEFLATED
    crossed = {"a/data.pkl": root, "a/data/0": bytes(24)}
    return {
        "zip, two roots": handmade.zipped({**crossed, "b/x": b""}),
        "zip, no root": handmade.zipped({"data.pkl": root}),
        "zip, case": handmade.zipped({**crossed, "a/DATA.PKL": pickled({})}),
        "zip, version 99": handmade.torch_zip({}, version=b"99"),
        "zip, version text": handmade.torch_zip({}, version=b"x"),
        "zip, byte order": handmade.torch_zip({}, byteorder=b"middle"),
        "zip, short storage": handmade.torch_zip({"w": tensor()}, {"0": bytes(23)}),
        "zip, no storage": handmade.torch_zip({"w": tensor()}, {}),
        "zip, above": handmade.zipped({**crossed, "../x": b""}),
        "zip, no end": good[:-22],
        "zip, half an end": good[:-10],
        "zip, encrypted": _patched(_patched(good, local, 6, b"\1"), central, 8, b"\1"),
        "zip, local encrypted": _patched(good, local, 6, b"\1"),
        "zip, local name": _patched(good, local, 30, b"b"),
        "zip, local size": _patched(good, local, 22, b"\xff"),
        "zip, local method": _patched(good, local, 8, b"\x08"),
        "zip, crc": _patched(
            _patched(good, local, 14, bytes(3) + b"\1"), central, 16, bytes(3) + b"\1"
        ),
        "zip, method 99": _patched(_patched(good, local, 8, b"\x63"), central, 10, b"\x63"),
        "zip, offset": _patched(good, central, 42, b"\xff\xff"),
        "zip, many entries": _patched(good, end, 8, b"\xff\xff\xff\xff"),
        "zip, directory size": _patched(good, end, 12, b"\xff\xff\xff\x7f"),
        "zip, directory far": _patched(good, end, 16, b"\xff\xff\xff\x7f"),
        "zip, comment": _patched(good, end, 20, b"\xff\xff"),
        "zip, trailing": good + b"x",
        "zip, zip behind": good + good,
        "zip, pickle behind the dot": handmade.zipped(
            {"a/data.pkl": b"\x80\x02}", "a/version": b"3"}
        ),
        "zip, bomb of zeros": handmade.zipped({"a/data.pkl": bytes(300_000_000)}, compression=bomb),
        "zip, bomb of dictionaries": handmade.zipped(
            {"a/data.pkl": b"}" * 60_000_000}, compression=bomb
        ),
        "zip, bomb of texts": handmade.zipped(
            {"a/data.pkl": b"\x8c\2ab" * 10_000_000 + b"."}, compression=bomb
        ),
        "zip, bomb of a version": handmade.zipped(
            {**crossed, "a/version": bytes(90_000_000)}, compression=bomb
        ),
        "zip, bomb of code": handmade.zipped(
            {
                "a/data.pkl": b"\x80\x02).",
                "a/constants.pkl": b"\x80\x02).",
                "a/code/x.py": b" " * 90_000_000,
                "a/version": b"3",
            },
            compression=bomb,
        ),
        "zip, bomb of JSON": handmade.zipped({"a/model.json": b"[" * 50_000_000}, compression=bomb),
        "npz": handmade.zipped({"a.npy": b"\x93NUMPY"}),
        "zip of nothing": handmade.zipped({}),
        "zip of text": handmade.zipped({"x.txt": b"x"}),
        "tar of text": handmade.tarred({"x": b"x"}),
        "tar, no pickle": handmade.tarred({"storages": pickled(0), "tensors": pickled(0)}),
        "tar, storages 2**40": handmade.tarred(
            {"storages": pickled(1 << 39), "tensors": pickled(0), "pickle": pickled({})}
        ),
    }


def names() -> Iterator[str]:
    """Names that a terminal or a reader of tables would obey."""
    yield from (
        "",
        "\x1b[31mred",
        "\x1b]0;title\x07",
        "a\0b",
        "a\rb",
        "a\nb",
        "a\tb",
        "\u202eabc",
        "\u2066x",
    )
    yield from (
        "[bold]x[/bold]",
        "[/]",
        ":smile:",
        "\x9b31m",
        "\u200b",
        "é" * 1_000,
        "x" * 1_000_000,
    )


def fine_files() -> Files:
    """Files that only look bad: they are listed, and nothing in them is obeyed or run."""
    around = Raw(b"]q\0h\0a")
    layers = (
        b"]("
        + encode(tensor())
        + b"eq\0"
        + b"".join(
            b"]q" + bytes([n]) + b"(" + b"h" + bytes([n - 1]) * 1 + b"e" for n in range(1, 20)
        )
    )
    pairs = [(name, _entry(offsets=(at, at + 1))) for at, name in enumerate(names())]
    return {
        "names in safetensors": safetensors(_header(*pairs), bytes(len(pairs))),
        "names in a pickle": handmade.torch_zip({name: tensor() for name in names()}),
        "metadata": safetensors(_header(("__metadata__", {name: name for name in names()}))),
        "extra field": _one(more=[1]),
        "255 dims": safetensors(_header(("a", _entry(shape=[1] * 255))), b"x"),
        "255 dims in a pickle": handmade.torch_zip({"w": tensor(None, (1,) * 255, (1,) * 255)}),
        "around itself": handmade.torch_zip({"w": tensor(), "x": around}),
        "lists in lists": handmade.torch_zip(Raw(layers)),
        "deep tuple as a key": handmade.torch_zip(Raw(b"})" + b"\x85" * 60_000 + b"Ns")),
        "far memo": handmade.torch_zip(Raw(b"}r\xff\xff\xff\xff")),
        "second stream": handmade.torch_zip(b"\x80\x02}." + pickled(Call("os.system", ("x",)))),
        "10,000 nested dicts": handmade.torch_zip(
            Raw(
                b"".join(b"}" + encode("k") for _ in range(9_990)) + encode(tensor()) + b"s" * 9_990
            )
        ),
        "module with a source": handmade.torch_legacy(
            {
                "w": tensor(handmade.legacy_storage()),
                "m": Persistent(("module", Name("os.path"), "file.py", "import os")),
            }
        ),
        "colliding keys": handmade.torch_zip(
            Raw(
                b"}("
                + b"".join(
                    b"\x8a\x0a" + (((1 << 61) - 1) * n).to_bytes(10, "little") + b"N"
                    for n in range(3_000)
                )
                + b"u"
            )
        ),
        "lock of dots": b"[tensors]\n" + b"a." * 100_000 + b'b = "int8[]"',
        "state of a tensor": handmade.torch_zip(Raw(encode(tensor()) + b"}b")),
        "numbers without end": handmade.torch_zip({"x": 1 << 100_000}),
    }


def refused_files() -> Files:
    """Every file that has to be refused, by name."""
    return {
        **sniffed_files(),
        **safetensors_files(),
        **pickle_files(),
        **legacy_files(),
        **zip_files(),
    }
