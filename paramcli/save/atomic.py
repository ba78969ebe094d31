"""Files that appear whole or not at all: written beside their target, then renamed onto it.

A draft is named `.NAME.RANDOM.paramcli-draft` and locked while its writer lives, so that the next
save to the same target can tell what a killed writer left from what another is writing now. The
lock is the process's own: its forked workers, which may outlive it for a moment, do not hold it.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING, Self

from paramcli import ranks
from paramcli.errors import OutputError, UsageError
from paramcli.save.output import Output, failing

_POSIX = os.name == "posix"
if _POSIX:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["DRAFT", "Draft", "Hold", "abandoned", "drafts", "sweep", "sync_directory"]

DRAFT = ".paramcli-draft"
_LOCK = "being-written"
_LONGEST = 200  # bytes of the target's name in a draft's: file systems allow 255 in all
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_READ = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_ours: set[str] = set()
"""Names of the drafts of this process, which would not be kept from its own locks."""


class Draft:
    """A file in the making. Leaving the context publishes it, or removes it after an exception.

    `size` is the least that it will hold, in bytes: room for that much is looked for at once, so
    that a full disk is known before anything is computed. Under torchrun rank 0 makes the file, and
    all may write parts of it. Raises OutputError, UsageError for a target that is no regular file.
    """

    def __init__(
        self, path: str, size: int = 0, progress: Callable[[int], None] | None = None
    ) -> None:
        self.path = path
        self._target = os.path.realpath(path)
        self._old = _status(self._target, path)
        self._descriptor = -1
        self._name = ranks.alone(lambda: self._begun(size))
        self._ours = ranks.rank() == 0
        if not self._ours:
            with failing(path):
                self._descriptor = os.open(self._name, os.O_RDWR | getattr(os, "O_BINARY", 0))
        self._open = True
        self.output = Output(self._descriptor, path, progress, parts=not self._ours)

    def _begun(self, size: int) -> str:
        """Create the draft, as long as it will be; return its name."""
        sweep(*os.path.split(self._target))
        with failing(self.path):
            name, self._descriptor = _create(self._target, self._old)
            try:
                _allocate(self._descriptor, size)
            except BaseException:
                os.close(self._descriptor)
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
        return name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.finish()
                self.publish()
                sync_directory(os.path.dirname(self._target))
        finally:
            self.discard()

    def finish(self) -> None:
        """Bring all bytes to the disk, under the old file's mode where there is one."""
        self.output.flush()
        self.output.settle()
        with failing(self.path):
            if self._old is not None and self._ours:
                if (self._old.st_uid, self._old.st_gid) != _owner(self._descriptor):
                    with contextlib.suppress(OSError):  # only root may give files away
                        os.fchown(self._descriptor, self._old.st_uid, self._old.st_gid)
                os.chmod(self._name, stat.S_IMODE(self._old.st_mode))
            os.fsync(self._descriptor)
        ranks.everywhere([True])  # the parts of all ranks are on the disk

    def publish(self) -> None:
        """Put the finished file where the target is."""
        with failing(self.path):
            if not _POSIX:  # no one may rename a file that is open
                self._close()
            if self._ours:
                os.replace(self._name, self._target)
        self._name = ""

    def discard(self) -> None:
        """Close the draft and remove it, unless it was published."""
        self._close()
        if self._name and self._ours:
            with contextlib.suppress(OSError):
                os.unlink(self._name)
            self._name = ""

    def _close(self) -> None:
        if self._open:
            self._open = False
            with contextlib.suppress(OutputError):
                self.output.settle()
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


class Hold:
    """A directory in the making: leaving the context renames it to its target, or removes it.

    The target must be an empty directory, or not there. The context gives the draft's path; a file
    in it is locked while its writer lives.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._target = os.path.realpath(path)
        folder, name = os.path.split(self._target)
        for old in drafts(folder, name):
            if os.path.isdir(old) and abandoned(os.path.join(old, _LOCK)):
                shutil.rmtree(old, ignore_errors=True)
        self._draft = os.path.join(folder, f".{_cut(name)}.{secrets.token_hex(4)}{DRAFT}")
        self._lock = os.path.join(self._draft, _LOCK)

    def __enter__(self) -> str:
        with failing(self.path):
            os.mkdir(self._draft)
            self._descriptor = os.open(self._lock, _FLAGS)
            if _POSIX:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        return self._draft

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        try:
            if error is None:
                with failing(self.path):
                    os.unlink(self._lock)
                    os.rename(self._draft, self._target)
                sync_directory(os.path.dirname(self._target))
        finally:
            shutil.rmtree(self._draft, ignore_errors=True)


def drafts(directory: str, name: str = "*") -> list[str]:
    """Paths of the drafts in a directory, of the target `name` or of all, whoever writes them."""
    pattern = f".{glob.escape(_cut(name)) if name != '*' else name}.{'[0-9a-f]' * 8}{DRAFT}"
    return [os.path.join(directory, found) for found in glob.glob(pattern, root_dir=directory)]


def sweep(directory: str, name: str = "*") -> None:
    """Remove the drafts whose writers are gone."""
    for path in filter(abandoned, drafts(directory, name)):
        with contextlib.suppress(OSError):
            os.unlink(path)


def abandoned(path: str) -> bool:
    """Whether nobody is writing a draft any more. Where that cannot be told, somebody is."""
    if not _POSIX:  # no one may remove a file that is open, so there is no harm in trying
        return True
    if os.path.basename(path) in _ours:
        return False
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def sync_directory(directory: str) -> None:
    """Bring names in a directory to the disk, where directories can be opened for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cut(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_LONGEST])


def _status(target: str, path: str) -> os.stat_result | None:
    """Status of the file that is to be replaced, None where there is none."""
    with failing(path):
        try:
            status = os.stat(target)
        except FileNotFoundError:
            return None
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a directory", hint="name a file in it, or ask for shards")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is not a regular file", hint="name a file that may be replaced")
    return status


def _create(target: str, old: os.stat_result | None) -> tuple[str, int]:
    """Create and lock a draft; nobody may read it who may not read the file it replaces."""
    directory, cut = os.path.dirname(target), _cut(os.path.basename(target))
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o700 | 0o600
    while True:
        own = f".{cut}.{secrets.token_hex(4)}{DRAFT}"
        name = os.path.join(directory, own)
        _ours.add(own)
        descriptor = os.open(name, _FLAGS, mode)
        try:
            if not _POSIX:
                return name, descriptor
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        os.close(descriptor)  # somebody swept it away before it was locked


def _owner(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_uid, status.st_gid


def _allocate(descriptor: int, size: int) -> None:
    """Refuse at once what there is no room for, and set the size.

    The room is not reserved: a file system in memory would clear all of it first, in one thread,
    and one that cannot reserve would have zeros written to it.
    """
    if hasattr(os, "fstatvfs"):
        room = os.fstatvfs(descriptor)
        if room.f_blocks and room.f_bfree * room.f_frsize < size:  # some systems count no blocks
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, size)
