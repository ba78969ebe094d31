"""Directories, on disk or behind an address: what is in them, and how large it is."""

from __future__ import annotations

import os

from paramcli.errors import SourceError
from paramcli.files import is_remote

__all__ = ["names_in", "size_of"]


def names_in(directory: str) -> list[str]:
    """Names in a directory, sorted. Raises SourceError where it cannot be listed."""
    if is_remote(directory):
        from paramcli.files import remote

        return remote.names_in(directory)
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise SourceError(f"cannot be listed: {error.strerror}", path=directory) from None


def size_of(path: str) -> int | None:
    """Bytes of a file, None where there is none."""
    if is_remote(path):
        from paramcli.files.remote import RemoteFile

        return RemoteFile(path).size
    try:
        return os.stat(path).st_size
    except OSError:
        return None
