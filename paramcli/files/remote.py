"""Files behind addresses: byte ranges over http(s), S3, GCS and the Hugging Face hub.

fsspec and its file systems do the asking. Small reads are served from blocks that are kept, so
that headers which lie together cost one request; large ones ask for just what they want. What may
pass is tried again, what may not is said: no file, no permission, a server without ranges.
"""

from __future__ import annotations

import io
import os
import posixpath
import random
import re
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from paramcli.errors import ParamcliError, SourceError, UsageError
from paramcli.files import File, shrunk

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONNECTIONS", "RemoteFile", "is_folder", "names_in", "shown"]

T = TypeVar("T")

CONNECTIONS = 8
"""Requests at once, whoever makes them."""
_BLOCK = 1 << 18
_KEPT = 64
"""Bytes of a block, and blocks of a file that are kept."""
_LARGE = 1 << 20
"""Bytes of a read that passes the blocks by."""
_AHEAD = 8 << 20
"""Bytes that are fetched at once of a stretch that is read from end to end."""
_WHOLE = 64 << 20
"""Most bytes that are taken from a server that sends no ranges."""
_TRIES = 4
_PATIENCE = 0.2
"""Seconds before the second try, doubled after each."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_EXTRAS = {"hf": "hub", "http": "remote", "https": "remote", "s3": "remote", "gs": "remote"}
_TOKENS = {
    "hf": "the file may be private or gated: log in with `hf auth login`, or set HF_TOKEN",
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or log in with gcloud",
}


class RemoteFile(File):
    """A file behind an address, read by position. Its `path` is the address without secrets."""

    far = True

    def __init__(self, path: str) -> None:  # a path that was shown before opens the same address
        self._address = _address(path)
        if self._address.folder:
            raise SourceError("not a file but a directory", path=self._address.shown)
        self.path = self.disk_path = self._address.shown
        self.start, self.size = 0, self._address.size
        self._expected = 0, 0
        self._ahead = 0, b""

    def __exit__(self, *_: object) -> None:
        self._ahead = 0, b""

    def fileno(self) -> NoReturn:
        """There is none, so the kernel cannot copy from it."""
        raise io.UnsupportedOperation("a file behind an address")

    def reopened(self) -> File:
        """Return the same stretch anew."""
        return self._part(self.start, self.size, self.path)

    def section(self, start: int, size: int, name: str) -> File:
        """Return a stretch of this file as a file of its own."""
        return self._part(self.start + start, size, f"{self.path}!{name}")

    def _part(self, start: int, size: int, path: str) -> Self:
        part = type(self)(self.disk_path)
        part.start, part.size, part.path = start, size, path
        return part

    def expect(self, offset: int, size: int) -> None:
        """Say that a stretch will be read from end to end, so that larger pieces are fetched."""
        self._expected = offset, offset + size

    def up_to(self, offset: int, size: int) -> bytes:
        """Return what there is of `size` bytes from `offset` on."""
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        first, end = self._expected
        if not first <= offset < end:
            return self._address.read(self.start + offset, size)
        begin, content = self._ahead
        if not begin <= offset <= offset + size <= begin + len(content):
            want = max(size, min(_AHEAD, end - offset))
            begin, content = self._ahead = offset, self._address.read(self.start + offset, want)
        return content[offset - begin : offset - begin + size]

    def fill(self, target: memoryview, offset: int) -> None:
        """Fill `target` from `offset` on."""
        content = self.up_to(offset, len(target))
        if len(content) < len(target):
            raise shrunk(self.path)
        target[:] = content


def is_folder(path: str) -> bool:
    """Whether an address is that of a directory, or of a repository. Raises SourceError."""
    return _address(path).folder


def names_in(path: str) -> list[str]:
    """Names of the files of a directory."""
    return _address(path).names()


def shown(path: str) -> str:
    """Return an address as it may be shown: without passwords, tokens and signatures."""
    scheme, _, rest = path.partition("://")
    place, mark, query = rest.partition("?")
    host, slash, tail = place.partition("/")
    if scheme in ("http", "https"):
        host = host.rpartition("@")[2]
    return f"{scheme}://{host}{slash}{tail}{mark}{re.sub('=[^&]*', '=…', query)}"


_known: dict[str, _Address] = {}
_slots = threading.BoundedSemaphore(CONNECTIONS)


def _address(path: str) -> _Address:
    """What is known of an address, by how it is shown: asked for once in a process."""
    found = _known.get(shown(path))
    if found is None:
        found = _known[shown(path)] = _Address(path)
    return found


class _Address:
    """One address: its size, and the blocks of it that were read."""

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        self._url = url
        self._scheme = url.partition("://")[0]
        self._process = 0
        self._system: Any = None
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._all: bytes | None = None
        info = self._tried(lambda: self._files().info(self._path))
        self.folder: bool = info["type"] == "directory"
        self.size: int = info.get("size") or 0
        if not self.folder and (info.get("size") is None or info.get("partial") is False):
            self._take_all(info.get("size"))

    @property
    def _path(self) -> str:
        return self._url if self._scheme in ("http", "https") else self._url.partition("://")[2]

    def names(self) -> list[str]:
        """Names of the files in this directory."""
        found = self._tried(lambda: self._files().ls(self._path, detail=False))
        return sorted({posixpath.basename(str(name).rstrip("/")) for name in found})

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the file. Raises SourceError."""
        if self._all is not None:
            return self._all[start : start + size]
        end = min(start + size, self.size)
        if end - start >= _LARGE:
            return self._fetch(start, end)
        first, last = start // _BLOCK, (end - 1) // _BLOCK
        with self._lock:
            missing = [number for number in range(first, last + 1) if number not in self._blocks]
            if missing:
                begin, stop = missing[0] * _BLOCK, min((missing[-1] + 1) * _BLOCK, self.size)
                content = self._fetch(begin, stop)
                for number in range(missing[0], missing[-1] + 1):
                    at = number * _BLOCK - begin
                    self._blocks[number] = content[at : at + _BLOCK]
            whole = b"".join(self._blocks[number] for number in range(first, last + 1))
            for number in range(first, last + 1):
                self._blocks.move_to_end(number)
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return whole[start - first * _BLOCK : end - first * _BLOCK]

    def _fetch(self, start: int, end: int) -> bytes:
        content = self._tried(lambda: self._range(start, end))
        if len(content) != end - start:
            raise SourceError(
                f"{end - start:,} bytes were asked for, and {len(content):,} came", path=self.shown,
                offset=start, hint="the file may have changed meanwhile; try again",
            )  # fmt: skip
        return content

    def _range(self, start: int, end: int) -> bytes:
        files = self._files()
        if self._scheme in ("s3", "gs"):
            return bytes(files.cat_file(self._path, start=start, end=end))
        # Of http, since its `cat_file` takes the whole file from a server that sends no ranges.
        known = {} if self._scheme == "hf" else {"size": self.size}
        with files.open(self._path, "rb", cache_type="none", **known) as file:
            file.seek(start)
            return bytes(file.read(end - start))

    def _take_all(self, size: int | None) -> None:
        """Read a file whose server sends no ranges, unless it is too large for that."""
        if size is not None and size > _WHOLE:
            raise self._without_ranges()

        def take() -> bytes:
            content = b""
            with self._files().open(self._path, "rb", block_size=0) as file:
                while len(content) <= _WHOLE and (piece := file.read(_LARGE)):
                    content += piece
            return content

        self._all = self._tried(take)
        if len(self._all) > _WHOLE:
            raise self._without_ranges()
        self.size = len(self._all)

    def _without_ranges(self) -> SourceError:
        return SourceError(
            "its server sends no parts of a file, and this one is too large to be taken whole",
            path=self.shown, hint="download it and name the file",
        )  # fmt: skip

    def _files(self) -> Any:  # noqa: ANN401 - a file system, of a class that fsspec chooses
        """The file system; a forked process makes one of its own."""
        if self._process != os.getpid():
            self._system, self._process = _file_system(self._scheme, self.shown), os.getpid()
        return self._system

    def _tried(self, act: Callable[[], T]) -> T:
        """Do what may fail for a moment, some times. Raises SourceError if it fails each time."""
        for turn in range(_TRIES):
            try:
                with _slots:
                    return act()
            except ParamcliError:
                raise
            except Exception as error:  # each of these libraries has its own
                if turn == _TRIES - 1 or not _may_pass(error):
                    raise self._said(error) from error
                time.sleep(_PATIENCE * 2**turn * (1 + random.random()))  # noqa: S311 - no secret
        raise AssertionError  # the last turn returns or raises

    def _said(self, error: Exception) -> SourceError:
        status = _status(error)
        if isinstance(error, ValueError) and "range requests" in str(error):
            return self._without_ranges()
        if status in (401, 403) or isinstance(error, PermissionError):
            return SourceError(
                f"no permission to read it ({status or 'denied'})", path=self.shown,
                hint=_TOKENS.get(self._scheme, "its server wants a login, or a signed address"),
            )  # fmt: skip
        if status in (404, 410) or (status is None and _plainly_absent(error)):
            return SourceError(
                "no such file (404)", path=self.shown,
                hint=_TOKENS["hf"] if self._scheme == "hf" else "check the address",
            )  # fmt: skip
        if status is not None:
            return SourceError(f"its server answers {status}", path=self.shown, hint="try again")
        cause = _chain(error)[-1]
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        return SourceError(
            f"cannot be reached: {reason.replace(self._url, self.shown)}", path=self.shown,
            hint="check the address and the connection",
        )  # fmt: skip


def _file_system(scheme: str, address: str) -> Any:  # noqa: ANN401 - as above
    try:
        if scheme == "hf":
            from huggingface_hub import HfFileSystem

            return HfFileSystem()
        import fsspec

        if scheme == "gs":
            # Else gcsfs asks by gRPC of what kind the bucket is, which few who may read it may ask.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        if scheme in ("http", "https"):
            from aiohttp import ClientTimeout

            patience = ClientTimeout(total=None, sock_connect=20, sock_read=60)
            return fsspec.filesystem(scheme, client_kwargs={"trust_env": True, "timeout": patience})
        return fsspec.filesystem(scheme)
    except ImportError:
        extra = _EXTRAS[scheme]
        more = " gcsfs" if scheme == "gs" else ""
        raise UsageError(
            f"{address}: {scheme}:// needs packages that are not installed",
            hint=f"pip install 'paramcli[{extra}]'{more}",
        ) from None


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _status(error: Exception) -> int | None:
    """The HTTP status that an error, or what caused it, stands for."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        status = getattr(one, "status", getattr(response, "status_code", response))
        if isinstance(status, int):
            return status
    return None


def _plainly_absent(error: Exception) -> bool:
    """Whether a file system says that there is no such file, and nothing else went wrong."""
    return isinstance(error, FileNotFoundError) and error.__cause__ is None


def _may_pass(error: Exception) -> bool:
    status = _status(error)
    if status is not None:
        return status in _PASSING
    return not (_plainly_absent(error) or isinstance(error, PermissionError | ValueError))
