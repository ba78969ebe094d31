"""Bytes opened as a checkpoint file, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import paramcli
from paramcli.errors import SourceError
from tests.handmade import written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Checkpoint]:
    """Give a function that writes bytes to a file and opens it."""

    def opened(content: bytes, **options: object) -> Checkpoint:
        return paramcli.open(written(tmp_path / "model.pt", content), **options)  # type: ignore[arg-type]

    return opened


@pytest.fixture
def refused(opened: Callable[..., Checkpoint]) -> Callable[..., str]:
    """Give a function that opens bytes, wants a SourceError, and returns its text and hint."""

    def refused(content: bytes, **options: object) -> str:
        with pytest.raises(SourceError) as caught:
            opened(content, **options)
        return f"{caught.value}\n{caught.value.hint or ''}"

    return refused
