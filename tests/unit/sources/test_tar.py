"""The tar files of PyTorch 0.1: three members, in torch's own layout."""

from __future__ import annotations

import tarfile
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from paramcli.files import File
from tests import torch_objects
from tests.handmade import (
    Name,
    Persistent,
    TarTensor,
    encode,
    pickled,
    storage,
    tarred,
    tensor,
    torch_tar,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]

FLOATS = ("torch.FloatStorage", 6, b"".join(bytes([n] * 4) for n in range(6)))
GOOD = torch_tar(
    {"a": Persistent(1), "deep": [Persistent(2), Persistent(3)], "epoch": 7},
    {
        1: TarTensor(10, (2, 3), (3, 1)),
        2: TarTensor(10, (3, 2), (1, 3)),
        3: TarTensor(11, (2,), (1,), 1),
    },
    {10: FLOATS, 12: ("torch.LongStorage", 2, bytes(16))},
    views=[(11, 10, 2, 3)],
)


def member(name: str) -> bytes:
    with tarfile.open(fileobj=BytesIO(GOOD)) as archive:
        found = archive.extractfile(name)
        assert found is not None
        return found.read()


def spoilt(**members: bytes) -> bytes:
    return tarred({name: member(name) for name in ("storages", "tensors", "pickle")} | members)


def test_agrees_with_torch(opened: Open) -> None:
    """A view's elements count from its root, so that both share one storage."""
    checkpoint = opened(GOOD)
    assert checkpoint.format == "torch-tar"
    assert checkpoint.pickle is not None
    assert "tar" in checkpoint.pickle.refused
    assert checkpoint.values == (("epoch", 7),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(checkpoint.origin, weights_only=False)
    for (name, expected), info in zip(torch_objects.leaves(loaded), checkpoint, strict=True):
        assert info.name == name
        assert info.dtype.name == str(expected.dtype).removeprefix("torch.")
        assert (info.shape, info.stride) == (tuple(expected.shape), expected.stride())
        place = checkpoint.locate(info.storage)
        assert place is not None
        start = place.offset + info.offset * 4
        first = Path(place.file).read_bytes()[start : start + 4]
        assert torch.frombuffer(bytearray(first), dtype=torch.float32) == expected.flatten()[0]
    assert checkpoint["deep.1"].offset == 3
    assert [group.names for group in checkpoint.groups()] == [("a", "deep.0", "deep.1")]


def test_members_below_a_dot(opened: Open) -> None:
    """`tar cf x.tar ./*` writes such names."""
    made = tarred({f"./{name}": member(name) for name in ("storages", "tensors", "pickle")})
    assert len(opened(made)) == 3


def test_old_headers(opened: Open) -> None:
    """A header of before POSIX has no magic word, but its checksum tells."""
    made = bytearray(GOOD)
    with tarfile.open(fileobj=BytesIO(GOOD)) as archive:
        starts = [found.offset for found in archive]
    for at in starts:
        header = made[at : at + 512]
        header[257:265] = bytes(8)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        made[at : at + 512] = header
    checkpoint = opened(bytes(made))
    assert checkpoint.format == "torch-tar"
    assert len(checkpoint) == 3


def test_storages_named_in_the_pickle(opened: Open) -> None:
    """Other programs put a storage's id into the call itself, and write no table of tensors."""
    call = tensor(storage("10"))
    identity = call.args[0]
    assert isinstance(identity, Persistent)
    plain = call._replace(args=(identity.identity, *call.args[1:]))
    for root in ({"w": call}, {"w": plain}):
        (info,) = opened(spoilt(pickle=pickled(root), tensors=pickled(0)))
        assert (info.name, info.shape, info.storage.nbytes) == ("w", (2, 3), 24)


def test_classes_of_modules(opened: Open) -> None:
    """A tuple as the id of a class names the class first, then its source."""
    cls = Persistent((Name("lost.Net"), "/lost.py", "class Net: pass"))
    state = {"_parameters": {"w": Persistent(1)}, "_buffers": {}, "_modules": {}}
    root = b"\x80\x02" + encode(cls) + b")\x81" + encode(state) + b"b."
    (info,) = opened(spoilt(pickle=root))
    assert (info.name, info.kind) == ("w", "parameter")


@pytest.mark.parametrize("absent", ["storages", "pickle"])
def test_other_tars(absent: str, refused: Refuse) -> None:
    members = {name: member(name) for name in ("storages", "tensors", "pickle") if name != absent}
    assert "tar archive" in refused(tarred(members))


def test_tars_of_other_makers_name_the_checkpoint(refused: Refuse) -> None:
    made = tarred({"./model_config.yaml": b"x", "./model_weights.ckpt": member("pickle")})
    assert "open model_weights.ckpt inside" in refused(made)


def test_members_that_are_no_files(refused: Refuse) -> None:
    """A link or a device of the right name is no member to read."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    assert "tar archive" in refused(buffer.getvalue())


@pytest.mark.parametrize("size", [512, 1_000, 1_536, 3_000])
def test_cut_short(size: int, refused: Refuse) -> None:
    assert refused(GOOD[:size])


@pytest.mark.parametrize(
    "members",
    [
        {"storages": pickled(None)},
        {"storages": pickled(-1)},
        {"storages": pickled(3) + member("storages")[5:]},
        {"storages": pickled(1) + pickled((10, "cpu"))},
        {"storages": pickled(1) + pickled((10, "cpu", Name("os.system"))) + bytes(40)},
        {"storages": pickled(1) + pickled((None, "cpu", Name("torch.FloatStorage"))) + bytes(40)},
        {"storages": pickled(1) + pickled((10, "cpu", Name("torch.FloatStorage"))) + b"\xff" * 8},
        {"storages": pickled(1) + pickled((10, "cpu", Name("torch.FloatStorage"))) + b"\7"},
        {"tensors": pickled(1)},
        {"tensors": pickled(1) + pickled((1, 99, Name("torch.FloatTensor"))) + bytes(16)},
        {"tensors": pickled(1) + pickled((1, 10, Name("torch.FloatTensor"))) + b"\xff" * 16},
        {"tensors": pickled(1) + pickled((1, 10, Name("torch.FloatTensor"))) + bytes([0, 2] * 4)},
        {"tensors": pickled(1) + pickled(None) + bytes(16)},
        {"pickle": pickled(Persistent(99))},
        {"pickle": pickled(Persistent(None))},
        {"pickle": pickled(Persistent(()))},
        {"pickle": b""},
    ],
)
def test_damage(members: dict[str, bytes], refused: Refuse) -> None:
    assert refused(spoilt(**members))


@pytest.mark.parametrize(
    "view", [(11, 10, 4, 3), (11, 10, -1, 2), (11, 10, 0, None), (11, 99, 0, 1)]
)
def test_views_that_reach_too_far(view: tuple[object, ...], refused: Refuse) -> None:
    """Tensor 3 needs the view 11, which is not good."""
    made = torch_tar(
        {"x": Persistent(3)}, {3: TarTensor(11, (2,), (1,))}, {10: FLOATS}, views=[view]
    )
    assert refused(made)


def test_sections_of_the_tar_are_read_in_place(tmp_path: Path) -> None:
    """Nothing is unpacked: torch writes members into a temporary directory."""
    import paramcli

    target = written(tmp_path / "model.tar", GOOD)
    before = sorted(tmp_path.rglob("*"))
    checkpoint = paramcli.open(target)
    assert sorted(tmp_path.rglob("*")) == before
    with File(target) as file:
        assert {info.storage.file for info in checkpoint} == {file.path}
