"""Runs of numbers in names, and braces of a name's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.lock.dims import Malformed
from paramcli.lock.names import MOST_NAMES, expand, written


def test_runs() -> None:
    assert expand("a.{0..1}.b.{9..11}") == [
        f"a.{n}.b.{m}" for n in (0, 1) for m in (9, 10, 11)
    ]  # fmt: skip
    assert expand("{{{3..3}}}") == ["{3}"]
    assert expand("") == [""]
    assert expand("plain") == ["plain"]


@given(st.text(alphabet="{}.0a", max_size=12) | st.text())
def test_any_name_can_be_written(name: str) -> None:
    assert expand(written(name)) == [name]


@pytest.mark.parametrize(
    ("text", "position"),
    [("a{", 1), ("a}b", 1), ("{0..}", 0), ("{01..3}", 0), ("b{3..1}", 1), ("{a,b}", 0), ("{{{", 2)],
)
def test_malformed(text: str, position: int) -> None:
    with pytest.raises(Malformed) as caught:
        expand(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        f"{{0..{MOST_NAMES}}}", "{0..999999999}" * 8, "{0..0}" * 1_000,
        "{0..999999}" + "a" * 1_000,
    ],
)  # fmt: skip
def test_budget(text: str) -> None:
    """A short line cannot stand for more than there is room for."""
    with pytest.raises(Malformed, match=r"more than|too long"):
        expand(text)
    assert len(expand("{0..9}", names=10)) == 10
