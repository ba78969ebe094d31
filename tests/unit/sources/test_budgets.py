"""A small file asks for no more than so much: what multiplies its bytes is bounded.

The limits are seen in what is refused and in the memory that Python takes for it, never in time.
"""

from __future__ import annotations

import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from paramcli.checkpoint import share
from tests.handmade import Raw, encode, tensor, torch_legacy, torch_zip, zipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]

MEMORY = 256 << 20
"""Far more than any file below needs where it is refused in time, far less than they ask for."""


def text(value: str) -> bytes:
    return encode(value)


def get(slot: int) -> bytes:
    return b"h" + bytes([slot])


@pytest.fixture
def lean(refused: Refuse) -> Refuse:
    """Give a function that opens bytes, wants them refused, and little memory taken for it."""

    def lean(content: bytes, **options: object) -> str:
        assert len(content) < 2 << 20
        tracemalloc.start()
        try:
            message = refused(content, **options)
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()
        return message

    return lean


def test_the_same_list_named_a_billion_times(lean: Refuse) -> None:
    """Thirty lists, each of them twice in the next."""
    layers = b"".join(b"]q" + bytes([n]) + b"(" + get(n - 1) * 2 + b"e" for n in range(1, 30))
    root = Raw(b"](" + encode(tensor()) + b"eq\0" + layers)
    assert "nested" in lean(torch_zip(root))


def test_dictionaries_named_a_billion_times(lean: Refuse) -> None:
    layers = b"".join(
        b"}q" + bytes([n]) + b"(" + text("a") + get(n - 1) + text("b") + get(n - 1) + b"u"
        for n in range(1, 30)
    )
    root = Raw(b"}" + text("w") + encode(tensor()) + b"sq\0" + layers)
    assert "nested" in lean(torch_zip(root))


def test_modules_named_a_billion_times(lean: Refuse) -> None:
    def module(slot: int, children: bytes, parameters: bytes = b"}") -> bytes:
        state = text("_parameters") + parameters + text("_modules") + b"}(" + children + b"u"
        return b"clost\nNet\n)\x81q" + bytes([slot]) + b"}(" + state + b"ub"

    made = module(0, b"", b"}" + text("w") + encode(tensor()) + b"s")
    for n in range(1, 30):
        made += module(n, text("a") + get(n - 1) + text("b") + get(n - 1))
    assert "nested" in lean(torch_zip(Raw(made)))


def test_long_list_of_numbers_named_often(lean: Refuse) -> None:
    """Ten thousand numbers, ten thousand times: to look through them all is a hundred million."""
    numbers = b"](" + b"K\1" * 10_000 + b"eq\0"
    root = Raw(numbers + b"0](" + get(0) * 10_000 + b"]e")
    lean(torch_zip(root))


def test_deep_nesting(lean: Refuse) -> None:
    assert "nested" in lean(torch_zip(Raw(b"](" * 20_000 + encode(tensor()) + b"e" * 20_000)))


@pytest.mark.parametrize("what", ["tensors", "values"])
@pytest.mark.parametrize("where", ["in one container", "in many"])
def test_long_names_on_the_way(what: str, where: str, lean: Refuse) -> None:
    """A thousand times the same long key, and at the end many things: each has the whole path."""
    found = encode(tensor()) if what == "tensors" else b"K\1"
    key, depth, count = text("k" * 10_000), 1_000, 60
    items = b"".join(text(f"{n}") + (found if where == "in one container" else b"](" + found + b"]e") for n in range(count))
    opening = b"}" + key + b"q\0" + (b"}" + get(0)) * (depth - 1)
    root = Raw(opening + b"}(" + items + b"u" + b"s" * depth)
    assert "nested" in lean(torch_zip(root), everything=True)


@pytest.mark.parametrize("what", ["tensors", "values"])
def test_many_names_of_nothing_on_the_way(what: str, lean: Refuse) -> None:
    """Empty names count too: there is a dot between any two."""
    found = b"h\1" if what == "tensors" else b"K\1"
    depth, count = 9_000, 100_000
    first = encode(tensor()) + b"q\x010" + text("") + b"q\x000"
    opening = (b"}" + get(0)) * depth
    root = Raw(first + opening + b"](" + found * count + b"e" + b"s" * depth)
    assert "nested" in lean(torch_zip(root), everything=True)


COPIES = {
    "lists": b"cbuiltins\nlist\n",
    "tuples": b"cbuiltins\ntuple\n",
    "sets": b"cbuiltins\nset\n",
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_a_long_list(kind: str, lean: Refuse) -> None:
    """A call of six bytes that copies a list of two hundred thousand."""
    long = b"](" + b"N" * 200_000 + b"e\x85q\0"
    root = Raw(long + b"0" + COPIES[kind] + b"q\x010](" + b"h\1h\0R" * 2_000 + b"e")
    lean(torch_zip(root))


def test_copies_of_a_dictionary(lean: Refuse) -> None:
    pairs = b"](" + b"K\1K\2\x86" * 50_000 + b"e\x85q\0"
    root = Raw(pairs + b"0ccollections\nOrderedDict\nq\x010](" + b"h\1h\0R" * 2_000 + b"e")
    lean(torch_zip(root))


def test_copies_of_a_long_text(lean: Refuse) -> None:
    root = Raw(
        text("x" * 500_000) + text("utf-8") + b"\x86q\x000c_codecs\nencode\nq\x010]("
        + b"h\1h\0R" * 2_000 + b"e"
    )  # fmt: skip
    lean(torch_zip(root))


def test_copies_of_long_shapes(lean: Refuse) -> None:
    """A tensor of 255 dimensions takes four kilobytes, and five bytes of the file."""
    ones = (1,) * 255
    call = tensor(None, ones, ones)
    root = Raw(
        encode(call.args) + b"q\x000ctorch._utils\n_rebuild_tensor_v2\nq\x010]("
        + b"h\1h\0R" * 150_000 + b"e"
    )  # fmt: skip
    lean(torch_zip(root))


def test_far_memo_slot(opened: Open) -> None:
    """Seven bytes that make another unpickler take 32 GB."""
    root = Raw(b"}" + b"r" + struct.pack("<I", (1 << 32) - 1))
    tracemalloc.start()
    opened(torch_zip(root))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("claim", [b"\x8d", b"\x8e", b"\x96"])
def test_text_longer_than_the_file(claim: bytes, lean: Refuse) -> None:
    root = Raw(claim + struct.pack("<Q", 1 << 40) + b"x")
    assert "cut short" in lean(torch_zip(root))
    assert "cut short" in lean(torch_legacy(root))


def test_directory_that_claims_a_billion_entries(lean: Refuse) -> None:
    made = bytearray(zipped({"a/data.pkl": b"N."}))
    end = made.index(b"PK\5\6")
    made[end + 8 : end + 12] = b"\xff" * 4
    assert "damaged zip" in lean(bytes(made))


def test_sharing_of_many_views_of_one_storage() -> None:
    """Overlaps are swept once, not compared each with each."""
    from paramcli.checkpoint import DTYPES, Storage, TensorInfo

    storage = Storage("file", "key", 1 << 20)
    infos = [
        TensorInfo(str(n), DTYPES["float32"], (2,), (1,), n, storage) for n in range(100_000)
    ]
    (group,) = share(infos)
    assert len(group.names) == 100_000
    assert group.bytes == 4 * 99_999
