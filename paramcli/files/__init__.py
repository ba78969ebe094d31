"""Regular files read by position, and nothing else: no pipe, no device, no read past the end.

Those on this machine are here; those of others, and directories, in rooms of their own.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from typing import TYPE_CHECKING, Self

from paramcli.errors import CUT_SHORT, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["File", "HeaderWindow", "is_remote", "open_file", "shrunk"]

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


_REMOTE = ("hf://", "https://", "http://", "s3://", "gs://")


def is_remote(path: str) -> bool:
    """Whether a path is an address that `paramcli.files.remote` reads."""
    return path.startswith(_REMOTE)


def open_file(path: str) -> File:
    """Open a file on disk, or behind an address."""
    if is_remote(path):
        from paramcli.files.remote import RemoteFile

        return RemoteFile(path)
    return File(path)


class File:
    """A regular file, or a stretch of one, open for reading by position.

    `path` is what errors name, `disk_path` the file on disk, `start` where the stretch begins in
    it, `size` its length in bytes. Positions count from `start`. `far` says that every look at it
    is a request to another machine.
    """

    far = False

    def __init__(self, path: str) -> None:
        self.path = self.disk_path = path
        self.start = 0
        try:
            # Without O_NONBLOCK the open of a FIFO would wait for a writer that never comes.
            self._descriptor = os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY)
        except OSError as error:
            raise SourceError(_reason(error), path=path, hint=_advice(error)) from None
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise SourceError(
                "not a regular file", path=path, hint="write what it gives into a file first"
            )
        self.size = status.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, for the kernel to copy from. A stretch shares that of its file."""
        return self._descriptor

    def reopened(self) -> File:
        """Return the same stretch open anew, for reading after this one is closed."""
        file = File(self.disk_path)
        file.path, file.start, file.size = self.path, self.start, self.size
        return file

    def section(self, start: int, size: int, name: str) -> File:
        """Return a stretch of this file as a file of its own. It lives as long as this one."""
        part = object.__new__(File)
        part.path, part.disk_path = f"{self.path}!{name}", self.disk_path
        part.start, part.size = self.start + start, size
        part._descriptor = self._descriptor
        return part

    def expect(self, offset: int, size: int) -> None:
        """Say that a stretch will be read from end to end. What is far away is fetched ahead."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset` on. Raises SourceError where they are not."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise SourceError(
                f"the file ends before byte {offset + size:,} that it should hold",
                path=self.path,
                offset=self.size,
                hint=CUT_SHORT,
            )
        content = self.up_to(offset, size)
        while len(content) < size:
            piece = self.up_to(offset + len(content), size - len(content))
            if not piece:
                raise shrunk(self.path)
            content += piece
        return content

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes, fewer where the file is shorter."""
        return self.read(0, min(size, self.size))

    def up_to(self, offset: int, size: int) -> bytes:
        """Return what there is of `size` bytes from `offset` on, which may be less."""
        if offset >= self.size:
            return b""
        try:
            return os.pread(self._descriptor, min(size, self.size - offset), self.start + offset)
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}", path=self.path) from None

    def fill(self, target: memoryview, offset: int) -> None:
        """Fill `target` from `offset` on. Raises SourceError where the file has become shorter."""
        done = 0
        while done < len(target):
            try:
                got = os.preadv(self._descriptor, [target[done:]], self.start + offset + done)
            except OSError as error:
                raise SourceError(f"cannot be read: {error.strerror}", path=self.path) from None
            if not got:
                raise shrunk(self.path)
            done += got


def shrunk(path: str) -> SourceError:
    """Say that a file became shorter."""
    return SourceError(
        "the file shrank while it was read", path=path,
        hint="something else writes to it; try again when that is done",
    )  # fmt: skip


class HeaderWindow:
    """Many small headers at rising positions, fetched together where they lie close.

    `typical` is the usual distance between two of them, in bytes.
    """

    def __init__(self, file: File, typical: int, size: int) -> None:
        self._file = file
        self._ahead = size if typical > 1 << 14 else 1 << 18
        self.base = 0
        self.content = b""

    def reach(self, offset: int, size: int) -> int:
        """Make `content` hold `size` bytes at `offset`; return the index where they begin."""
        index = offset - self.base
        if index < 0 or index + size > len(self.content):
            self.content = self._file.up_to(offset, max(size, self._ahead))
            self.base, index = offset, 0
            if len(self.content) < size:
                self._file.read(offset, size)  # says what is wrong
        return index

    def every(self, offsets: Sequence[int], size: int) -> bytes:
        """Return the headers of `size` bytes at these rising offsets, one after another."""
        found: list[bytes] = []
        while len(found) < len(offsets):
            done = len(found)
            self.reach(offsets[done], size)
            content, base = self.content, self.base
            here = bisect_right(offsets, base + len(content) - size, done)
            found += [content[at - base : at - base + size] for at in offsets[done:here]]
        return b"".join(found)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "no such file or directory"
    if error.errno == errno.ELOOP:
        return "symbolic links that lead round in a circle"
    return f"cannot be opened: {(error.strerror or str(error)).lower()}"


def _advice(error: OSError) -> str | None:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ask its owner for permission to read it"
    return None
