"""Stretches of files without a copy of them, which takes as long as comparing them does.

Where a file shrinks, or its disk fails, a look at what was mapped kills the process. So only those
map that are there to be killed: the forked workers, whose end is told as what it means.
"""

from __future__ import annotations

import errno
import mmap
import sys
from typing import TYPE_CHECKING

from paramcli.errors import SourceError
from paramcli.files import shrunk

if TYPE_CHECKING:
    from paramcli.files import File

__all__ = ["LEAST", "allow", "mapped"]

LEAST = 1 << 16
"""Bytes below which a copy is made sooner than a map."""
_POPULATE_READ = 22 if sys.platform == "linux" else None
"""Linux 5.14's advice to look up all pages at once, and to fail where there is none."""
_allowed: list[bool] = []


def allow() -> None:
    """Let this process map: nothing is lost where it is killed."""
    _allowed.append(True)


def mapped(file: File, offset: int, size: int) -> memoryview | None:
    """Return `size` bytes of a file from `offset` on, mapped as long as any view of them lives.

    They can be written to, which does not change the file. None where they should be read instead.
    Raises SourceError where the file has become shorter.
    """
    if not _allowed or file.far or size < LEAST:
        return None
    place = file.start + offset
    ahead = place % mmap.ALLOCATIONGRANULARITY
    try:
        room = mmap.mmap(file.fileno(), ahead + size, access=mmap.ACCESS_COPY, offset=place - ahead)
    except ValueError:
        raise shrunk(file.path) from None
    except OSError:  # a file system that has no maps
        return None
    if _POPULATE_READ is not None:
        try:
            room.madvise(_POPULATE_READ)
        except OSError as error:
            if error.errno == errno.EFAULT:
                raise shrunk(file.path) from None
            if error.errno != errno.EINVAL:
                raise SourceError(f"cannot be read: {error.strerror}", path=file.path) from None
    return memoryview(room)[ahead:]
