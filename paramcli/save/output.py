"""Bytes on their way into one file, in order: small ones together, large ones by the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from paramcli.errors import OutputError
from paramcli.save.writeback import Writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paramcli.files import File

__all__ = ["PIECE", "Output", "failing"]

PIECE = 1 << 20
"""Bytes that are read, drawn or counted at a time."""
_BUFFER = 1 << 18
_HINTS = {
    errno.ENOSPC: "the disk is full; what stood there before is untouched",
    errno.EDQUOT: "your quota is used up; what stood there before is untouched",
    errno.EFBIG: "files may not be as large here; what stood there before is untouched",
    errno.EACCES: "ask for permission to write there, or name another place",
    errno.EPERM: "ask for permission to write there, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "make the directory first",
}
_NOT_HERE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@contextlib.contextmanager
def failing(path: str) -> Iterator[None]:
    """Raise what the system says of a file being written as an OutputError."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = _HINTS.get(error.errno or 0)
        raise OutputError(f"cannot be written: {reason}", path=path, hint=hint) from error


class Output:
    """A file written from its first byte on. `progress` is told of bytes as they go out.

    Where it is written by `parts`, another process writes what comes in sequence, and this one
    only what is put.
    """

    def __init__(
        self,
        descriptor: int,
        path: str,
        progress: Callable[[int], None] | None = None,
        *,
        parts: bool = False,
    ) -> None:
        self._descriptor = descriptor
        self._path = path
        self._progress = progress
        self._buffer = bytearray()
        self._flushed = 0
        self._parts = parts
        self._writeback = Writeback(descriptor)
        self._by_kernel = hasattr(os, "copy_file_range")
        self._pending: tuple[File, int, int] | None = None

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._flushed + len(self._buffer) + (self._pending[2] if self._pending else 0)

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Take bytes. They may be changed afterwards."""
        if self._pending:
            self._copy_pending()
        if len(self._buffer) + len(content) <= _BUFFER:
            self._buffer += content
        else:
            self._flush_buffer()
            self._out(content)

    def copy(self, file: File, offset: int, size: int) -> None:
        """Take bytes of a file as they are. Raises SourceError where the file has shrunk."""
        if self._pending:
            before, start, length = self._pending
            if before is file and start + length == offset:
                self._pending = (file, start, length + size)
                return
            self._copy_pending()
        self._pending = (file, offset, size)

    def skip(self, size: int) -> int:
        """Leave room for bytes that `put` will write; return where it begins."""
        self.flush()
        position = self._flushed
        self._flushed += size
        return position

    def put(self, content: bytes | memoryview, position: int) -> None:
        """Write bytes at a position at once: a forked process may, too. They are not counted."""
        view = memoryview(content)
        while view:
            with failing(self._path):
                done = os.pwrite(self._descriptor, view, position)
            view, position = view[done:], position + done

    def patch(self, position: int, content: bytes) -> None:
        """Write over bytes that were taken before."""
        at = position - self._flushed
        if at >= 0 and not self._pending:
            self._buffer[at : at + len(content)] = content
            return
        self.flush()
        if not self._parts:
            self.put(content, position)

    def count(self, size: int) -> None:
        """Tell of bytes that were put, to whom it may concern."""
        self._writeback.wrote(size)
        if self._progress:
            self._progress(size)

    def flush(self) -> None:
        """Hand everything to the system."""
        if self._pending:
            self._copy_pending()
        self._flush_buffer()

    def settle(self) -> None:
        """End what goes on beside the writing, before the descriptor is closed."""
        with failing(self._path):
            self._writeback.stop()

    def _flush_buffer(self) -> None:
        if self._buffer:
            content, self._buffer = self._buffer, bytearray()
            self._out(content)

    def _out(self, content: bytes | bytearray | memoryview) -> None:
        view = memoryview(content)
        if self._parts:
            self._flushed += len(view)
            return
        while view:
            with failing(self._path):
                done = os.pwrite(self._descriptor, view[: 8 * PIECE], self._flushed)
            self._flushed += done
            self.count(done)
            view = view[done:]

    def _copy_pending(self) -> None:
        assert self._pending is not None
        file, offset, size = self._pending
        self._pending = None
        if self._parts:
            self._flush_buffer()
            self._flushed += size
            return
        if size > _BUFFER:
            self._flush_buffer()
            while size and self._by_kernel:
                done = self._copied(file, offset, min(size, 64 * PIECE))
                offset, size = offset + done, size - done
        buffer = bytearray(min(size, PIECE))
        while size:
            piece = memoryview(buffer)[: min(size, PIECE)]
            file.fill(piece, offset)
            self.write(piece)
            offset, size = offset + len(piece), size - len(piece)

    def _copied(self, file: File, offset: int, size: int) -> int:
        """Copy by the kernel; where it cannot, say so and let reading and writing tell why."""
        try:
            done = os.copy_file_range(
                file.fileno(), self._descriptor, size, file.start + offset, self._flushed
            )
        except OSError as error:
            if error.errno in _NOT_HERE:
                with failing(self._path):
                    raise
            done = 0
        if not done:
            self._by_kernel = False
        self._flushed += done
        self.count(done)
        return done
