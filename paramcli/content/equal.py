"""Whether stretches of files hold the same bytes: libc's memcmp over windows that stay in cache.

Windows are read rather than mapped: as fast from the page cache, and a file that shrinks meanwhile
gives an error, where a mapping would kill the process. Threads share the work, since reading and
comparing both let the interpreter go.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from paramcli import ranks
from paramcli.files import File, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paramcli.content.places import Stretch

    Pair = tuple[Stretch, Stretch]

__all__ = ["WINDOW", "equal"]

WINDOW = 1 << 21
"""Most bytes of each side that are read at a time."""
_FIRST = 8
"""Such a part of that is read first of a large pair: most that differ do so from the beginning."""
_THREADS = 32
"""Most threads: more would find memory busy, and fill too much of it with windows."""
_REQUESTS = 8
_SMALL_WORK = 4 << 20
"""Bytes below which starting threads would take longer than the work."""


@cache
def _memcmp() -> Any:  # noqa: ANN401 - a function of C
    import ctypes  # which takes longer to import than to compare shapes

    found = ctypes.CDLL(None if os.name == "posix" else "msvcrt").memcmp
    found.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    return found


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
            path: stack.enter_context(open_file(path))
            for path in {stretch.file for pair in pairs for stretch in pair}
        }
        own = ranks.rank()
        dealt = ranks.dealt(_windows(pairs), lambda window: window.a[1] - window.a[0])
        mine = (window for rank, window in dealt if rank == own)
        work = _Work(mine, files, verdicts, progress)
        count = min(workers, _THREADS) if total > _SMALL_WORK else 1
        if any(file.far for file in files.values()):
            count = min(_REQUESTS, 1 + total // WINDOW)  # threads that wait for other machines
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
    return ranks.everywhere(verdicts)


class _Window(NamedTuple):
    """What is read at once: from where to where of each side, and which pairs lie where in it.

    A part is the number of a pair, where it begins in what is read of either side, and its bytes.
    """

    files: tuple[str, str]
    a: tuple[int, int]
    b: tuple[int, int]
    parts: list[tuple[int, int, int, int]]


def _windows(pairs: Sequence[Pair]) -> Iterator[_Window]:
    """Cut large pairs into windows, and gather small ones that lie close together into one."""
    parts: list[tuple[int, int, int, int]] = []
    files = "", ""
    start = other_start = end = other_end = 0
    for number, ((file, at, size), (other_file, other, _)) in enumerate(pairs):
        if (
            parts
            and files == (file, other_file)
            and end <= at <= start + WINDOW - size
            and other_end <= other <= other_start + WINDOW - size
        ):
            parts.append((number, at - start, other - other_start, size))
            end, other_end = at + size, other + size
            continue
        if parts:
            yield _Window(files, (start, end), (other_start, other_end), parts)
        files, start, other_start = (file, other_file), at, other
        left, piece = size, max(1, WINDOW // _FIRST)
        while left > WINDOW // 2:
            end, other_end = start + piece, other_start + piece
            yield _Window(files, (start, end), (other_start, other_end), [(number, 0, 0, piece)])
            start, other_start, left = end, other_end, left - piece
            piece = min(WINDOW, left)
        end, other_end = start + left, other_start + left
        parts = [(number, 0, 0, left)] if left else []
    if parts:
        yield _Window(files, (start, end), (other_start, other_end), parts)


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
        (file, other), a, b, parts = window
        if any(self._verdicts[part[0]] for part in parts):
            self._files[file].fill(views[0][: a[1] - a[0]], a[0])
            self._files[other].fill(views[1][: b[1] - b[0]], b[0])
            (left, right), memcmp = addresses, _memcmp()
            for number, at, there, size in parts:
                if memcmp(left + at, right + there, size):
                    self._verdicts[number] = False
        if self._progress is not None:
            with self._lock:
                self._progress(sum(part[3] for part in parts))


def _address(buffer: bytearray) -> int:
    import ctypes

    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
