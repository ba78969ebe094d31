"""Numbers of bytes as they are written."""

from __future__ import annotations

import pytest

from paramcli.commands.sizes import parse_size
from paramcli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("5GB", 5 * 10**9), ("512MiB", 512 << 20), ("1.5kb", 1500), ("2 TiB", 2 << 40),
     ("7b", 7)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "5 parsecs", "-5GB", "1e9", "5GB2"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of bytes"):
        parse_size(text)
