"""Targets that are no path on this disk: model classes, addresses, and names with a typo."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from paramcli.errors import SourceError, UsageError

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request

__all__ = ["open_elsewhere"]


def open_elsewhere(request: Request) -> Checkpoint:
    """Open a model class. Raises UsageError or SourceError for a target that cannot be found."""
    target = request.target
    scheme, colon, _ = target.partition("://")
    if colon:
        raise UsageError(
            f"{scheme}:// targets cannot be opened",
            hint="https, s3, gs and hf can; else download the file and name its path",
        )
    from paramcli.sources.module import looks_like_module, open_module

    if looks_like_module(target):
        return open_module(request)
    raise SourceError("no such file or directory", path=target, hint=_advice(target))


def _advice(target: str) -> str | None:
    """Name what lies beside a missing file, the likeliest first."""
    from difflib import get_close_matches

    directory, name = os.path.split(os.path.expanduser(target))
    try:
        names = os.listdir(directory or ".")
    except OSError:
        return f"there is no directory {directory}" if directory else None
    close = get_close_matches(name, names, 3, 0.5)
    if close:
        return (
            "did you mean " + " or ".join(os.path.join(directory, found) for found in close) + "?"
        )
    return None
