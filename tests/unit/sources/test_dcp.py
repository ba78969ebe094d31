"""Directories of torch.distributed.checkpoint: what `.metadata` says, and whether it adds up."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

import paramcli
from paramcli.errors import SourceError
from tests import torch_objects
from tests.handmade import Built, Call, Name, Pairs, pickled
from tests.sample_files import saved, write_dcp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn,
]  # fmt: skip


def test_agrees_with_torch(tmp_path: Path) -> None:
    """Names are nested again; each tensor has its dtype, shape and bytes."""
    state: dict[str, object] = {
        "model": {
            "linear": torch.nn.Linear(2, 3).state_dict(),
            **{str(dtype): torch.ones(2, 2).to(dtype) for dtype in DTYPES},
            "scalar": torch.tensor(3.0),
            "transposed": torch.arange(6.0).reshape(2, 3).T,
            "part": torch.arange(10)[3:7],
        },
        "list": [torch.zeros(1), {"deep": torch.ones(2)}],
        "a.b": torch.full((3,), 7),
    }
    write_dcp(tmp_path / "dcp", state)
    checkpoint = paramcli.open(tmp_path / "dcp", everything=True)
    found = {info.name: info for info in checkpoint}
    expected = dict(torch_objects.leaves(state))
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        info = found[name]
        assert info.dtype.name == str(tensor.dtype).removeprefix("torch.")
        assert info.shape == tuple(tensor.shape)
        assert info.contiguous
        whole = tensor.contiguous().clone()
        assert checkpoint.read(info.storage) == torch_objects.raw_bytes(whole)


def test_says_what_it_is(tmp_path: Path) -> None:
    write_dcp(tmp_path / "dcp")
    checkpoint = paramcli.open(tmp_path / "dcp")
    assert checkpoint.format == "dcp"
    assert checkpoint.key == "model"
    assert [info.name for info in checkpoint] == ["w", "b"]
    assert checkpoint.pickle is not None
    assert "distributed" in checkpoint.pickle.refused


def test_key(tmp_path: Path) -> None:
    state: dict[str, object] = {"model": {"w": torch.zeros(2)}, "optim": {"state": torch.ones(3)}}
    write_dcp(tmp_path / "dcp", state)
    checkpoint = paramcli.open(tmp_path / "dcp", key="optim")
    assert [(info.name, info.shape) for info in checkpoint] == [("state", (3,))]


def test_the_directory_may_be_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dcp(tmp_path / "dcp")
    monkeypatch.chdir(tmp_path / "dcp")
    checkpoint = paramcli.open(".")
    assert len(checkpoint) == 2
    assert checkpoint.read(checkpoint["b"].storage) == torch.ones(3).numpy().tobytes()


# --- .metadata made by hand ----------------------------------------------------------------------

PACKAGE = "torch.distributed.checkpoint.metadata"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chunks")


class BrokenError(Exception):
    """The metadata was refused; the text says why."""


def chunk(offsets: object, sizes: object) -> Built:
    call = Call(f"{PACKAGE}.ChunkStorageMetadata", (), b"\x81")
    return Built(call, {"offsets": offsets, "sizes": sizes})


def stored(size: object, chunks: object, **changes: object) -> Built:
    """Describe a float32 tensor of this size in these chunks."""
    properties = Built(
        Call(f"{PACKAGE}.TensorProperties", (), b"\x81"), (Name("torch.float32"), False)
    )
    return Built(
        Call(f"{PACKAGE}.TensorStorageMetadata", (), b"\x81"),
        {"properties": properties, "size": size, "chunks": chunks, **changes},
    )


def place(file: object = "__0_0.distcp", offset: object = 0, length: object = 10) -> Built:
    return Built(
        Call("torch.distributed.checkpoint.filesystem._StorageInfo", (), b"\x81"),
        {"relative_path": file, "offset": offset, "length": length},
    )


def placed(name: str, offset: object, where: object) -> tuple[object, object]:
    """Say where a chunk of a tensor lies."""
    index = Call(f"{PACKAGE}.MetadataIndex", (), b"\x81")
    return Built(index, {"fqn": name, "offset": offset, "index": 0}), where


def metadata(**changes: object) -> Built:
    state = {"state_dict_metadata": {}, "planner_data": {}, "storage_data": {}, **changes}
    return Built(Call(f"{PACKAGE}.Metadata", (), b"\x81"), state)


def holding(tensors: dict[str, Built], **changes: object) -> Built:
    """Describe tensors, all chunks of which are in the file that is there."""
    places = [
        placed(name, box.state["offsets"], place())
        for name, tensor in tensors.items()
        for box in tensor.state["chunks"] or ()  # type: ignore[index]
        if isinstance(box, Built) and isinstance(box.state, dict)
    ]
    return metadata(state_dict_metadata=tensors, storage_data=Pairs(places), **changes)


def opened(folder: Path, root: object) -> Checkpoint:
    (folder / "__0_0.distcp").write_bytes(bytes(10))
    (folder / ".metadata").write_bytes(pickled(root))
    try:
        return paramcli.open(folder)
    except SourceError as error:
        raise BrokenError(str(error)) from None


def test_real_classes_are_those_made_here() -> None:
    """The names above are torch's own; a rename there would leave these tests behind."""
    classes = [
        ChunkStorageMetadata,
        TensorStorageMetadata,
        TensorProperties,
        Metadata,
        MetadataIndex,
    ]
    assert {cls.__module__ for cls in classes} == {PACKAGE}


def test_chunks_of_a_sharded_tensor(tmp_path: Path) -> None:
    chunks = [chunk((0, 0), (2, 3)), chunk((2, 0), (2, 3))]
    (info,) = opened(tmp_path, holding({"w": stored((4, 3), chunks)}))
    assert (info.name, info.shape, info.stride) == ("w", (4, 3), (3, 1))


def test_empty_and_scalar_tensors(tmp_path: Path) -> None:
    found = {
        "none": stored((0, 3), []),
        "some": stored((0,), [chunk((0,), (0,))]),
        "one": stored((), [chunk((), ())]),
    }
    shapes = {info.name: info.shape for info in opened(tmp_path, holding(found))}
    assert shapes == {"none": (0, 3), "some": (0,), "one": ()}


TENSORS = {
    "chunks that leave a hole": stored((4,), [chunk((0,), (3,))]),
    "chunks that are too many": stored((4,), [chunk((0,), (4,)), chunk((0,), (4,))]),
    "chunks that overlap and leave a hole": stored((4,), [chunk((0,), (2,)), chunk((1,), (2,))]),
    "a chunk twice, another never": stored((4,), [chunk((0,), (2,)), chunk((0,), (2,))]),
    "a chunk outside": stored((4,), [chunk((2,), (4,))]),
    "a chunk of another rank": stored((4,), [chunk((0, 0), (4, 1))]),
    "a chunk that is negative": stored((4,), [chunk((-1,), (4,))]),
    "a chunk that is no chunk": stored((4,), [None]),
    "no chunks": stored((4,), None),
    "no size": stored(None, []),
    "a size of text": stored(("4",), []),
    "no element type": stored((0,), [], properties=None),
    "an element type of text": stored((0,), [], properties=Built(Call("x.Y"), ("float32",))),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensor_that_does_not_add_up(case: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenError, match="metadata"):
        opened(tmp_path, holding({"w": TENSORS[case]}))


def test_chunk_that_is_nowhere(tmp_path: Path) -> None:
    tensors = {"w": stored((4,), [chunk((0,), (2,)), chunk((2,), (2,))])}
    one = Pairs([placed("w", (0,), place())])
    with pytest.raises(BrokenError, match="in no file"):
        opened(tmp_path, metadata(state_dict_metadata=tensors, storage_data=one))


@pytest.mark.parametrize("offset", [(1,), (), None, "0", (0, 0), (-1,)])
def test_place_of_no_chunk(offset: object, tmp_path: Path) -> None:
    tensors = {"w": stored((4,), [chunk((0,), (4,))])}
    both = Pairs([placed("w", (0,), place()), placed("w", offset, place())])
    with pytest.raises(BrokenError, match="metadata"):
        opened(tmp_path, metadata(state_dict_metadata=tensors, storage_data=both))


PLACES = {
    "another directory": place("../x"),
    "an absolute path": place("/etc/passwd"),
    "below": place("a/b"),
    "backslash": place("a\\b"),
    "NUL": place("a\0b"),
    "the directory itself": place(".."),
    "this directory": place("."),
    "nothing": place(""),
    "a number": place(3),
    "a file that is not there": place("__1_0.distcp"),
    "too short a file": place(length=11),
    "an offset past the end": place(offset=11, length=0),
    "a negative offset": place(offset=-1),
    "a length of text": place(length="10"),
    "nothing at all": None,
}


@pytest.mark.parametrize("case", PLACES)
def test_place_that_is_none(case: str, tmp_path: Path) -> None:
    """Of a value that is no tensor, too."""
    with pytest.raises(BrokenError, match="metadata"):
        opened(tmp_path, metadata(storage_data=Pairs([placed("step", None, PLACES[case])])))


@pytest.mark.parametrize(
    "root",
    [
        None,
        {},
        Call(f"{PACKAGE}.Metadata"),
        Built(Call("x.Metadata"), {}),
        Built(Call(f"{PACKAGE}.Metadata"), {}),
        metadata(state_dict_metadata=None),
        metadata(state_dict_metadata={"w": 3}),
        metadata(state_dict_metadata={3: stored((0,), [])}),
        metadata(storage_data=None),
        metadata(storage_data=[]),
    ],
)
def test_other_pickles(root: object, tmp_path: Path) -> None:
    with pytest.raises(BrokenError):
        opened(tmp_path, root)


@given(data=st.data())
def test_values_are_put_together_from_chunks(data: st.DataObject, folder: Path) -> None:
    """Boxes of any grid, in any order, in two files, each saved with any strides."""
    shape = data.draw(st.lists(st.integers(1, 5), max_size=3))
    whole = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    cuts = [
        sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape
    ]
    boxes, places = [], []
    files = {"__0_0.distcp": b"", "__1_0.distcp": b"junk"}
    for spans in data.draw(st.permutations(list(product(*map(pairwise, cuts))))):
        piece = whole[tuple(slice(*span) for span in spans)]
        order = data.draw(st.permutations(range(piece.dim())))
        # The same elements, laid out in memory with the axes in another order.
        piece = piece.permute(order).contiguous().permute(_inverse(order))
        content = saved(piece)
        file = data.draw(st.sampled_from(sorted(files)))
        offset = tuple(start for start, _ in spans)
        boxes.append(chunk(offset, tuple(piece.shape)))
        places.append(placed("w", offset, place(file, len(files[file]), len(content))))
        files[file] += content
    for name, content in files.items():
        (folder / name).write_bytes(content)
    root = metadata(
        state_dict_metadata={"w": stored(tuple(shape), boxes)}, storage_data=Pairs(places)
    )
    (folder / ".metadata").write_bytes(pickled(root))
    (info,) = checkpoint = paramcli.open(folder)
    expected = torch_objects.raw_bytes(whole)
    assert checkpoint.read(info.storage) == expected
    start = data.draw(st.integers(0, len(expected)))
    part = memoryview(bytearray(data.draw(st.integers(0, len(expected) - start))))
    checkpoint.fill(info.storage, start, part)
    assert part == expected[start : start + len(part)]


def _inverse(order: Sequence[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


@pytest.mark.parametrize("planner", [None, {"w": ()}, {"w": "x"}, {"w": (None,)}, {3: 4}, [1]])
def test_planner_data_is_only_a_help(planner: object, tmp_path: Path) -> None:
    found = {"w": stored((0,), [])}
    root = metadata(state_dict_metadata=found, planner_data=planner)
    assert [info.name for info in opened(tmp_path, root)] == ["w"]


def test_metadata_that_is_a_fifo_or_a_directory(tmp_path: Path) -> None:
    (tmp_path / ".metadata").mkdir()
    with pytest.raises(SourceError, match="not a regular file"):
        paramcli.open(tmp_path)


def test_missing_values(tmp_path: Path) -> None:
    """A chunk whose file no longer holds it is found when it is read, not before."""
    write_dcp(tmp_path / "dcp")
    checkpoint = paramcli.open(tmp_path / "dcp")
    data = tmp_path / "dcp" / "__0_0.distcp"
    data.write_bytes(bytes(data.stat().st_size))
    with pytest.raises(SourceError):
        checkpoint.read(checkpoint["w"].storage)
