"""Lists of digits read in one step are what the ordinary way reads, opcode by opcode."""

from __future__ import annotations

import pickle
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import SourceError
from paramcli.sources.pickles import machine
from paramcli.sources.pickles.calls import TensorCalls
from paramcli.sources.pickles.columns import Items
from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.storages import StorageTable
from paramcli.sources.pickles.texts import TextRun, read_texts
from tests.unit.sources.test_calls import comparable, pickle_of

KEYS = [str(94_000_000_000_000 + 64 * number) for number in range(5_000)]


def ran(data: bytes, piece: int | None = None) -> object:
    """What a pickle holds, read at once, or by pieces as a stream is."""
    if piece is None:
        return Machine(data, "file").run()
    return streamed(data, piece).run()


def streamed(data: bytes, piece: int) -> Machine:
    return Machine(data[:piece], "file", base=7, more=lambda at, size: data[at - 7 :][:size])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[TextRun | None]:
    found: list[TextRun | None] = []

    def watched(items: Items, data: bytes, pos: int, fresh: int) -> TextRun | None:
        found.append(read_texts(items, data, pos, fresh))
        return found[-1]

    monkeypatch.setattr(machine, "read_texts", watched)
    return found


@pytest.mark.parametrize("piece", [None, 64, 1 << 12, 1 << 16])
def test_keys_are_read_in_one_step(piece: int | None, runs: list[TextRun | None]) -> None:
    assert ran(pickle.dumps(KEYS, 2), piece) == KEYS
    in_runs = sum(len(run.items) for run in runs if run is not None)
    assert in_runs == len(KEYS) - 255  # the list itself has a slot, and slots below 256 are short


def test_what_a_run_put_aside_is_found_again(runs: list[TextRun | None]) -> None:
    value = [KEYS, KEYS[3_000], KEYS[255], KEYS[-1], KEYS[3_000]]
    assert ran(pickle.dumps(value, 2)) == value
    assert any(runs)


def test_texts_that_come_twice(runs: list[TextRun | None]) -> None:
    value = KEYS[:1_000] + KEYS[500:700] + KEYS[1_000:]
    assert ran(pickle.dumps(value, 2)) == value
    assert any(runs)


@given(
    st.lists(
        st.one_of(st.integers(0, 1 << 60).map(str), st.text(max_size=5), st.integers(0, 9)),
        max_size=40,
    ),
    st.integers(0, 4_000),
    st.sampled_from([2, 3, 4]),
)
def test_anything_between_digits(others: list[object], at: int, protocol: int) -> None:
    value = [*KEYS[:at], *others, *KEYS[at:4_000]]
    assert ran(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("piece", [64, 1 << 16])
def test_a_stream_is_begun_again(piece: int, runs: list[TextRun | None]) -> None:
    """What was let go of is read again where it is wanted after all."""
    content = pickle.dumps(KEYS * 3, 2)[:-1] + b"\x94."  # MEMOIZE counts the slots of a run
    machine = streamed(content, piece)
    assert machine.run() == KEYS * 3
    assert machine.position == len(content)
    assert sum(run is not None for run in runs) > 3


def test_a_stream_holds_little_at_a_time() -> None:
    many = [str(number) for number in range(200_000)]
    content = pickle.dumps(many, 2)
    machine = streamed(content, 64)
    assert machine.run() == many
    assert machine.position == len(content) > 4 * len(machine.data)


def test_faults_are_told_by_their_place_in_the_file() -> None:
    content = pickle.dumps(KEYS * 3, 2)[:-1] + b"\xff"
    with pytest.raises(SourceError, match="0xff") as caught:
        streamed(content, 1 << 12).run()
    assert caught.value.offset == 7 + len(content) - 1


@given(st.data())
def test_a_byte_changed_gives_the_same_both_ways(data: st.DataObject) -> None:
    content = bytearray(pickle.dumps(KEYS[:600], 2))
    at = data.draw(st.integers(len(content) // 2, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "read_texts", lambda *_: None)
        slow = outcome(bytes(content))
    assert outcome(bytes(content)) == slow


def outcome(content: bytes) -> object:
    try:
        return comparable(ran(content))
    except SourceError as error:
        return type(error)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were searched for items, each time."""
    found: list[int] = []
    match = Items.match

    def watched(items: Items, data: bytes, pos: int) -> tuple[list[list[bytes]], int]:
        found.append(min(items.reach, len(data) - pos))
        return match(items, data, pos)

    monkeypatch.setattr(Items, "match", watched)
    return found


def test_texts_that_something_comes_between_are_not_searched_again_and_again(
    searched: list[int],
) -> None:
    first = KEYS[:7]  # so that the first slot that a run may write is that of the first of eight
    value = [*first, *(item for at in range(7, 4_007, 8) for item in (*KEYS[at : at + 8], None))]
    content = pickle.dumps(value, 2)
    assert ran(content) == value
    assert len(searched) > 100
    assert sum(searched) < 10 * len(content)


def test_tensors_that_something_comes_between_are_not_searched_again_and_again(
    searched: list[int],
) -> None:
    good = pickle_of({f"w{number}": torch.zeros(2, 3) for number in range(1_000)})
    content = re.sub(rb"(Rr.{4})(?=X)", rb"\1N0", good, flags=re.DOTALL)  # None, and away with it
    table = StorageTable("file")
    calls = TensorCalls(table.many, legacy=False)
    Machine(content, "file", persistent=table.persistent, calls=calls).run()
    assert len(searched) > 900
    assert sum(searched) < 20 * len(content)
