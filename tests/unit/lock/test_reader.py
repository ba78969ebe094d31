"""Lock files read, and every way of getting one wrong shown with its place."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import LockError
from paramcli.lock import Lock, Size, Tied
from paramcli.lock.reader import read_lock
from paramcli.tensors import DTYPES

GOOD = r"""# before
[dims]
d = 6_4

[tensors]
"embed.weight" = "float32[vocab, d]"  # behind
"blocks.{0..1}.\u0077" = 'int8[ 4*d ]'
  norm . 'weight' . "x{{y}}" = "bool[]" # dotted
[rules]
extra = "allow"
count_max = 0x10
dtype = "float32"
finite = true
tied = [  # over several lines
    ["blocks.{0..1}.w"],
    [ "embed.weight", # one
      "norm.weight.x{{y}}" ],
]
bytes_max = 1
"""


def read(text: str) -> Lock:
    return read_lock(text, "my.lock", DTYPES)


def refused(text: str) -> tuple[str, str]:
    """Return the message without the file, and the hint."""
    with pytest.raises(LockError) as caught:
        read(text)
    assert caught.value.path == "my.lock"
    return str(caught.value).removeprefix("my.lock:"), str(caught.value.hint)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_whole_lock(newline: str) -> None:
    lock = read(GOOD.replace("\n", newline))
    assert lock.dims == {"d": Size(64, "[dims]", 3)}
    assert [(line.name, line.dtype, line.dims.text, line.number) for line in lock.lines] == [
        ("embed.weight", "float32", "[vocab, d]", 6),
        ("blocks.0.w", "int8", "[4*d]", 7),
        ("blocks.1.w", "int8", "[4*d]", 7),
        ("norm.weight.x{y}", "bool", "[]", 8),
    ]
    rules = lock.rules
    assert (rules.extra, rules.count_max, rules.bytes_max) == ("allow", 16, 1)
    assert (rules.dtype, rules.finite) == (("float32",), True)
    assert rules.tied == (
        Tied(("blocks.0.w", "blocks.1.w"), 15),
        Tied(("embed.weight", "norm.weight.x{y}"), 16),
    )
    assert rules.lines == {
        "extra": 10, "count_max": 11, "dtype": 12, "finite": 13, "tied": 14, "bytes_max": 19,
    }  # fmt: skip


def test_an_empty_lock() -> None:
    lock = read("[rules]")
    assert (lock.lines, lock.rules.extra, lock.rules.tied) == ((), "forbid", ())


T = "[tensors]\n"
ERRORS = {
    "no table": ("a = 1", "1:1: a line before the first table", "[dims], [tensors] and [rules]"),
    "table": ("[tensor]", "1:1: a lock has no table [tensor]", "did you mean [tensors]?"),
    "subtable": ("[tensors.a]", "1:1: a lock has no such table", "it has"),
    "array of tables": ("\n [[rules]]", "2:1: a lock has no such table", "it has"),
    "twice": ("[dims]\n[rules]\n[dims]", "3:1: a second [dims]", "[dims]"),
    "no key": (T + "= 3", "2:1: this is no line", ""),
    "no value": (T + "a.b", "2:4: this is no line", ""),
    "toml": (T + '\n"a" = "int8[]" x', "3:16: expected newline", '"a" = "int8[]" x'),
    "escape": (T + '"\\q" = 1', "2:4: unescaped", ""),
    "surrogate": (T + r'"\uD800" = "int8[]"', "2:8: escaped character is not", ""),
    "control": (T + '"a\0" = 1', "2:1: this is no line", '"a\\x00" = 1'),
    "no string": (T + "a = 3", '2:5: a tensor is written "float32[64, 3]"', ""),
    "table in line": (T + "a = {b = 1}", "2:5: a lock has no inline tables", ""),
    "dtype": (T + 'a = "flaot32[3]"', "2:6: no dtype flaot32", "did you mean float32"),
    "no dtype": (T + 'a = "[3]"', "2:6: no dtype at all", ""),
    "no shape": (T + 'a = "float32"', "2:12: a shape in brackets is missing", ""),
    "no bracket": (T + 'a = "float32[3"', "2:14: a shape in brackets is missing", ""),
    "dim": (T + 'a = " int8[d, d d]"', "2:17: an operator is missing", ""),
    "dim behind an escape": (T + 'a = "\\u0069nt8[d, d d]"', "2:5: an operator is missing", ""),
    "negative": ("[dims]\nd = 3\n" + T + 'a = "int8[d - 4]"', "4:1: d - 4 is negative", ""),
    "large": (T + 'a = "int8[9999999999, 9999999999]"', "2:1: [9999999999, 9999999999] is", ""),
    "brace": (T + '"a.{0..}" = "int8[]"', "2:4: a brace of the name's own", ""),
    "run": (T + '"a.{2..1}" = "int8[]"', "2:4: a run that counts down", ""),
    "many": (T + '"{0..999998}" = "int8[]"\n"a{0..1}" = "int8[]"', "3:3: more than 1,000,000", ""),
    "one too many": (
        T + '"{0..999999}" = "int8[]"\n"a" = "int8[]"', "3:2: more than 1,000,000", "",
    ),
    "long": (T + f'"{{0..99999}}{"a" * 5_000}" = "int8[]"', "2:2: names too long", ""),
    "duplicate": (
        T + '"a.{0..2}" = "int8[]"\na.1 = "int8[]"', "3:1: a.1 stands on line 2 too", "",
    ),
    "dim name": ("[dims]\nd-e = 3", "2:1: no name for a dim", ""),
    "dims": (
        "[dims]\n" + "".join(f"d{n} = 1\n" for n in range(10_001)),
        "10002:1: more than 10,000 sizes", "",
    ),
    "dim twice": ("[dims]\nd = 3\n'd' = 3", "3:1: d stands on line 2 too", ""),
    "dim value": ("[dims]\nd = 3.0", "2:5: d is a whole number", ""),
    "dim bool": ("[dims]\nd = true", "2:5: d is a whole number", ""),
    "dim date": ("[dims]\nd = 1979-05-27", "2:5: d is a whole number", ""),
    "dim negative": ("[dims]\nd = -1", "2:5: d cannot be negative", ""),
    "dim large": ("[dims]\nd = 9223372036854775808", "2:5: d cannot be larger", ""),
    "digits": ("[dims]\nd = " + "9" * 1_000_000, "2:5: a value out of all range", ""),
    "hex digits": ("[dims]\nd = 0x" + "9" * 1_000_000, "2:5: d cannot be larger", ""),
    "rule": ("[rules]\nextras = 1", "2:1: no rule extras", "did you mean extra?"),
    "other rule": ("[rules]\nzzz = 1", "2:1: no rule zzz", "the rules are extra, count_max"),
    "extra": ('[rules]\nextra = "maybe"', '2:10: extra is "forbid" or "allow"', ""),
    "extra list": ("[rules]\nextra = []", '2:9: extra is "forbid" or "allow"', ""),
    "count": ('[rules]\ncount_max = "8"', "2:14: count_max is a whole number", ""),
    "bytes": ("[rules]\nbytes_max = -8", "2:13: bytes_max cannot be negative", ""),
    "finite": ("[rules]\nfinite = 1", "2:10: finite is true or false", ""),
    "dtype list": ("[rules]\ndtype = [1]", "2:9: dtype is a name or a list", ""),
    "dtype none": ("[rules]\ndtype = []", "2:9: dtype names one at least", ""),
    "dtype rule": ('[rules]\ndtype = "float33"', "2:10: no dtype float33", "did you mean float32"),
    "rule twice": ("[rules]\nfinite = true\nfinite = true", "3:1: finite stands on line 2", ""),
    "tied": ('[rules]\ntied = ["a", "b"]', "2:8: tied is a list of lists", ""),
    "tied numbers": ("[rules]\ntied = [[1, 2]]", "2:8: tied is a list of lists", ""),
    "tied alone": (T + 'a = "int8[]"\n[rules]\ntied = [["a"]]', "4:9: tied names are two", ""),
    "tied to nothing": (
        '[rules]\ntied = [\n\n  ["head", "b"]]\n' + T + 'heat = "int8[]"',
        "4:3: tied, but no line has head", "did you mean heat?",
    ),
    "tied twice": (
        T + 'a = "int8[]"\nb = "int8[]"\n[rules]\ntied = [["a", "b"], ["b", "a"]]',
        "5:21: b is tied twice", "",
    ),
    "tied run": ('[rules]\ntied = [["a{"]]', "2:9: a brace of the name's own", ""),
    "unclosed": ('[rules]\ntied = [["a",', "2:14: ", ""),
    "string": ('[rules]\nextra = """', "2:11: this string does not end on its line", ""),
    "deep": ("[rules]\ntied = " + "[" * 100_000, "2:16: arrays too deep", ""),
    "deep key": (T + ("a." + '"b".') * 100_000 + "c = 1", "2:2", "a key of more than 64 parts"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    text, message, hint = ERRORS[name]
    said, hinted = refused(text)
    if name == "deep key":
        assert "a key of more than 64 parts" in said
        return
    assert said.startswith(message)
    assert len(said) < 300
    assert hint in hinted


def test_the_caret_stands_below_the_place() -> None:
    _, hint = refused(T + '"a" = "float32[3, 4 d]"')
    assert hint.splitlines() == ["in this line", '  "a" = "float32[3, 4 d]"', f"  {' ' * 20}^"]
    _, hint = refused(T + '\t"a" = "float32[3, 4 d]"')
    assert hint.splitlines()[1:] == ['  \\t"a" = "float32[3, 4 d]"', f"  {' ' * 22}^"]
    _, hint = refused(T + f'"{"a" * 1_000}" = "float32[3, 4 d]"')
    shown, caret = hint.splitlines()[1:]
    assert shown[caret.index("^")] == "d"
    assert len(shown) < 80


# What one statement of TOML can be, right or wrong, without what a lock does not have.
_pieces = st.sampled_from(
    ['"', "'", "\\", "\\n", "#", "=", ".", ",", "[", "]", "a", "-", "1", "_", " ", "\t", "\n", "é",
     '"a"', "'b'", "a.b", '= "int8[]"\n', '"x" = "int8[3]"\n', "true", "\x7f", "\r"]
)  # fmt: skip


@given(st.lists(_pieces, max_size=12).map("".join))
def test_what_is_read_is_toml(body: str) -> None:
    """Nothing is taken for a lock that TOML refuses, and it says the same."""
    text = T + body
    try:
        lock = read(text)
    except LockError:
        return
    document = tomllib.loads(text)
    found = dict(_flat(document.get("tensors", {})))
    assert found == {line.name: f"{line.dtype}{line.dims.text}" for line in lock.lines}


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, str(value)))
    return rows
