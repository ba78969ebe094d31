"""A digest of a stretch is hashlib's of its bytes."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from paramcli.content.digest import digest
from paramcli.content.places import Stretch
from paramcli.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (1 << 20) + 3])
def test_digest(tmp_path: Path, size: int) -> None:
    content = random.Random(0).randbytes(size + 20)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert digest(Stretch(str(path), 7, size)) == hashlib.sha256(content[7 : 7 + size]).digest()
    with pytest.raises(SourceError, match="shrank"):
        digest(Stretch(str(path), 7, size + 14))
