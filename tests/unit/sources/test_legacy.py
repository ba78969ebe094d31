"""The stream of before PyTorch 1.6: five pickles, and the storages after them."""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests import torch_objects
from tests.handmade import (
    MAGIC,
    Call,
    Name,
    Pairs,
    Persistent,
    Raw,
    legacy_storage,
    pickled,
    tensor,
    torch_legacy,
    written,
)
from tests.sample_files import saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]

ROOT = {"w": tensor(legacy_storage())}


def text(value: str) -> Raw:
    """A `str` of Python 2: SHORT_BINSTRING."""
    return Raw(b"U" + bytes([len(value)]) + value.encode("latin-1"))


def test_handmade_file(opened: Open) -> None:
    checkpoint = opened(torch_legacy(ROOT))
    (info,) = checkpoint
    assert checkpoint.format == "torch-legacy"
    assert (info.name, info.shape, info.storage.nbytes) == ("w", (2, 3), 24)
    assert torch.load(checkpoint.origin, weights_only=True)["w"].shape == (2, 3)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol_of_the_frame(protocol: int, opened: Open) -> None:
    """The magic number and its friends may be in another protocol than the object."""
    frames = [pickle.dumps(value, protocol) for value in (MAGIC, 1001, {"little_endian": True})]
    tail = torch_legacy(ROOT).partition(pickled(ROOT))
    made = b"".join([*frames, tail[1], tail[2]])
    checkpoint = opened(made)
    assert len(checkpoint) == 1
    assert torch.load(checkpoint.origin, weights_only=False)["w"].shape == (2, 3)


@pytest.mark.parametrize(
    "made",
    [
        pickled({"a": 1}),
        pickled(MAGIC),
        pickled(MAGIC + 1),
        torch_legacy(ROOT, version=1002),
        torch_legacy(ROOT, version=None),
        torch_legacy(ROOT, magic=pickled("x")),
        b"\x80",
        b"\x80\x02",
        b"\x80\x05N.",
    ],
)
def test_other_pickles(made: bytes, refused: Refuse) -> None:
    assert refused(made)


@pytest.mark.parametrize("zipped", [True, False])
def test_protocol_0_loses_the_storages(refused: Refuse, *, zipped: bool) -> None:
    """It writes the name of a storage as text; torch.load cannot read that either."""
    content = saved({"w": torch.zeros(2)}, zipped=zipped, protocol=0)
    with pytest.raises(AssertionError):
        torch.load(BytesIO(content), weights_only=False)
    assert "as pickle protocol 0 does" in refused(content)


@pytest.mark.parametrize("little", [True, False])
def test_the_writer_s_machine_does_not_matter(opened: Open, *, little: bool) -> None:
    """torch writes numbers little-endian on every machine, and reads them so."""
    checkpoint = opened(torch_legacy(ROOT, system={"little_endian": little}))
    (info,) = checkpoint
    assert checkpoint.byteorder == "little"
    theirs = torch.load(checkpoint.origin, weights_only=True)["w"]
    assert checkpoint.read(info.storage) == torch_objects.raw_bytes(theirs)


def test_python_2_text(opened: Open) -> None:
    """Names, keys and locations of Python 2 are byte strings; the class knows `torch` only."""
    identity = Persistent(
        (text("storage"), Name("torch.FloatStorage"), text("0"), text("cpu"), 6, None)
    )
    old = Call(
        "torch._utils._rebuild_tensor_v2",
        (identity, 0, (2, 3), (3, 1), False, Call("collections.OrderedDict", ([],))),
    )
    made = torch_legacy(Pairs([(text("w"), old), (text("caf\xe9"), 1)]))
    checkpoint = opened(made)
    assert [info.name for info in checkpoint] == ["w"]
    assert checkpoint.values == (("caf\xe9", 1),)
    loaded = torch.load(checkpoint.origin, weights_only=False, encoding="latin1")
    assert list(loaded) == ["w", "caf\xe9"]


@pytest.mark.parametrize("cut", [1, 8, 24, 25, 31, 32])
def test_cut_storages(cut: int, refused: Refuse) -> None:
    """torch notices only where it reads; here the end is wanted before anything is listed."""
    made = torch_legacy(ROOT)
    assert "cut short" in refused(made[:-cut])


def test_bytes_after_the_last_storage(opened: Open) -> None:
    """Several streams may stand one after another in a file: the first one counts."""
    checkpoint = opened(torch_legacy(ROOT) + b"more")
    assert len(checkpoint) == 1


@pytest.mark.parametrize(
    "storages",
    [
        {},
        {"1": (6, bytes(24))},
        {"0": (6, bytes(24)), "1": (0, b"")},
        {"0": (5, bytes(24))},
        {"0": (-1, bytes(24))},
        {"0": (1 << 62, bytes(24))},
    ],
)
def test_storages_that_are_not_those_of_the_tensors(
    storages: dict[object, tuple[int, bytes]], refused: Refuse
) -> None:
    assert refused(torch_legacy(ROOT, storages))


@pytest.mark.parametrize("keys", [None, "0", ["0", "0"], [None], [["0"]], ("0",), {"0": 0}])
def test_list_of_keys_that_is_none(keys: object, refused: Refuse) -> None:
    head, found, tail = torch_legacy(ROOT).rpartition(pickled(["0"]))
    assert found
    assert "list of storages" in refused(head + pickled(keys) + tail)


def test_key_that_is_a_number_too_long_to_print(refused: Refuse) -> None:
    head, _, tail = torch_legacy(ROOT).rpartition(pickled(["0"]))
    assert refused(head + pickled([1 << 20_000]) + tail)


def test_order_of_the_keys_is_the_order_of_the_bytes(opened: Open) -> None:
    root = {"a": tensor(legacy_storage("7")), "b": tensor(legacy_storage("5"))}
    made = torch_legacy(root, {"5": (6, b"5" * 24), "7": (6, b"7" * 24)})
    checkpoint = opened(made)
    for name, digit in (("a", b"7"), ("b", b"5")):
        place = checkpoint.locate(checkpoint[name].storage)
        assert place is not None
        assert Path(place.file).read_bytes()[place.offset :][:24] == digit * 24


def test_views_of_storages(opened: Open) -> None:
    """A sixth field names a part of a storage: (its own key, first element, elements)."""
    root = {
        "all": tensor(legacy_storage()),
        "part": tensor(legacy_storage(view=("9", 2, 3)), (2,), (1,), 1),
    }
    checkpoint = opened(torch_legacy(root))
    assert checkpoint["part"].storage == checkpoint["all"].storage
    assert checkpoint["part"].offset == 3
    loaded = torch.load(checkpoint.origin, weights_only=True)
    assert loaded["part"].data_ptr() == loaded["all"].data_ptr() + 12
    (group,) = checkpoint.groups()
    assert (group.names, group.relation, group.bytes) == (("all", "part"), "overlap", 8)


@pytest.mark.parametrize(
    "view",
    [("9", 2, 5), ("9", 7, 0), ("9", -1, 2), ("9", 0), (), "9", 1, ("9", "0", 2), ("9", 2, None)],
)
def test_views_that_reach_too_far(view: object, refused: Refuse) -> None:
    assert "damaged pickle" in refused(
        torch_legacy({"w": tensor(legacy_storage(view=view), (1,), (1,))})
    )


def test_tensor_beyond_its_view(refused: Refuse) -> None:
    """The storage would hold it, but the view does not."""
    root = {"w": tensor(legacy_storage(view=("9", 0, 2)), (3,), (1,))}
    assert "past the end" in refused(torch_legacy(root))


def test_classes_of_modules_with_their_source(opened: Open) -> None:
    """`torch.save(model)` put a module's source beside its class; it is never looked at."""
    cls = Persistent(("module", Name("lost.Net"), "/lost.py", "class Net: import os"))
    state = {"_parameters": {"w": tensor(legacy_storage())}, "_buffers": {}, "_modules": {}}
    root = Raw(pickled(cls)[2:-1] + b")\x81" + pickled(state)[2:-1] + b"b")
    checkpoint = opened(torch_legacy(root))
    assert [(info.name, info.kind) for info in checkpoint] == [("w", "parameter")]


def test_pickles_longer_than_one_read(opened: Open) -> None:
    """The object's pickle is read in growing pieces: no length says where it ends."""
    root = {"w": tensor(legacy_storage()), **{f"note {n}": "x" * 1_000 for n in range(700)}}
    checkpoint = opened(torch_legacy({**root, "long": "y" * 3_000_000}))
    assert [info.name for info in checkpoint] == ["w"]
    assert len(checkpoint.values) == 701


def test_same_file_in_a_stream_of_another_name(tmp_path: Path) -> None:
    import paramcli

    target = written(tmp_path / "model.safetensors", torch_legacy(ROOT))
    assert paramcli.open(target).format == "torch-legacy"
