"""Whether stretches of files hold the same bytes: libc's memcmp over windows that stay in cache.

Windows are read rather than mapped: as fast from the page cache, and a file that shrinks meanwhile
gives an error, where a mapping would kill the process. Threads share the work, since reading and
comparing both let the interpreter go.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from paramcli.sources.files import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paramcli.content.places import Stretch

    Pair = tuple[Stretch, Stretch]

__all__ = ["WINDOW", "equal"]

WINDOW = 1 << 20
"""Most bytes of each side that are read at a time."""
_SMALL_WORK = 4 << 20
"""Bytes below which starting threads would take longer than the work."""

_memcmp = ctypes.CDLL(None if os.name == "posix" else "msvcrt").memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def equal(
    pairs: Sequence[Pair],
    *,
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> list[bool]:
    """Say of each pair of stretches, as long as each other, whether their bytes are the same.

    A pair is given up at the first window that differs. `progress` is told how many bytes are
    done with. Raises SourceError where a file ends early.
    """
    verdicts = [True] * len(pairs)
    total = sum(a.nbytes for a, _ in pairs)
    with ExitStack() as stack:
        files = {
            path: stack.enter_context(File(path))
            for path in {stretch.file for pair in pairs for stretch in pair}
        }
        work = _Work(_windows(pairs), files, verdicts, progress)
        count = workers if total > _SMALL_WORK else 1
        others = [threading.Thread(target=work.run, daemon=True) for _ in range(count - 1)]
        for thread in others:
            thread.start()
        try:
            work.run()
        finally:
            work.stop()
            for thread in others:
                thread.join()
        if work.error is not None:
            raise work.error
    return verdicts


class _Window(NamedTuple):
    """What is read at once: a stretch of each side, and which pairs lie where in them.

    A part is the number of a pair, where it begins in either stretch, and its bytes.
    """

    a: Stretch
    b: Stretch
    parts: list[tuple[int, int, int, int]]


def _windows(pairs: Sequence[Pair]) -> Iterator[_Window]:
    """Cut large pairs into windows, and gather small ones that lie close together into one."""
    open_: _Window | None = None
    for number, (a, b) in enumerate(pairs):
        joined = open_ and _joined(open_, number, a, b)
        if joined is None and open_ is not None:
            yield open_
        open_ = joined
        if joined is None:
            for at in range(0, a.nbytes, WINDOW):
                size = min(WINDOW, a.nbytes - at)
                window = _Window(
                    a._replace(offset=a.offset + at, nbytes=size),
                    b._replace(offset=b.offset + at, nbytes=size),
                    [(number, 0, 0, size)],
                )
                if size < WINDOW // 2:
                    open_ = window
                else:
                    yield window
    if open_ is not None:
        yield open_


def _joined(window: _Window, number: int, a: Stretch, b: Stretch) -> _Window | None:
    """The window with one more pair in it, None where that lies elsewhere or too far."""
    first, second = window.a, window.b
    at, other = a.offset - first.offset, b.offset - second.offset
    if (
        (a.file, b.file) != (first.file, second.file)
        or not first.nbytes <= at <= WINDOW - a.nbytes
        or not second.nbytes <= other <= WINDOW - b.nbytes
    ):
        return None
    window.parts.append((number, at, other, a.nbytes))
    return _Window(
        first._replace(nbytes=at + a.nbytes), second._replace(nbytes=other + b.nbytes), window.parts
    )


class _Work:
    """The windows that are left, taken by any number of threads."""

    def __init__(
        self,
        windows: Iterator[_Window],
        files: dict[str, File],
        verdicts: list[bool],
        progress: Callable[[int], None] | None,
    ) -> None:
        self._windows, self._files, self._verdicts = windows, files, verdicts
        self._progress = progress
        self._lock = threading.Lock()
        self.error: Exception | None = None

    def stop(self) -> None:
        """Leave what no thread has taken yet."""
        with self._lock:
            self._windows = iter(())

    def run(self) -> None:
        """Take windows until none is left."""
        left, right = bytearray(WINDOW), bytearray(WINDOW)
        views, addresses = (memoryview(left), memoryview(right)), (_address(left), _address(right))
        try:
            while (window := self._next()) is not None:
                self._compare(window, views, addresses)
        except Exception as error:  # noqa: BLE001 - raised again where the threads are joined
            self.error = error
            self.stop()

    def _next(self) -> _Window | None:
        with self._lock:
            return next(self._windows, None)

    def _compare(
        self, window: _Window, views: tuple[memoryview, memoryview], addresses: tuple[int, int]
    ) -> None:
        a, b, parts = window
        if any(self._verdicts[part[0]] for part in parts):
            self._files[a.file].fill(views[0][: a.nbytes], a.offset)
            self._files[b.file].fill(views[1][: b.nbytes], b.offset)
            left, right = addresses
            for number, at, other, size in parts:
                if _memcmp(left + at, right + other, size):
                    self._verdicts[number] = False
        if self._progress is not None:
            with self._lock:
                self._progress(sum(part[3] for part in parts))


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
