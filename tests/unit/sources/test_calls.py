"""Runs of tensor calls read in one step mean what they mean opcode by opcode."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.errors import SourceError
from paramcli.sources.pickles.calls import TensorCalls
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.nodes import Dict, Global, Record, Set, TypedStorage
from paramcli.sources.pickles.storages import StorageTable
from paramcli.tensors import TensorInfo
from tests import torch_objects
from tests.sample_files import saved

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 2_500


@pytest.fixture(scope="module")
def good() -> bytes:
    """Give the pickle of a state dict of plain tensors, which is one run from the 30th on."""
    return pickle_of({f"w{n}": torch.zeros(2, 3) for n in range(COUNT)})


def pickle_of(state: dict[str, torch.Tensor]) -> bytes:
    with ZipFile(BytesIO(saved(state))) as archive:
        return archive.read("archive/data.pkl")


def ran(data: bytes, *, fast: bool, piece: int | None = None) -> tuple[object, ...] | str:
    """Return the tensors of a pickle, or the reason for which it is refused.

    It is read at once, or as a stream of which so many bytes are there at first.
    """
    table = StorageTable("file")
    calls = TensorCalls(table.many, legacy=False) if fast else None
    machine = Machine(
        data[:piece], "file", persistent=table.persistent, calls=calls,
        more=(lambda at, size: data[at : at + size]) if piece else None,
    )  # fmt: skip
    try:
        root = machine.run()
    except SourceError as error:
        return str(error)
    return tuple(map(comparable, root.pairs if isinstance(root, Dict) else [root]))


def comparable(node: object) -> object:  # noqa: PLR0911 - a form for each kind
    """A run names its tensors at once, the ordinary way later; nodes have no equality."""
    match node:
        case TensorInfo():
            return node._replace(name="")
        case TypedStorage():
            return node
        case float():
            return repr(node)  # NaN has no equality either
        case tuple() | list():
            return [comparable(item) for item in node]
        case Set(items=items):
            return {"set": comparable(items)}
        case Dict(pairs=pairs):
            return {"dict": comparable(pairs)}
        case Record(path=path, args=args):
            return (path, comparable(args))
        case Global(path=path):
            return path
        case _:
            return node


@pytest.fixture(scope="module")
def long() -> bytes:
    """Give the pickle of so many tensors that a stream lets most of it go."""
    return pickle_of({f"layer.{n}.weight": torch.zeros(2, n % 5) for n in range(3_000)})


@given(st.data())
def test_a_stream_gives_what_the_whole_gives(long: bytes, data: st.DataObject) -> None:
    """Also where a byte is another one, and where the end is missing: faults and their places."""
    content = bytearray(long)
    for _ in range(data.draw(st.integers(0, 2))):
        content[data.draw(st.integers(0, len(long) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(long)) | st.integers(1, len(long)))
    piece = data.draw(st.sampled_from([1, 1 << 12, 1 << 17]))
    whole = ran(bytes(content[:end]), fast=True)
    assert ran(bytes(content[:end]), fast=True, piece=piece) == whole


def refused(found: tuple[object, ...] | str) -> bool:
    return isinstance(found, str)


def test_both_ways_agree(good: bytes) -> None:
    fast = ran(good, fast=True)
    assert fast == ran(good, fast=False)
    assert len(fast) == 2 * COUNT


def test_all_but_the_first_are_read_at_once(good: bytes) -> None:
    table = StorageTable("file")
    calls = TensorCalls(table.many, legacy=False)
    steps: list[int] = []
    read = calls.read

    def counted(*args: object) -> object:
        run = read(*args)  # type: ignore[arg-type]
        steps.append(len(run.names) if run else 0)
        return run

    calls.read = counted  # type: ignore[method-assign, assignment]
    Machine(good, "file", persistent=table.persistent, calls=calls).run()
    assert sum(steps) > COUNT - 60
    assert len(steps) < 40


def slot(good: bytes, text: str) -> bytes:
    """Return the opcode that fetches what stands in the memo for a text of the file."""
    at = good.index(text.encode()) + len(text)
    assert good[at : at + 1] == b"r"
    return b"j" + good[at + 1 : at + 5]


SLOTS = {"a name": lambda good: slot(good, "w1500"), "a key": lambda good: slot(good, "1500")}


@pytest.mark.parametrize("what", SLOTS)
def test_later_use_of_what_a_run_memoized(what: str, good: bytes) -> None:
    """Names and keys of a run stay within reach."""
    made = good[:-2] + b"X\1\0\0\0x" + SLOTS[what](good) + good[-2:]
    fast = ran(made, fast=True)
    assert fast == ran(made, fast=False)
    assert fast[-1] in ("w1500", "1500")


@pytest.mark.parametrize("back", range(1, 9))
def test_later_use_of_any_slot(back: int, good: bytes) -> None:
    """A slot that was passed over (a tuple of sizes) is found by reading again, more slowly."""
    at = good.rindex(b"r", 0, good.rindex(b"w1900"))
    last = int.from_bytes(good[at + 1 : at + 5], "little")
    get = b"j" + (last - back).to_bytes(4, "little")
    made = good[:-2] + b"X\1\0\0\0x" + get + good[-2:]
    fast = ran(made, fast=True)
    assert not refused(fast)
    assert fast == ran(made, fast=False)


def test_the_last_slot_of_all_before_a_run(good: bytes) -> None:
    """Slots after it cannot be written in four bytes: `make fuzz` found an OverflowError here."""
    made = good[:2] + b"Nr\xff\xff\xff\xff0" + good[2:]
    assert ran(made, fast=True) == ran(made, fast=False)


def test_memoize_counts_the_slots_of_a_run(good: bytes) -> None:
    following = int.from_bytes(good[-6:-2], "little") + 1
    made = good[:-2] + b"X\1\0\0\0x\x94j" + following.to_bytes(4, "little") + good[-2:]
    fast = ran(made, fast=True)
    assert fast == ran(made, fast=False)
    assert fast[-2:] == ("x", "x")


def test_storages_mentioned_again(good: bytes) -> None:
    """A key that is known already gives its own storage, whatever the new mention says."""
    made = good.replace(b"X\4\0\0\x001500", b"X\4\0\0\x000007").replace(
        b"X\1\0\0\x007", b"X\4\0\0\x000007"
    )
    fast = ran(made, fast=True)
    assert not refused(fast)
    assert fast == ran(made, fast=False)
    assert fast[2 * 1_500 + 1].storage == fast[2 * 7 + 1].storage  # type: ignore[attr-defined]


CHANGES = {
    "another function": (b"_rebuild_tensor_v2", b"_rebuild_tensor_v7"),
    "another class": (b"FloatStorage", b"GhostStorage"),
    "another word": (b"storage", b"storagf"),
    "another dictionary": (b"OrderedDict", b"OrderedDicy"),
    "another location": (b"cpu", b"cp\xff"),
    "a size too large": (b"K\2K\3\x86", b"K\2K\4\x86"),
    "a stride too large": (b"K\3K\1\x86", b"K\4K\1\x86"),
    "a smaller size": (b"K\2K\3\x86", b"K\2K\2\x86"),
    "ranks that differ": (b"K\2K\3\x86", b"0\x29K\6\x85"),
    "a tuple of one of two": (b"K\2K\3\x86", b"K\2K\3\x85"),
    "a tuple of three of two": (b"K\2K\3\x86", b"K\2K\3\x87"),
    "a name in no alphabet": (b"w15", b"\xff15"),
    "a name that is longer": (b"w1500", b"w150\0"),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("where", ["first", "last", "all"])
def test_changes_are_noticed_both_ways(case: str, where: str, good: bytes) -> None:
    old, new = CHANGES[case]
    at = {"first": good.find(old), "last": good.rfind(old)}.get(where)
    made = good.replace(old, new) if at is None else good[:at] + new + good[at + len(old) :]
    assert made != good
    fast, slow = ran(made, fast=True), ran(made, fast=False)
    assert refused(fast) == refused(slow), (fast, slow)
    if not refused(fast):
        assert fast == slow


def test_two_odd_batches_are_no_even_one(good: bytes) -> None:
    """SETITEMS wants pairs; a run that spans several must not add up their halves."""
    first, last = good.index(b"("), good.rindex(b"u")
    made = good[: first + 1] + b"N" + good[first + 1 : last] + b"N" + good[last:]
    assert refused(ran(made, fast=False))
    assert refused(ran(made, fast=True))


def test_negative_numbers(good: bytes) -> None:
    for old, new in (
        (b"K\2K\3\x86", b"J\xff\xff\xff\xffK\3\x86"),
        (b"QK\0", b"QJ\xff\xff\xff\xff"),
    ):
        made = good.replace(old, new)
        assert made != good
        assert refused(ran(made, fast=True))
        assert refused(ran(made, fast=False))


def test_rank_beyond_bounds() -> None:
    """A run allows no more dimensions than the ordinary way."""
    state = {f"w{n}": torch.zeros([1] * 60) for n in range(60)}
    content = pickle_of(state)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("calls", "rebuild"):
            patch.setattr(f"paramcli.sources.pickles.{module}.MAX_RANK", 50)
        assert refused(ran(content, fast=True))
        assert refused(ran(content, fast=False))
    assert ran(content, fast=True) == ran(content, fast=False)


def test_large_numbers(tmp_path: Path) -> None:
    """Sizes, strides and offsets of one, two and four bytes, in one run."""
    whole = torch.zeros(70_000, dtype=torch.int8)
    state = {}
    for n in range(50):
        state[f"a{n}"] = torch.zeros(300, 2, dtype=torch.int8)[n:, :1]
        state[f"b{n}"] = torch.empty(0, dtype=torch.int8).set_(
            torch.zeros(70_000, dtype=torch.int8).untyped_storage(), 66_000 + n, (2, 2), (300, 1)
        )
    state["c"] = whole[66_000:]
    target = torch_objects.save(state, tmp_path / "model.pt")
    checkpoint = paramcli.open(target)
    expected = list(torch_objects.leaves(torch_objects.load(target, weights_only=True)))
    assert torch_objects.listed(checkpoint.entries) == torch_objects.described(expected)
