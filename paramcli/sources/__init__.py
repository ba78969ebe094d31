"""Whatever holds parameters, opened as a checkpoint: known by its content, never by its name.

The table below and the entry points of the group `paramcli.sources` are one mechanism: a name and
"module:function", imported only when wanted. A function takes (file, request) and returns a
Checkpoint; one from an entry point may return None for "not mine".
"""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import DAMAGED, SourceError, UsageError
from paramcli.files import File, is_remote, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paramcli.checkpoint import Checkpoint

    Opener = Callable[[File, "Request"], Checkpoint | None]

__all__ = ["Request", "open", "open_request"]

_SOURCES = {
    "zip": "paramcli.sources.torchzip:open_zip",
    "legacy": "paramcli.sources.legacy:open_legacy",
    "tar": "paramcli.sources.tar:open_tar",
    "safetensors": "paramcli.sources.safetensors:open_safetensors",
    "dcp": "paramcli.sources.dcp:open_dcp",
    "dcp-shards": "paramcli.sources.dcp_shards:open_shards",
    "index": "paramcli.sources:_open_index",
    "lock": "paramcli.sources.lock:open_lock",
    "foreign": "paramcli.sources.foreign:refuse",
}
_BINARY = frozenset({"zip", "legacy", "tar", "safetensors", "dcp"})
"""Kinds that programs alone write: what is wrong in such a file is damage."""
_LEGACY_TEXT = b"L119547037146038801333356L\n."
"""The magic number of a legacy stream in pickle protocol 0 or 1."""


class Request(NamedTuple):
    """What to open and which part of it.

    `key` picks one tree of a training checkpoint by its dotted path, `everything` takes all of
    them with full paths; `arguments` go to the constructor of a model class, which is built with
    its `values` only where they are wanted, drawing from torch's generator seeded with `seed`.
    `watch` is told of shards of another machine as they are opened, and how many there are.
    """

    target: str
    key: str | None = None
    everything: bool = False
    arguments: Mapping[str, object] = MappingProxyType({})
    values: bool = False
    seed: int = 0
    watch: Callable[[int, int], None] | None = None


def open(  # noqa: A001 - paramcli.open is the name that users look for
    target: str | os.PathLike[str],
    *,
    key: str | None = None,
    everything: bool = False,
    arguments: Mapping[str, object] | None = None,
) -> Checkpoint:
    """Open a file, a directory or a model class as a checkpoint, its values untouched.

    `key` picks one tree of a training checkpoint ("optimizer.state"), `everything` lists all of
    them with full paths. `arguments` are keywords for a class target, which alone runs code.
    Raises SourceError for what cannot be read, UsageError for a key that is not there, and
    UserCodeError where the user's class fails.
    """
    request = Request(os.fspath(target), key, everything, arguments or {})
    return open_request(request)


def open_request(request: Request) -> Checkpoint:
    """Open what a request names; see `open`."""
    target = request.target
    if not target:
        raise UsageError("an empty target", hint="name a file, a directory or pkg.mod:Class")
    if "\0" in target:
        raise UsageError("a target with a NUL character in it")
    if is_remote(target):
        return _open_remote(request)
    path = os.path.expanduser(target)
    if not os.path.lexists(path):
        from paramcli.sources.missing import open_elsewhere

        return open_elsewhere(request)
    if os.path.isdir(path):
        return _open_directory(path, request)
    with open_file(path) as file:
        return _open_file(file, request)


def _open_remote(request: Request) -> Checkpoint:
    """Open an address. What is shown of it from here on has no secrets in it."""
    from paramcli.files.remote import is_folder, shown

    if request.target.startswith("http") and request.target.partition("?")[0].endswith("/"):
        raise SourceError(
            "a directory of a web server, which cannot be listed", path=shown(request.target),
            hint="name the file in it, or its index: model.safetensors.index.json",
        )  # fmt: skip
    folder = is_folder(request.target)
    path = shown(request.target)
    request = request._replace(target=path)
    if folder:
        return _open_directory(path, request)
    with open_file(path) as file:
        return _open_file(file, request)


def _open_directory(path: str, request: Request) -> Checkpoint:
    from paramcli.files.folders import names_in
    from paramcli.sources.sharded import main_file, numbered, open_numbered

    names = names_in(path)
    if ".metadata" in names:
        with open_file(os.path.join(path, ".metadata")) as file:
            return _open_as("dcp", file, request)
    if any(name.startswith("shard-") for name in names):
        from paramcli.sources.dcp_shards import are_shards

        if are_shards(names):
            first = next(name for name in names if name.startswith("shard-"))
            with open_file(os.path.join(path, first)) as file:
                return _open_as("dcp-shards", file, request)
    if shards := numbered(names):
        return open_numbered(path, shards, request, partial(_open_shard, request))
    with open_file(os.path.join(path, main_file(path, names))) as file:
        return _open_file(file, request)


def _open_file(file: File, request: Request) -> Checkpoint:
    return _open_as(sniff(file), file, request)


def _open_as(kind: str, file: File, request: Request) -> Checkpoint:
    module, _, function = _SOURCES[kind].partition(":")
    opener: Opener = getattr(import_module(module), function)
    try:
        found = opener(file, request)
    except SourceError as error:
        if kind in _BINARY:
            error.hint = error.hint or DAMAGED
        raise
    if found is None:
        raise SourceError("not a checkpoint of any kind that is known", path=file.path)
    return found


def _open_index(file: File, request: Request) -> Checkpoint:
    from paramcli.sources.sharded import open_index

    return open_index(file, request, partial(_open_shard, request))


def _open_shard(request: Request, path: str) -> Checkpoint:
    with open_file(path) as shard:
        kind = sniff(shard)
        if kind == "index":
            raise SourceError("a shard that is an index itself", path=path)
        return _open_as(kind, shard, request._replace(target=path))


def sniff(file: File) -> str:
    """Name the kind of a file by its first bytes: a key of the table above."""
    head = file.head(512)
    kind = "foreign"
    if head.startswith(b"PK\3\4"):
        kind = "zip"
    elif head[257:262] == b"ustar" or _is_old_tar(head):
        kind = "tar"
    elif head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        kind = "safetensors"
    elif head.startswith(_LEGACY_TEXT) or (head[:1] == b"\x80" and head[1:2] <= b"\x05"):
        kind = "legacy"
    elif head.lstrip()[:1] == b"{":
        kind = "index"
    elif _is_lock(file):
        kind = "lock"
    return kind


def _is_lock(file: File) -> bool:
    """Whether a table of a lock comes first, or anywhere in a file that is named as one."""
    import re

    head = file.head(1 << 16).removeprefix(b"\xef\xbb\xbf")
    before = rb"(?m:^)[ \t]*" if file.path.endswith((".lock", ".toml")) else rb"\A(?:\s*#.*\n)*\s*"
    return re.search(before + rb"\[[ \t]*(?:tensors|dims|rules)[ \t]*\]", head) is not None


def _is_old_tar(head: bytes) -> bool:
    """A tar header of before POSIX has no magic word, but its checksum holds."""
    digits = head[148:156].strip(b" \0")
    if len(head) < 512 or not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(head) - sum(head[148:156]) + 8 * 0x20
