"""A small file asks for no more than so much: what multiplies its bytes is bounded.

Work is counted in calls and memory in bytes, so that a test says the same on any machine.
"""

from __future__ import annotations

import struct
import sys
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from paramcli.errors import SourceError
from paramcli.sharing import share
from paramcli.sources.pickles import trees
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.storages import StorageTable
from paramcli.tensors import DTYPES, Storage, TensorInfo
from tests.handmade import Raw, encode, tensor, torch_legacy, torch_zip, zipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]

MEMORY = 192 << 20
"""More than any file below needs, and less than it asks for."""
CALLS = 1_000_000


def get(slot: int) -> bytes:
    return b"h" + bytes([slot])


@pytest.fixture
def lean(opened: Open) -> Callable[..., str]:
    """Give a function that opens bytes within little memory; it returns why they were refused."""

    def lean(content: bytes, **options: object) -> str:
        assert len(content) < 2 << 20
        tracemalloc.start()
        try:
            opened(content, **options)
        except SourceError as error:
            return str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MEMORY
        return ""

    return lean


@pytest.fixture
def calls(opened: Open) -> Callable[[bytes], int]:
    """Give a function that opens bytes and returns how many calls that took."""

    def calls(content: bytes) -> int:
        seen = 0

        def count(*_: object) -> None:
            nonlocal seen
            seen += 1

        sys.setprofile(count)
        try:
            opened(content)
        except SourceError:
            pass
        finally:
            sys.setprofile(None)
        return seen

    return calls


# --- what is named again and again ---------------------------------------------------------------


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower a limit, so that it is met within little work."""
    monkeypatch.setattr(trees, "MAX_REPEATED", 2_000)


@pytest.mark.usefixtures("_soon")
def test_lists_named_a_billion_times(lean: Callable[..., str]) -> None:
    """Thirty lists, each of them twice in the next."""
    layers = b"".join(b"]q" + bytes([n]) + b"(" + get(n - 1) * 2 + b"e" for n in range(1, 30))
    root = Raw(b"](" + encode(tensor()) + b"eq\0" + layers)
    assert "nested" in lean(torch_zip(root))


@pytest.mark.usefixtures("_soon")
def test_dictionaries_named_a_billion_times(lean: Callable[..., str]) -> None:
    layers = b"".join(
        b"}q" + bytes([n]) + b"(" + encode("a") + get(n - 1) + encode("b") + get(n - 1) + b"u"
        for n in range(1, 30)
    )
    root = Raw(b"}" + encode("w") + encode(tensor()) + b"sq\0" + layers)
    assert "nested" in lean(torch_zip(root))


@pytest.mark.usefixtures("_soon")
def test_modules_named_a_billion_times(lean: Callable[..., str]) -> None:
    def module(slot: int, children: bytes, parameters: bytes = b"}") -> bytes:
        state = encode("_parameters") + parameters + encode("_modules") + b"}(" + children + b"u"
        return b"clost\nNet\n)\x81q" + bytes([slot]) + b"}(" + state + b"ub"

    made = module(0, b"", b"}" + encode("w") + encode(tensor()) + b"s")
    for n in range(1, 30):
        made += module(n, encode("a") + get(n - 1) + encode("b") + get(n - 1))
    assert "nested" in lean(torch_zip(Raw(made)))


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"](", b"e"), (b"(", b"t")], ids=["list", "tuple"]
)
@pytest.mark.parametrize("also", [b"", encode(tensor())], ids=["alone", "beside a tensor"])
def test_long_list_of_numbers_named_often(
    opening: bytes, closing: bytes, also: bytes, calls: Callable[[bytes], int]
) -> None:
    """Two thousand numbers, two thousand times: a few bytes, and four million to look at."""
    numbers = opening + b"K\1" * 2_000 + closing + b"q\0"
    root = Raw(numbers + b"0](" + get(0) * 2_000 + also + b"]e")
    assert calls(torch_zip(root)) < CALLS


# --- long paths ----------------------------------------------------------------------------------


def test_deep_nesting(lean: Callable[..., str]) -> None:
    assert "nested" in lean(torch_zip(Raw(b"](" * 20_000 + encode(tensor()) + b"e" * 20_000)))


@pytest.mark.parametrize("leaf", [encode(tensor()), b"K\1"], ids=["tensors", "values"])
@pytest.mark.parametrize("box", [b"%b", b"](%b]e"], ids=["in one container", "in many"])
def test_long_names_on_the_way(leaf: bytes, box: bytes, lean: Callable[..., str]) -> None:
    """A thousand times the same long key, and at the end many things: each has the whole path."""
    items = b"".join(encode(f"{number}") + box % leaf for number in range(30))
    opening = b"}" + encode("k" * 10_000) + b"q\0" + (b"}" + get(0)) * 999
    root = Raw(opening + b"}(" + items + b"u" + b"s" * 1_000)
    assert "nested" in lean(torch_zip(root), everything=True)


@pytest.mark.parametrize("leaf", [get(1), b"K\1"], ids=["tensors", "values"])
def test_names_of_nothing_on_the_way(
    leaf: bytes, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty names count too: there is a dot between any two."""
    monkeypatch.setattr(trees, "MAX_TEXT", 1 << 20)
    opening = encode(tensor()) + b"q\x010" + encode("") + b"q\x000" + (b"}" + get(0)) * 1_000
    root = Raw(opening + b"](" + leaf * 2_000 + b"]e" + b"s" * 1_000)
    with pytest.raises(SourceError, match="nested"):
        opened(torch_zip(root), everything=True)


# --- copies --------------------------------------------------------------------------------------

COPIED = {
    "list": (b"cbuiltins\nlist\n", b"](" + b"N" * 100_000 + b"e\x85"),
    "tuple": (b"cbuiltins\ntuple\n", b"](" + b"N" * 100_000 + b"e\x85"),
    "set": (b"cbuiltins\nset\n", b"](" + b"N" * 100_000 + b"e\x85"),
    "dictionary": (b"ccollections\nOrderedDict\n", b"](" + b"K\1K\2\x86" * 50_000 + b"e\x85"),
    "text": (b"c_codecs\nencode\n", encode("x" * 800_000) + encode("utf-8") + b"\x86"),
}


def peak_of_running(opcodes: bytes) -> int:
    """Return the memory that the machine takes for these opcodes, whatever it makes of them."""
    machine = Machine(
        b"\x80\x02" + opcodes + b".", "file", persistent=StorageTable("file").persistent
    )
    tracemalloc.start()
    with suppress(SourceError):
        machine.run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", COPIED)
def test_copies_of_something_long(kind: str) -> None:
    """A call of five bytes that copies a list of a hundred thousand."""
    function, args = COPIED[kind]
    opcodes = args + b"q\x000" + function + b"q\x010](" + b"h\1h\0R" * 100 + b"e"
    assert peak_of_running(opcodes) < MEMORY / 4


def test_copies_of_long_shapes() -> None:
    """A tensor of 255 dimensions takes four kilobytes, and five bytes of the file."""
    ones = (1,) * 255
    args = encode(tensor(None, ones, ones).args) + b"q\x000"
    opcodes = args + b"ctorch._utils\n_rebuild_tensor_v2\nq\x010](" + b"h\1h\0R" * 20_000 + b"e"
    assert peak_of_running(opcodes) < MEMORY / 4


# --- claims --------------------------------------------------------------------------------------


def test_far_memo_slot(lean: Callable[..., str]) -> None:
    """Five bytes for which another unpickler takes 32 GB."""
    assert not lean(torch_zip(Raw(b"}r" + struct.pack("<I", (1 << 32) - 1))))


@pytest.mark.parametrize("opcode", [b"\x8d", b"\x8e", b"\x96"])
def test_text_longer_than_the_file(opcode: bytes, lean: Callable[..., str]) -> None:
    root = Raw(opcode + struct.pack("<Q", 1 << 40) + b"x")
    assert "cut short" in lean(torch_zip(root))
    assert "cut short" in lean(torch_legacy(root))


def test_directory_that_claims_many_entries(lean: Callable[..., str]) -> None:
    made = bytearray(zipped({"a/data.pkl": b"N."}))
    end = made.index(b"PK\5\6")
    made[end + 8 : end + 12] = b"\xff" * 4
    assert "damaged zip" in lean(bytes(made))


def test_many_views_of_one_storage() -> None:
    """Overlaps are swept once, not compared each with each."""
    storage = Storage("file", "key", 1 << 20)
    infos = [TensorInfo(str(n), DTYPES["float32"], (2,), (1,), n, storage) for n in range(50_000)]
    (group,) = share(infos)
    assert len(group.names) == 50_000
    assert group.bytes == 4 * 49_999
