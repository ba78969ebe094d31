"""Patterns pick the names that their notation promises, and say where they are malformed."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import PatternError
from paramcli.select import Pattern, compile_pattern, natural, near, select
from paramcli.tensors import DTYPES, Storage, TensorInfo


@pytest.mark.parametrize(
    ("pattern", "picked", "passed_over"),
    [
        ("fc", "fc fc.weight fc.0.bias", "fc2 fc2.weight net.fc conv.fc.weight"),
        ("layer.1", "layer.1 layer.1.weight", "layer.10 layer.10.weight"),
        ("*.weight", "fc.weight a.b.c.weight .weight", "weight fc.weights"),
        ("layer.?", "layer.1 layer.x", "layer.10 layer."),
        ("layer.[0-3]", "layer.0 layer.3", "layer.4 layer.-"),
        ("[!a-c-]x", "dx ]x", "ax cx -x"),
        ("[]]x", "]x", "x [x"),
        ("[!]]x", "ax", "]x"),
        ("[^a]x", "ax ^x", "bx"),
        ("[a-]x", "ax -x", "bx"),
        ("[--/]x", "-x .x /x", "0x"),
        ("{fc,conv}.*", "fc.weight conv.0.bias", "bn.weight"),
        ("{a,b{c,d}}x", "ax bcx bdx", "bx cx"),
        ("layer.{2..11}.*", "layer.2.w layer.10.w layer.11.w", "layer.1.w layer.12.w layer.1"),
        ("l{3..0}", "l0 l3", "l4"),
        ("a}b,c*", "a}b,c", "ab"),
        ("(a|b)+*", "(a|b)+c", "ab"),
        ("/weight$/", "fc.weight weight", "weights"),
        ("/^fc/", "fc fc.bias", "net.fc"),
        ("odd[0].x", "odd[0].x odd0.x", "odd1.x"),
        ("", " .a", "a"),
    ],
)
def test_notation(pattern: str, picked: str, passed_over: str) -> None:
    """Each kind of pattern picks what it should, and leaves its neighbours."""
    compiled = compile_pattern(pattern)
    assert [name for name in picked.split(" ") if not compiled.matches(name)] == []
    assert [name for name in passed_over.split(" ") if compiled.matches(name)] == []


@pytest.mark.parametrize(
    ("pattern", "position", "message"),
    [
        ("fc.[0-9", 3, "never closed"),
        ("{a,b", 0, "never closed"),
        ("{a,{b,c}", 0, "never closed"),
        ("a[]", 1, "empty set"),
        ("a[!]", 1, "empty set"),
        ("x.[z-a]", 3, "backwards"),
        ("x.[!ac-b]", 5, "backwards"),
        ("{0..99999}", 0, "more than 10,000"),
        ("/a(b/", 2, "malformed"),
        ("/[/", 1, "malformed"),
        ("/abc", 4, "no closing /"),
        ("/", 1, "no closing /"),
    ],
)
def test_malformed(pattern: str, position: int, message: str) -> None:
    """The error stands at the character that is wrong."""
    with pytest.raises(PatternError, match=message) as caught:
        compile_pattern(pattern)
    assert caught.value.position == position
    assert caught.value.pattern == pattern


@given(st.text("abc.*?[]!-^{},0/\\\n", max_size=12), st.text("abc.]-^\n", max_size=6))
def test_any_pattern(pattern: str, name: str) -> None:
    """A pattern is compiled or refused as such; a plain glob agrees with `fnmatch`."""
    try:
        compiled: Pattern | None = compile_pattern(pattern)
    except PatternError as refusal:
        compiled, position = None, refusal.position
    if compiled is None:
        assert 0 <= position <= len(pattern)
        return
    assert compiled.matches(pattern)
    if "*" in pattern and not set(pattern) & set("[]{}/"):
        expected = fnmatch.fnmatchcase(name, pattern) or name == pattern
        assert compiled.matches(name) == expected


def test_select_keeps_order() -> None:
    """Any include picks, any exclude drops, and neither reorders."""
    entries = [
        TensorInfo(name, DTYPES["bool"], (), (), 0, Storage("", name, 1))
        for name in ("b.weight", "a.weight", "a.bias", "c")
    ]

    def names(include: str, exclude: str) -> list[str]:
        compiled = [compile_pattern(text) for text in exclude.split()]
        return [info.name for info in select(entries, include.split(), compiled)]

    assert names("", "") == ["b.weight", "a.weight", "a.bias", "c"]
    assert names("a c", "") == ["a.weight", "a.bias", "c"]
    assert names("", "*.bias") == ["b.weight", "a.weight", "c"]
    assert names("*.weight a", "b") == ["a.weight", "a.bias"]


def test_near() -> None:
    """A slip of the keys finds the name, or the module, that was meant."""
    names = ["encoder.layers.0.weight", "encoder.layers.1.weight", "head.bias"]
    assert near("encoder.layers.0.wieght", names)[0] == "encoder.layers.0.weight"
    assert near("encodr", names)[0] == "encoder"
    assert near("head.bais", names, 1) == ["head.bias"]
    assert near("nothing like it", names) == []
    assert near("x", []) == []


def test_near_stays_quick() -> None:
    """A hundred thousand names, one of them absurdly deep, are ranked before they are compared."""
    names = [f"layers.{number}.attention.weight" for number in range(100_000)]
    start = time.perf_counter()
    assert near("layers.77777.atention.weight", [*names, "a." * 50_000])[0] == names[77_777]
    assert time.perf_counter() - start < 10  # difflib alone would take longer than this by far


def test_natural_order() -> None:
    """Numbers sort as numbers, whatever their length."""
    names = ["layer.10", "layer.2", "layer.1", "layer", "a9" * 3000, "layer.01", "fc2.w", "fc.w"]
    assert sorted(names, key=natural)[1:] == [
        "fc.w", "fc2.w", "layer", "layer.01", "layer.1", "layer.2", "layer.10",
    ]  # fmt: skip


@given(st.integers(0), st.integers(0))
def test_natural_compares_any_integers(first: int, second: int) -> None:
    """The order of the numbers is the order of the names."""
    assert (natural(f"x{first}.y") < natural(f"x{second}.y")) == (first < second)
