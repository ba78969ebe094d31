"""Whether stretches of files hold the same bytes: libc's memcmp over windows of both.

Forked workers map the windows. Where there is no fork, or little to do, they are read, and by
threads where files are far away: those wait.
"""

from __future__ import annotations

import mmap
import os
import threading
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from paramcli.files import File, open_file
from paramcli.files.mapped import mapped
from paramcli.workers import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paramcli.content.places import Stretch

    Pair = tuple[Stretch, Stretch]

__all__ = ["WINDOW", "equal"]

WINDOW = 1 << 22
"""Most bytes of each side that are compared at a time."""
_FIRST = 16
"""Such a part of that comes first of a large pair: most that differ do so from the beginning."""
_MOST = 32
"""Most workers: more would find memory busy."""
_REQUESTS = 8
_SMALL_WORK = 1 << 25
"""Bytes below which starting workers would take longer than the work."""


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
    windows = list(_windows(pairs))
    total = sum(map(_nbytes, windows))
    with ExitStack() as stack:
        files = {
            path: stack.enter_context(open_file(path))
            for path in {stretch.file for pair in pairs for stretch in pair}
        }
        far = any(file.far for file in files.values())
        if far:
            workers = min(_REQUESTS, 1 + total // WINDOW)
        elif total < _SMALL_WORK:
            workers = 1
        work = _Work(files, len(pairs))
        results = spread(work.compare, windows, min(workers, _MOST), _nbytes, threads=far)
        for window, unlike in zip(windows, results, strict=True):
            for number in unlike:
                verdicts[number] = False
            if progress is not None:
                progress(_nbytes(window))
    return verdicts


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


def _nbytes(window: _Window) -> int:
    return sum(part[3] for part in window.parts)


class _Work:
    """Compares windows, in any number of processes or threads."""

    def __init__(self, files: Mapping[str, File], pairs: int) -> None:
        self._files = files
        self._unlike = mmap.mmap(-1, pairs + 1)  # shared by the workers
        self._spare = _Spare()

    def compare(self, window: _Window) -> list[int]:
        """Return the numbers of the pairs that differ here, but of those known to differ."""
        if all(self._unlike[number] for number, *_ in window.parts):
            return []
        (file, other), a, b, parts = window
        ours = self._bytes(0, self._files[file], *a)
        theirs = self._bytes(1, self._files[other], *b)
        left, right, memcmp = _address(ours), _address(theirs), _memcmp()
        found = [
            number
            for number, at, there, size in parts
            if not self._unlike[number] and memcmp(left + at, right + there, size)
        ]
        for number in found:
            self._unlike[number] = 1
        return found

    def _bytes(self, side: int, file: File, start: int, end: int) -> memoryview:
        found = mapped(file, start, end - start)
        if found is None:
            if len(self._spare.sides[side]) < end - start:
                self._spare.sides[side] = bytearray(end - start)
            found = memoryview(self._spare.sides[side])[: end - start]
            file.fill(found, start)
        return found


class _Spare(threading.local):
    """Where a thread reads windows to."""

    def __init__(self) -> None:
        self.sides = [bytearray(), bytearray()]


def _address(view: memoryview) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
