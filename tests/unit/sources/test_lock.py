"""Locks opened as checkpoints: known by their content, open where no size is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import paramcli
from paramcli.errors import LockError, SourceError
from paramcli.tensors import Storage
from paramcli.verbs.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

LOCK = b"""\
[dims]
d = 4
[tensors]
"a" = "float32[vocab, 2*d]"
"b.{0..1}" = "int8[d, 3]"
"c" = "float32[vocab, 2*d]"
"e" = "bool[]"
"f" = "int8[3]"
[rules]
tied = [["c", "a"], ["b.1", "f"]]
bytes_max = 7
"""


def test_entries(opened: Callable[..., Checkpoint]) -> None:
    found = opened(LOCK)
    assert found.format == "lock"
    assert found.lock is not None
    assert [(info.name, info.shape, info.open, info.layout) for info in found] == [
        ("a", (-1, 8), True, "open"),
        ("b.0", (4, 3), False, "strided"),
        ("b.1", (4, 3), False, "strided"),
        ("c", (-1, 8), True, "open"),
        ("e", (), False, "strided"),
        ("f", (3,), False, "strided"),
    ]
    a, b = found["a"], found["b.0"]
    assert (a.numel, a.nbytes, a.facts) == (0, 0, (("dims", "[vocab, 2*d]"),))
    assert (b.numel, b.nbytes, b.stride, b.facts) == (12, 12, (3, 1), (("dims", "[d, 3]"),))
    assert b.storage == Storage("", "b.0", 12)
    assert found["e"].facts == ()
    assert found.notes == ("2 of 6 tensors have an open shape: totals are without them",)
    assert dict(found.values) == {
        "dims.d": 4, "rules.extra": "forbid", "rules.bytes_max": 7, "rules.tied": 2,
    }  # fmt: skip
    with pytest.raises(SourceError, match="no values"):
        found.read(b.storage)


def test_ties(opened: Callable[..., Checkpoint]) -> None:
    """Tied names share a storage; how much they share is not known where they are open."""
    groups = opened(LOCK).groups()
    assert [(group.names, group.relation, group.bytes) for group in groups] == [
        (("a", "c"), "same", 0), (("b.1", "f"), "overlap", 3),
    ]  # fmt: skip
    totals = survey(opened(LOCK)).totals
    assert totals == (6, 28, 28, 25, 25)


@pytest.mark.parametrize(
    "content",
    [
        b"[tensors]", b"\xef\xbb\xbf[rules]\n", b"# a lock\r\n\r\n[ dims ] # of it\r\n",
        b"# " + b"a" * 10_000 + b"\n  [dims]\n",
    ],
)  # fmt: skip
def test_known_by_a_table(content: bytes, opened: Callable[..., Checkpoint]) -> None:
    assert opened(content).format == "lock"


def test_a_page_about_locks_is_none(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Only in a file that is named as a lock may anything come before its first table."""
    page = b"# Title\n\nA lock has tables:\n\n    [tensors]\n"
    assert "a text file, no checkpoint" in refused(page)
    (tmp_path / "a.lock").write_bytes(page)
    with pytest.raises(LockError, match=r"a\.lock:3:1: a line before the first table"):
        paramcli.open(tmp_path / "a.lock")


@pytest.mark.parametrize("content", [b"[tensor]\n\n\n", b"x [tensors]\n", b"tensors = 3\n"])
def test_other_text_is_no_lock(content: bytes, refused: Callable[..., str]) -> None:
    assert "a text file, no checkpoint" in refused(content)


def test_not_text(refused: Callable[..., str]) -> None:
    assert "not UTF-8 (at byte 12)" in refused(b'[tensors]\n"a\xff" = "int8[]"')
    assert ":2:1: " in refused(b"[tensors]\n# comment \0\n")


def test_too_large(refused: Callable[..., str]) -> None:
    assert "more than 64 MiB" in refused(b"[tensors]\n" + bytes(64 << 20))
