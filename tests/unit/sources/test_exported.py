"""Archives of torch.export list the state dicts of their programs."""

from __future__ import annotations

import json
import warnings
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch._export.serde import schema
from torch.export.pt2_archive._package import package_pt2

from paramcli.sources.exported import _DTYPES
from paramcli.tensors import DTYPES
from tests import torch_objects
from tests.handmade import payload, torch_export, zipped
from tests.sample_files import exported, files, saved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]


class Model(nn.Module):
    """A tie, a transposed view, buffers that persist and one that does not, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(5)
        self.turned = nn.Parameter(torch.arange(15.0).reshape(3, 5).T)
        self.narrow = nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
        self.register_buffer("scale", torch.full((5,), 2.0), persistent=False)
        self.loose = torch.arange(5.0)

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(self.head(self.embed(index))) * self.scale + self.loose
        return out @ self.turned + self.narrow.float().sum()


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(Model().eval(), (torch.tensor([1, 2, 3]),))


def compared(checkpoint: Checkpoint, state: dict[str, torch.Tensor]) -> None:
    """Hold what is listed, and its bytes, against what torch says of the same tensors."""
    ours, sharing = torch_objects.listed(checkpoint.entries)
    theirs, expected = torch_objects.described(list(state.items()))
    assert [fact._replace(kind="") for fact in ours] == [fact._replace(kind="") for fact in theirs]
    assert sharing == expected
    for info, content in torch_objects.stored_bytes(checkpoint):
        assert content == torch_objects.raw_bytes(state[info.name])


def test_agrees_with_torch(program: torch.export.ExportedProgram, opened: Open) -> None:
    checkpoint = opened(exported(program))
    loaded = torch.export.load(checkpoint.origin)
    assert checkpoint.key == "state_dict"
    compared(checkpoint, loaded.state_dict)
    kinds = {info.name: info.kind for info in checkpoint}
    assert kinds["norm.running_mean"] == "buffer"
    assert kinds["turned"] == "parameter"
    assert [group.names for group in checkpoint.groups()] == [("embed.weight", "head.weight")]


def test_constants_are_a_tree_of_their_own(
    program: torch.export.ExportedProgram, opened: Open
) -> None:
    content = exported(program)
    assert "constants (2)" in opened(content).notes[0]
    checkpoint = opened(content, key="constants")
    compared(checkpoint, torch.export.load(checkpoint.origin).constants)


def test_says_what_it_is(program: torch.export.ExportedProgram, opened: Open) -> None:
    checkpoint = opened(exported(program))
    assert (checkpoint.format, checkpoint.producer) == ("torch-zip", "torch.export.save")
    assert checkpoint.pickle is not None
    assert "torch.export" in checkpoint.pickle.refused


def test_several_programs(program: torch.export.ExportedProgram, opened: Open) -> None:
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package_pt2(buffer, exported_programs={"one": program, "two": program})
    checkpoint = opened(buffer.getvalue(), key="two.state_dict")
    compared(checkpoint, dict(program.state_dict))
    assert [tree.path for tree in checkpoint.trees] == ["one", "two"]


def test_all_element_types_of_torch() -> None:
    """Each number of torch's own table is one of ours, by the name that torch gives it."""
    for number, name in schema.SCALAR_TYPE_TO_C10.items():
        assert _DTYPES[int(number)] in DTYPES
        aliases = {"Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32",
                   "Long": "int64", "Half": "float16", "Float": "float32", "Double": "float64",
                   "ComplexHalf": "complex32", "ComplexFloat": "complex64",
                   "ComplexDouble": "complex128"}  # fmt: skip
        assert _DTYPES[int(number)] == aliases.get(name, name.lower())


# --- archives made by hand -----------------------------------------------------------------------


def archive(
    weights: object = None,
    entries: Mapping[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    config = {"config": {"w": payload()}} if weights is None else weights
    first = {"weights/weight_0": torch.arange(6.0).numpy().tobytes()}
    return torch_export(config, first | dict(entries or {}), compression=compression)


def test_by_hand(opened: Open) -> None:
    checkpoint = opened(archive())
    (info,) = checkpoint
    assert (info.name, info.shape, info.stride, info.kind) == ("w", (2, 3), (3, 1), "parameter")
    assert checkpoint.key is None
    assert checkpoint.checksum(info.storage) is not None


def test_compressed(opened: Open) -> None:
    checkpoint = opened(archive(compression=zipfile.ZIP_DEFLATED))
    (info,) = checkpoint
    assert checkpoint.locate(info.storage) is None
    assert checkpoint.read(info.storage) == torch.arange(6.0).numpy().tobytes()


def test_a_weight_that_is_a_file_of_its_own(opened: Open) -> None:
    """Tensor subclasses are files of torch.save inside the archive."""
    inner = torch.full((2, 2), 3.0)
    config = {"config": {"a": payload(), "b": payload(path_name="weight_1", use_pickle=True)}}
    checkpoint = opened(archive(config, {"weights/weight_1": saved(nn.Parameter(inner))}))
    assert [info.name for info in checkpoint] == ["a", "b"]
    assert checkpoint.read(checkpoint["b"].storage) == inner.numpy().tobytes()
    assert checkpoint.read(checkpoint["a"].storage) == torch.arange(6.0).numpy().tobytes()
    assert checkpoint.pickle is not None
    assert "torch._utils._rebuild_parameter" in checkpoint.pickle.understood


@pytest.mark.parametrize("zipped_inside", [True, False])
def test_weights_in_one_file_as_before_pytorch_2_8(zipped_inside: bool, opened: Open) -> None:  # noqa: FBT001
    state = {"w": torch.ones(2, 2), "b": torch.zeros(2)}
    content = zipped(
        {
            "net/archive_format": b"pt2",
            "net/data/weights/model.pt": saved(state, zipped=zipped_inside),
            "net/data/constants/model.pt": saved({}),
        }
    )
    checkpoint = opened(content)
    compared(checkpoint, state)


def test_without_values(opened: Open) -> None:
    """A program of fake tensors has weights of no bytes: torch reads zeros where none are."""
    checkpoint = opened(archive(None, {"weights/weight_0": b""}))
    (info,) = checkpoint
    assert (info.layout, info.shape, info.storage.file) == ("meta", (2, 3), "")


def test_empty_tensor(opened: Open) -> None:
    nothing = payload(sizes=[{"as_int": 0}], strides=[{"as_int": 1}])
    (info,) = opened(archive({"config": {"w": nothing}}, {"weights/weight_0": b""}))
    assert (info.layout, info.shape) == ("strided", (0,))


def test_objects_are_not_loaded(opened: Open) -> None:
    constants = {
        "config": {
            "packed": payload(path_name="custom_obj_0", use_pickle=True, tensor_meta=None),
            "opaque": payload(path_name="opaque_obj_0", use_pickle=True, tensor_meta=None),
        }
    }
    entries = {
        "constants/model_constants_config.json": json.dumps(constants).encode(),
        "constants/opaque_obj_0": b"cos\nabort\n)R.",
    }
    checkpoint = opened(archive(None, entries))
    assert [info.name for info in checkpoint] == ["w"]
    assert checkpoint.notes == ("not looked into, since they are no tensors: packed, opaque",)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "damaged"),
        ({}, "'config'"),
        ({"config": []}, "damaged"),
        ({"config": {"w": None}}, "damaged"),
        ({"config": {"w": payload(path_name="../weight_0")}}, "../weight_0"),
        ({"config": {"w": payload(path_name="weight_7")}}, "weight_7"),
        ({"config": {"w": payload(path_name=3)}}, "damaged"),
        ({"config": {"w": payload(dtype=99)}}, "99"),
        ({"config": {"w": payload(layout=1)}}, "layout"),
        ({"config": {"w": payload(sizes=[{"as_expr": {"expr_str": "s0"}}])}}, "as_int"),
        ({"config": {"w": payload(sizes=[{"as_int": -1}, {"as_int": 3}])}}, "damaged"),
        ({"config": {"w": payload(sizes=[{"as_int": 6}])}}, "rank"),
        ({"config": {"w": payload(storage_offset={"as_int": 1})}}, "past the end"),
        ({"config": {"w": payload(use_pickle=True)}}, "weight_0"),
    ],
)
def test_damaged(weights: object, words: str, refused: Refuse) -> None:
    assert words in refused(archive(weights))


def test_not_json(refused: Refuse) -> None:
    deep = b"[" * 200_000
    for content in (b"", b"{", b"\xff", deep):
        assert "damaged" in refused(archive(None, {"weights/model_weights_config.json": content}))


def test_a_file_of_no_tensor(refused: Refuse) -> None:
    config = {"config": {"w": payload(use_pickle=True)}}
    assert "no tensor" in refused(archive(config, {"weights/weight_0": saved({"a": 1})}))


def test_compiled_code_alone(refused: Refuse) -> None:
    content = zipped({"net/archive_format": b"pt2", "net/data/aotinductor/model/x.so": b"\x7fELF"})
    assert "no weights" in refused(content)


def test_the_sample_is_one(opened: Open) -> None:
    assert [info.name for info in opened(files()["export"])]
