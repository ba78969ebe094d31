"""Good files made bad in ways that know their structure: opcodes, entries, fields, lines."""

from __future__ import annotations

import io
import json
import pickletools
import struct
import zipfile
from functools import cache
from typing import TYPE_CHECKING

from tests import handmade
from tests.handmade import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NUMBERS = [0, 1, 2, 7, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63]
GLOBALS = [
    "os.system", "this.s", "builtins.eval", "builtins.getattr", "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.FloatStorage",
    "torch.storage.UntypedStorage", "torch._utils._rebuild_sparse_tensor", "torch.Size",
    "torch._tensor._rebuild_from_type_v2", "torch.nn.parameter.Parameter", "torch.float32",
    "builtins.set", "_codecs.encode", "torch._utils._rebuild_qtensor",
    "torch.serialization._get_layout",
]  # fmt: skip
_OPCODES = [
    *(bytes([code]) for code in b"(N\x88\x89)]}\x8ftaeubRsQ0.21d\x85\x86\x87l\x81\x90\x91\x94oi"),
    *(b"K" + bytes([number]) for number in (0, 1, 2, 3, 6)),
    *(b"J" + struct.pack("<i", number) for number in (-1, 1 << 30)),
    *(b"q" + bytes([slot]) for slot in (0, 1, 2)), *(b"h" + bytes([slot]) for slot in (0, 1, 2)),
    b"\x8a\x09" + bytes(8) + b"\1", b"\x95" + b"\xff" * 8, b"r\xff\xff\xff\xff",
    b"\x82\1", b"\x80\4",
    encode("x"), encode("0"), encode("state_dict"), encode(handmade.tensor()), encode(()),
    encode(handmade.storage()), *(encode(handmade.Name(path)) for path in GLOBALS),
]  # fmt: skip
_JSON: list[object] = [
    None, True, -1, 0, 1, 1.5, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30, "", "x", "F32", "U8", "F4",
    [], {}, [0], [0, 4], [1 << 32, 1 << 32], "\ud800", "../x", "\x1b[31m", float("nan"),
]  # fmt: skip


def spoiled(rng: Random, content: bytes, other: bytes = b"") -> bytes:
    """Flip, overwrite, insert, delete and cut bytes, and splice in pieces of another file."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(made))
        if rng.random() < 0.5:
            at = len(made) - min(at, rng.randint(0, 400))  # the end of a zip says the most
        match rng.randrange(7):
            case 0:
                made[at : at + 1] = bytes(
                    byte ^ 1 << rng.randrange(8) for byte in made[at : at + 1]
                )
            case 1:
                made[at : at + 1] = rng.randbytes(1)
            case 2:
                piece = struct.pack("<Q", rng.choice([*NUMBERS, len(made)]))
                size = rng.choice((1, 2, 4, 8))
                made[at : at + size] = piece[:size]
            case 3:
                made[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                del made[at : at + rng.randint(1, 64)]
            case 5 if rng.random() < 0.3:
                del made[at:]
            case _:
                start = rng.randint(0, len(other))
                made[at : at + rng.randint(0, 64)] = other[start : start + rng.randint(0, 200)]
    return bytes(made)


@cache
def _opcodes_of(pickle: bytes) -> tuple[bytes, ...]:
    places = [place for _, _, place in pickletools.genops(pickle) if place is not None]
    ends = [*places[1:], places[-1] + 1]
    return tuple(pickle[start:end] for start, end in zip(places, ends, strict=True))


@cache
def _entries_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@cache
def _frames_of(content: bytes) -> tuple[bytes, ...]:
    """The five pickles of a legacy stream, and what comes after them."""
    frames, start = [], 0
    for _ in range(5):
        frames.append(b"".join(_opcodes_of(content[start:])))
        start += len(frames[-1])
    return (*frames, content[start:])


def pickled(rng: Random, pickle: bytes) -> bytes:
    """Take opcodes out of a pickle, put others in, swap, repeat and overwrite their arguments."""
    opcodes = [*_opcodes_of(pickle)]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(opcodes))
        match rng.randrange(7):
            case 0:
                opcodes[at] = rng.choice(_OPCODES)
            case 1 | 2:
                opcodes.insert(at, rng.choice(_OPCODES))
            case 3 if len(opcodes) > 1:
                del opcodes[at]
            case 4:
                other = rng.randrange(len(opcodes))
                opcodes[at], opcodes[other] = opcodes[other], opcodes[at]
            case 5:
                start = rng.randrange(len(opcodes))
                opcodes[at:at] = opcodes[start : start + rng.randint(1, 12)]
            case _:
                opcodes[at] = opcodes[at][:1] + spoiled(rng, opcodes[at][1:])
    return b"".join(opcodes)


def torch_zip(rng: Random, content: bytes, other: bytes) -> bytes:
    """Spoil the archive itself, or an entry behind a checksum that is right."""
    if rng.random() < 0.3:
        return spoiled(rng, content, other)
    entries = dict(_entries_of(content))
    name = rng.choice([name for name in entries if "/data/" not in name])
    if rng.random() < 0.8:
        name = next((name for name in entries if name.endswith((".pkl", "_config.json"))), name)
    if name.endswith("_config.json") and rng.random() < 0.8:
        entries[name] = json_text(rng, entries[name])
    elif name.endswith(".pkl") and rng.random() < 0.8:
        entries[name] = pickled(rng, entries[name])
    else:
        entries[name] = spoiled(rng, entries[name], content)
    if rng.random() < 0.1:
        del entries[rng.choice([*entries])]
    deflated = rng.random() < 0.1
    compression = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    return handmade.zipped(entries, compression=compression)


def legacy(rng: Random, content: bytes, other: bytes) -> bytes:
    """Spoil the bytes, or the opcodes of one of the five pickles."""
    if rng.random() < 0.3:
        return spoiled(rng, content, other)
    frames = [*_frames_of(content)]
    at = rng.choice((0, 1, 2, 3, 3, 3, 3, 4))
    frames[at] = pickled(rng, frames[at])
    return b"".join(frames)


def _changed(rng: Random, value: object) -> object:
    """Change one thing somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        made = dict(value)
        key = rng.choice([*made])
        match rng.randrange(8):
            case 0:
                del made[key]
            case 1:
                made[str(rng.choice(_JSON))] = made[key]
            case 2:
                made[rng.choice([*made])] = made[key]
            case _:
                made[key] = _changed(rng, made[key])
        return made
    if isinstance(value, list) and value and rng.random() < 0.7:
        items = list(value)
        at = rng.randrange(len(items))
        if type(items[at]) is int and rng.random() < 0.5:
            items[at] += rng.choice((-1, 1, 4))
        else:
            items[at] = rng.choice(_JSON)
        return items
    return rng.choice(_JSON)


def json_text(rng: Random, text: bytes) -> bytes:
    """Change fields of a JSON document, how it is laid, or its bytes."""
    value = json.loads(text)
    for _ in range(rng.randint(0, 2)):
        value = _changed(rng, value)
    separators = rng.choice([(",", ":"), (", ", ": ")])
    made = json.dumps(value, separators=separators, ensure_ascii=rng.random() < 0.5)
    encoded = made.encode(errors="surrogatepass")
    return spoiled(rng, encoded, text) if rng.random() < 0.3 else encoded


def safetensors(rng: Random, content: bytes, other: bytes) -> bytes:
    """Change the header behind a length that is right, or any bytes."""
    if rng.random() < 0.2:
        return spoiled(rng, content, other)
    size = int.from_bytes(content[:8], "little")
    header = json_text(rng, content[8 : 8 + size])
    data = content[8 + size :]
    if rng.random() < 0.1:
        data = data[: rng.randint(0, len(data))] + bytes(rng.randint(0, 4))
    return handmade.safetensors(header, data)


def lock(rng: Random, content: bytes, other: bytes) -> bytes:
    """Swap, repeat and drop lines and words of a lock, or spoil its bytes."""
    if rng.random() < 0.3:
        return spoiled(rng, content, other)
    lines = content.split(b"\n")
    for _ in range(rng.randint(1, 3)):
        at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                lines[at], lines[to] = lines[to], lines[at]
            case 1:
                lines.insert(at, lines[to])
            case 2:
                words = lines[at].split(b" ")
                words.insert(rng.randint(0, len(words)), rng.choice(lines[to].split(b" ")))
                lines[at] = b" ".join(words)
            case _:
                lines[at] = spoiled(rng, lines[at], lines[to])
    return b"\n".join(lines)


MUTATORS: dict[str, Callable[[Random, bytes, bytes], bytes]] = {
    "zip": torch_zip, "zip of many": torch_zip, "legacy": legacy, "legacy of many": legacy,
    "script": torch_zip, "old script": torch_zip, "export": torch_zip, "package": torch_zip,
    "bundle": spoiled, "tar": spoiled, "safetensors": safetensors, "lock": lock,
}  # fmt: skip
"""How the good file of each format in `tests.sample_files` is made bad."""
