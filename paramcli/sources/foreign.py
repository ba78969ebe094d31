"""Files that are no checkpoint of ours: recognized where they can be, and refused with advice."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

from paramcli.errors import SourceError

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.files import File
    from paramcli.sources import Request

__all__ = ["describe", "refuse"]

_PLAIN_PICKLE = (
    "a pickle, but not one of torch.save",
    "pickle.load runs whatever is in it; save again with torch.save what you trust",
)
_ANY_PICKLE = rb"\x80[\0-\5]|\(?[dl]p[0-9]|c[\w.]+\n\w+\n|[}\]]q[^\n]"
"""How a pickle begins: with its protocol, in 0 and 1 with a dictionary, a list or a global."""

_BY_HEAD = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"GGUF", "a GGUF file, made for llama.cpp", "the gguf package's gguf-dump lists it"),
    (b"GGML", "a GGML file, made for llama.cpp", "convert it with llama.cpp's own scripts"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip, or tar -xzf what is a .tar.gz"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first: unxz"),
    (b"BZh", "compressed with bzip2", "unpack it first: bunzip2"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "unpack it first: unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes", "h5ls or h5py lists it"),
    (b"\x93NUMPY", "a NumPy array", "numpy.load reads it"),
    (b"PK\5\6", "an empty zip archive", None),
    (b"\x89PNG", "a picture", None),
    (b"\xff\xd8\xff", "a picture", None),
    (b"%PDF", "a PDF document", None),
    (b"\x7fELF", "a program", None),
)
_AFTER_ONNX_VERSION = (b"\x12", b"\x3a", b"\x42")
"""What follows the version in an ONNX model: its producer, its graph, or its operators."""
_WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml")


def refuse(file: File, request: Request) -> Checkpoint | None:
    """Say what the file is instead of a checkpoint; an installed source may still know it."""
    found = _from_entry_points(file, request)
    if found is not None:
        return found
    what, hint = describe(file.head(4096))
    raise SourceError(what, path=file.path, hint=hint)


def _from_entry_points(file: File, request: Request) -> Checkpoint | None:
    from importlib.metadata import entry_points

    for point in entry_points(group="paramcli.sources"):
        module, _, function = point.value.partition(":")
        found: Checkpoint | None = getattr(import_module(module), function)(file, request)
        if found is not None:
            return found
    return None


def describe(head: bytes) -> tuple[str, str | None]:
    """Say what a file that begins so is, and what to do with it."""
    known = next(((what, hint) for start, what, hint in _BY_HEAD if head.startswith(start)), None)
    if known is not None:
        return known
    again = "copy or download it again"
    said = "not a checkpoint of any kind that is known", "run: paramcli list --help"
    if not head:
        said = "an empty file", again
    elif head.lstrip()[:64].lower().startswith(_WEB_PAGE):
        said = "a web page, such as a download without a login leaves behind", again
    elif head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in _AFTER_ONNX_VERSION:
        said = "an ONNX model, as far as its first bytes tell", "the onnx package reads it"
    elif re.match(_ANY_PICKLE, head):
        said = _PLAIN_PICKLE
    elif len(head) < 8:
        said = "a file too short to be a checkpoint", again
    elif not head.strip(b"\0"):
        said = "nothing but zeros, as a copy that failed half-way leaves behind", again
    elif _is_text(head):
        said = "a text file, no checkpoint", "a Python file is a target as file.py:Class"
    return said


def _is_text(head: bytes) -> bool:
    try:
        text = head[:1024].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head[:1024]) - 3:
            return False
        text = head[: error.start].decode()
    return all(char.isprintable() or char in "\t\n\r\f" for char in text)
