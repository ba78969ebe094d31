"""Transposes by their bytes, beside NumPy's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.content.places import Stretch
from paramcli.errors import SourceError
from paramcli.numeric import turned as room
from paramcli.numeric.turned import Pair, turned

if TYPE_CHECKING:
    from pathlib import Path


def placed(path: Path, *matrices: np.ndarray) -> list[Stretch]:
    path.write_bytes(b"head" + b"".join(one.tobytes() for one in matrices))
    starts = np.cumsum([4, *(one.nbytes for one in matrices)])
    return [
        Stretch(str(path), int(at), one.nbytes) for at, one in zip(starts, matrices, strict=False)
    ]


@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 99),
    width=st.sampled_from([1, 2, 4, 8, 16]), changed=st.booleans(),
)  # fmt: skip
def test_transposes(
    rows: int, columns: int, seed: int, width: int, tmp_path_factory: pytest.TempPathFactory,
    *, changed: bool,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("turned") / "file"
    random = np.random.default_rng(seed)
    one = random.integers(0, 256, (rows, columns, width), np.uint8)
    other = one.swapaxes(0, 1).copy()
    if changed:
        other[random.integers(columns), random.integers(rows), random.integers(width)] ^= 1
    a, b = placed(path, one, other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_LINE", 64)
        assert turned([Pair(a, b, (rows, columns), width)]) == [not changed]


def test_workers_and_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LINE", 64)
    monkeypatch.setattr(room, "_SMALL_WORK", 0)
    one = np.arange(64 * 48, dtype=np.uint32).reshape(64, 48)
    a, b = placed(tmp_path / "file", one, np.ascontiguousarray(one.T))
    done: list[int] = []
    pairs = [Pair(a, b, (64, 48), 4), Pair(a, a, (64, 48), 4), Pair(b, a, (48, 64), 4)]
    assert turned(pairs, workers=2, progress=done.append) == [True, False, True]
    assert sum(done) == 3 * one.nbytes
    done.clear()
    assert turned(pairs[1:2], workers=2, progress=done.append) == [False]
    assert sum(done) < one.nbytes  # given up


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    one = np.arange(64, dtype=np.uint32).reshape(8, 8)
    a, b = placed(tmp_path / "file", one, np.ascontiguousarray(one.T))
    with pytest.raises(SourceError, match="shrank"):
        turned([Pair(a, b._replace(offset=b.offset + 100), (8, 8), 4)])
