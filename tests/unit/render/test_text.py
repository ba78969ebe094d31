"""Words and numbers are written as people read them, and nothing is written that acts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.render.text import (
    alike,
    binary,
    chunks,
    decimal,
    plural,
    safe,
    shape_text,
    spans,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv.0.weight", "conv.0.weight"),
        ("注意力 🔥 é", "注意力 🔥 é"),
        ("[bold]x[/]", "[bold]x[/]"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\tb\nc\x7f\x9b", r"a\tb\nc\x7f\x9b"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    """What a screen would obey or hide is escaped; all else is left as it is."""
    assert safe(text) == shown


@given(st.text(st.characters()))
def test_safe_is_printable(text: str) -> None:
    """Whatever the text, what is shown is printable, and showing it twice changes nothing."""
    assert safe(text).isprintable()
    assert safe(safe(text)) == safe(text)


@given(*[st.text(st.characters(exclude_characters="\\"))] * 2)
def test_safe_tells_names_apart(first: str, second: str) -> None:
    """Different names look different (unless one spells out the other's escape)."""
    assert (safe(first) == safe(second)) == (first == second)


@pytest.mark.parametrize(
    ("nbytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (177_704, "173.5 KiB"),
        (1_268_777, "1.21 MiB"),
        (2**20 - 1, "1.00 MiB"),
        (10 * 2**30, "10.0 GiB"),
        (9 * 2**40, "9.00 TiB"),
        (2**60, "1048576.0 TiB"),
    ],
)
def test_binary(nbytes: int, shown: str) -> None:
    """Bytes are written in binary units, three digits or so."""
    assert binary(nbytes) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (44_426, "44.4 K"),
        (61_100_840, "61.1 M"),
        (999_960, "1.00 M"),
        (7_241_732_096, "7.24 B"),
        (10**15, "1000.0 T"),
    ],
)
def test_decimal(count: int, shown: str) -> None:
    """Counts are written in decimal units."""
    assert decimal(count) == shown


def test_small_words() -> None:
    """Shapes and plurals."""
    assert shape_text((6, 1, 5, 5)) == "[6, 1, 5, 5]"
    assert shape_text(()) == "[]"
    assert plural(1, "tensor") == "1 tensor"
    assert plural(44_426, "parameter") == "44,426 parameters"


@given(st.sets(st.integers(0, 40)))
def test_spans_cover_exactly(numbers: set[int]) -> None:
    """Spans hold the numbers and no others, and never touch each other."""
    found = list(spans(sorted(numbers)))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(end + 1 < start for (_, end), (start, _) in pairwise(found))


def test_alike(make_entry: Callable[..., TensorInfo]) -> None:
    """One call for each dtype, shape and stride, but one for each composite."""
    calls: list[str] = []

    def described(info: TensorInfo) -> str:
        calls.append(info.name)
        return info.name

    plain, same, other = make_entry("a"), make_entry("b"), make_entry("c", "int8")
    sparse = make_entry("d")._replace(layout="sparse_coo")
    rows = list(alike(described, (plain, same, other, sparse, sparse)))
    assert rows == ["a", "a", "c", "d", "d"]
    assert calls == ["a", "c", "d", "d"]


@given(st.lists(st.text("ab", min_size=1)), st.integers(1, 5))
def test_chunks_lose_nothing(lines: list[str], size: int) -> None:
    """Chunks joined are the lines joined."""
    assert "".join(chunks(lines, size)) == "".join(lines)
