"""The pickle machine follows the opcodes as CPython does, and builds nothing but plain nodes."""

from __future__ import annotations

import pickle
import pickletools
import struct
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import SourceError
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.nodes import Dict, Global, Record, Set

if TYPE_CHECKING:
    from collections.abc import Callable

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(1 << 70), 1 << 3_000)
    | st.floats() | st.text() | st.text(alphabet="\n\\'\"\ud800é🔥") | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.lists(inner, max_size=2).map(lambda items: (items, items, tuple(items)))
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4).map(OrderedDict)
        | st.sets(st.integers() | st.text(max_size=2), max_size=4)
        | st.frozensets(st.integers() | st.text(max_size=2), max_size=4)
    ),
    max_leaves=15,
)  # fmt: skip


def plain(node: object) -> object:  # noqa: PLR0911 - a form for each kind
    """Write a value, or what the machine made of it, in a form that can be compared."""
    match node:
        case Dict(pairs=pairs):
            keys, children = pairs[::2], pairs[1::2]
            return {"dict": [(plain(k), plain(v)) for k, v in zip(keys, children, strict=True)]}
        case dict():
            return {"dict": [(plain(key), plain(value)) for key, value in node.items()]}
        case list() | tuple():
            return {type(node).__name__: [plain(item) for item in node]}
        case Set(items=items):
            return {"set": sorted(map(repr, items))}
        case set() | frozenset():
            return {"set": sorted(map(repr, node))}
        case Record(path="builtins.bytes", args=()):
            return (bytes, "b''")  # so protocols 0 to 2 write it, and torch refuses it
        case _:
            return (type(node), repr(node))


def ran(data: bytes) -> object:
    return Machine(data, "file").run()


@given(value=values, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL), optimized=st.booleans())
def test_agrees_with_pickle(value: object, protocol: int, *, optimized: bool) -> None:
    data = pickle.dumps(value, protocol)
    if optimized:
        data = pickletools.optimize(data)
    assert plain(ran(data)) == plain(value)


def ran_in_pieces(data: bytes, first: int, *, base: int = 0) -> tuple[object, int]:
    """Run the pickle at the head of `data`, of which the machine is given the first bytes."""
    machine: Machine = Machine(
        data[:first], "file", base=base, more=lambda at, size: data[at - base :][:size]
    )
    return machine.run(), machine.position


@given(
    items=st.lists(values, max_size=4), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
    piece=st.sampled_from([1, 2, 7, 100]),
)  # fmt: skip
def test_reads_a_stream_in_pieces(items: list[object], protocol: int, piece: int) -> None:
    """Each pickle ends where the next begins, wherever the pieces are cut."""
    data = b"".join(pickle.dumps(item, protocol) for item in items) + b"what comes after"
    start = 0
    for item in items:
        value, size = ran_in_pieces(data[start:], piece, base=start)
        assert plain(value) == plain(item)
        start += size
    assert data[start:] == b"what comes after"


def test_long_text_in_a_stream() -> None:
    """A text longer than a piece and the bytes kept ahead of it."""
    data = pickle.dumps(["x" * 1_000_000, 7], 2)
    assert ran_in_pieces(data, 50) == (["x" * 1_000_000, 7], len(data))


def test_what_holds_itself() -> None:
    around: list[object] = []
    around.append(around)
    found = ran(pickle.dumps(around, 2))
    assert isinstance(found, list)
    assert found[0] is found


def test_what_stands_twice_is_one() -> None:
    inner: list[object] = [1]
    found = ran(pickle.dumps([inner, inner], 2))
    assert isinstance(found, list)
    assert found[0] is found[1]


# --- Python 2, and protocols 0 and 1 -------------------------------------------------------------

TEXTS = {
    "SHORT_BINSTRING": (b"U\3abc.", "abc"),
    "BINSTRING": (b"T\3\0\0\0abc.", "abc"),
    "SHORT_BINSTRING of UTF-8": (b"U\2\xc3\xa9.", "é"),
    "SHORT_BINSTRING of other bytes": (b"U\1\xe9.", b"\xe9"),
    "STRING": (b"S'abc'\n.", "abc"),
    "STRING in double quotes": (b'S"a\'c"\n.', "a'c"),
    "STRING with escapes": (rb"S'a\n\x41\\'" + b"\n.", "a\nA\\"),
    "STRING with an escape that is none": (rb"S'C:\d\w'" + b"\n.", r"C:\d\w"),
    "UNICODE": (rb"Va\u00e9\n" + b"\n.", r"aé\n"),
    "INT": (b"I-17\n.", -17),
    "INT that is true": (b"I01\n.", True),
    "INT that is false": (b"I00\n.", False),
    "LONG": (b"L123456789012345678901L\n.", 123456789012345678901),
    "LONG without its letter": (b"L5\n.", 5),
    "FLOAT": (b"F1.5e3\n.", 1500.0),
    "LIST": (b"(I1\nI2\nl.", [1, 2]),
    "TUPLE": (b"(I1\nI2\nt.", (1, 2)),
    "PUT and GET": (b"I7\np300\n0g300\n.", 7),
    "APPEND": (b"(lp0\nI1\naI2\na.", [1, 2]),
    "DUP and POP": (b"I1\nI2\n20\x86.", (1, 2)),
    "POP_MARK": (b"I1\n(I2\n1.", 1),
}


@pytest.mark.parametrize("case", TEXTS)
def test_old_opcodes(case: str) -> None:
    data, expected = TEXTS[case]
    found = ran(data)
    assert found == expected
    assert type(found) is type(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that are none
        encoding = "bytes" if isinstance(expected, bytes) else "utf-8"
        assert pickle.loads(data, encoding=encoding) == expected


def test_dictionaries_of_protocol_0() -> None:
    assert plain(ran(b"(S'a'\nI1\nd.")) == plain({"a": 1})
    assert plain(ran(b"(dp0\nS'a'\nI1\nsS'b'\nI2\ns.")) == plain({"a": 1, "b": 2})


def test_instances_of_protocol_0() -> None:
    """INST and OBJ call a class with what stands since the mark."""
    for data in (b"(I1\nI2\nilost\nThing\n.", b"(clost\nThing\nI1\nI2\no."):
        found = ran(data)
        assert isinstance(found, Record)
        assert (found.path, found.args) == ("lost.Thing", (1, 2))


# --- what is kept of objects ---------------------------------------------------------------------


def test_globals_are_names() -> None:
    machine = Machine(b"\x80\x02cos\nsystem\nc__builtin__\neval\ncos\nsystem\n\x87.", "file")
    found = machine.run()
    assert isinstance(found, tuple)
    assert all(type(item) is Global for item in found)
    assert [item.path for item in found] == ["os.system", "builtins.eval", "os.system"]
    assert found[0] is found[2]
    assert list(machine.asked) == ["os.system", "builtins.eval"]


def test_calls_are_records() -> None:
    """State, items and pairs are kept beside the call."""
    data = b"\x80\x02clost\nThing\n(K\1t\x81}X\1\0\0\0aK\2sb(K\3e(X\1\0\0\0bK\4u."
    found = ran(data)
    assert isinstance(found, Record)
    assert (found.path, found.args, found.items, found.pairs) == ("lost.Thing", (1,), [3], ["b", 4])
    assert plain(found.state) == plain({"a": 2})


def test_keywords_of_a_new_object_are_dropped() -> None:
    found = ran(b"\x80\x04\x8c\4lost\x8c\5Thing\x93K\1\x85}\x92.")
    assert isinstance(found, Record)
    assert found.args == (1,)


def test_protocol_and_foreign_opcodes() -> None:
    machine = Machine(pickle.dumps({"a": [1, 2]}, 4), "file")
    machine.run()
    assert machine.protocol == 4
    assert {0x94, 0x95} <= machine.foreign
    machine = Machine(pickle.dumps({"a": [1, 2]}, 2), "file")
    machine.run()
    assert not machine.foreign


# --- damage --------------------------------------------------------------------------------------

DAMAGE = {
    "nothing": b"",
    "no STOP": b"N",
    "only STOP": b".",
    "no such opcode": b"\xfe.",
    "protocol 6": b"\x80\x06N.",
    "no protocol": b"\x80",
    "cut integer": b"J\1\0",
    "cut text": b"X\5\0\0\0ab.",
    "text longer than the file": b"X\xff\xff\xff\xffab.",
    "bytes longer than any file": b"\x8e" + b"\xff" * 8 + b"x.",
    "text that is not UTF-8": b"X\1\0\0\0\xff.",
    "line without end": b"S'abc'",
    "line of a mile": b"I" + b"1" * (1 << 17) + b"\n.",
    "number too long to read": b"I" + b"1" * 5_000 + b"\n.",
    "integer that is none": b"Ix\n.",
    "float that is none": b"Fx\n.",
    "string without quotes": b"Sabc\n.",
    "string with half its quotes": b"S'\n.",
    "escape cut short": b"S'\\x4'\n.",
    "unicode escape cut short": b"V\\u12\n.",
    "mark that was never set": b"t.",
    "take from below the mark": b"K\1(\x85.",
    "pop from nothing": b"0.",
    "memo of nothing": b"q\0.",
    "memo that was never written": b"h\7.",
    "memo slot that is no number": b"N" + b"px\n.",
    "memo slot below zero": b"Np-1\n.",
    "list of no list": b"NNa.",
    "set item in a list": b"]NNs.",
    "set item of nothing": b"}Ns.",
    "odd dictionary": b"}(K\1u.",
    "odd dictionary at once": b"(K\1d.",
    "set of no set": b"](K\1\x90.",
    "state of a number": b"K\1}b.",
    "state of a list": b"]}b.",
    "call with no tuple": b"clost\nThing\nNR.",
    "call of nothing": b")R.",
    "persistent id": b"K\1Q.",
    "persistent id as text": b"P1\n.",
    "extension code": b"\x82\1.",
    "wide extension code": b"\x84\1\0\0\0.",
    "buffer out of band": b"\x97.",
    "global without a name": b"cos\n",
    "global of numbers": b"K\1K\2\x93.",
    "global of other bytes": b"c\xff\nx\n.",
    "object of nothing": b"(o.",
    "instance that is cut": b"(ios\n",
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(case: str) -> None:
    with pytest.raises(SourceError, match="pickle") as caught:
        Machine(DAMAGE[case], "some file", base=1_000).run()
    assert caught.value.path == "some file"
    assert caught.value.offset is not None
    assert caught.value.offset >= 1_000


@pytest.mark.parametrize("case", DAMAGE)
def test_pickle_refuses_that_too(case: str) -> None:
    """Nothing above is good: CPython takes a few odd things that mean nothing here."""
    odd = {"line of a mile", "state of a number", "state of a list", "call of nothing"}
    odd |= {"set item in a list", "global of other bytes", "object of nothing"}
    if case not in odd:
        with pytest.raises(Exception):  # noqa: B017, PT011 - of many kinds
            pickle.loads(DAMAGE[case])


def test_place_of_the_damage() -> None:
    with pytest.raises(SourceError, match=r"at byte 1,005"):
        Machine(b"]K\1K\2\xfe.", "file", base=1_000).run()


def test_far_memo_slots_cost_nothing() -> None:
    """CPython's own unpickler makes room for all slots below."""
    assert ran(b"K\7r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 7


def test_persistent_ids_are_asked_for() -> None:
    asked: list[object] = []

    def persistent(identity: object) -> object:
        asked.append(identity)
        return "found"

    data = b"K\1QPabc\n\x86."
    assert Machine(data, "file", persistent=persistent).run() == ("found", "found")
    assert asked == [1, "abc"]


def deep_tuple(depth: int) -> bytes:
    return b"\x80\x02)" + b"\x85" * depth


DEEP: dict[str, Callable[[int], bytes]] = {
    "tuples": lambda depth: deep_tuple(depth) + b".",
    "tuples as a key": lambda depth: b"\x80\x02}" + deep_tuple(depth)[2:] + b"Ns.",
    "lists": lambda depth: b"]" * depth + b"a" * (depth - 1) + b".",
    "dictionaries": lambda depth: b"}N" * depth + b"N" + b"s" * depth + b".",
    "marks": lambda depth: b"(" * depth + b"N" + b"t" * depth + b".",
    "frozen sets": lambda depth: b"(" * depth + b"N" + b"\x91" * depth + b".",
}


@pytest.mark.parametrize("case", DEEP)
def test_depth_is_no_danger(case: str) -> None:
    """A C unpickler overflows its stack where it hashes or frees such a thing."""
    assert ran(DEEP[case](200_000)) is not None


def test_colliding_keys_are_never_hashed() -> None:
    """60,000 integers of one hash keep a dictionary busy for half a minute."""
    prime = (1 << 61) - 1
    keys = b"".join(b"\x8a\x0a" + (prime * n).to_bytes(10, "little") + b"N" for n in range(60_000))
    found = ran(b"\x80\x02}(" + keys + b"u.")
    assert isinstance(found, Dict)
    assert len(found.pairs) == 120_000


@pytest.mark.parametrize("made", [b"]", b"}", b"\x8f", b"clost\nThing\n)R", b"N\x85"])
def test_budget_of_containers(made: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes of input make fifty and more of memory, and so no more than so many are made."""
    monkeypatch.setattr("paramcli.sources.pickles.machine.MAX_CONTAINERS", 1_000)
    assert ran((made + b"0") * 1_000 + b"N.") is None
    with pytest.raises(SourceError, match="containers"):
        ran((made + b"0") * 20_000 + b"N.")


def test_budget_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramcli.sources.pickles.machine.MAX_OPERATIONS", 1_000)
    assert ran(b"N0" * 499 + b"N.") is None
    with pytest.raises(SourceError, match="operations"):
        ran(b"N0" * 500 + b"N.")


def test_frame_of_any_length_is_passed_over() -> None:
    assert ran(b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"K\5.") == 5
