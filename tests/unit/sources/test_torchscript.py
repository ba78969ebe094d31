"""TorchScript archives list what the module's own state dict would."""

from __future__ import annotations

import json
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.ao.nn import quantized

from tests import torch_objects
from tests.handmade import torch_zip, zipped
from tests.sample_files import Scripted, files, old_script, saved, scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]


class Tied(nn.Module):
    """One layer under two names, a layer frozen, a parameter that is absent."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = self.first
        self.third = nn.Linear(2, 2, bias=False)
        self.third.weight = self.first.weight
        self.third.weight.requires_grad_(False)  # noqa: FBT003 - torch's own way

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.third(self.second(self.first(batch)))
        return out


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(2, 3),
    "buffers": Scripted,
    "tied": Tied,
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()), nn.Linear(2, 2)
    ),
    "list": lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(12))),
    "half": lambda: nn.Linear(2, 3).bfloat16(),
    "nothing": nn.ReLU,
}


def traced(module: nn.Module) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dtype = next((p.dtype for p in module.parameters()), torch.float32)
        example = torch.zeros(3, 2, dtype=dtype)
        module = torch.jit.trace(module.eval(), example)  # type: ignore[no-untyped-call]
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def loaded(path: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(path)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("write", [scripted, traced])
@pytest.mark.parametrize("name", MODULES)
def test_agrees_with_torch(name: str, write: Callable[[nn.Module], bytes], opened: Open) -> None:
    checkpoint = opened(write(MODULES[name]()))
    module = loaded(checkpoint.origin)
    state = module.state_dict(keep_vars=True)
    ours, sharing = torch_objects.listed(checkpoint.entries)
    theirs, expected = torch_objects.described(list(state.items()))
    assert [fact._replace(kind="") for fact in ours] == [fact._replace(kind="") for fact in theirs]
    assert sharing == expected
    parameters = {id(parameter) for parameter in module.parameters()}
    kinds = ["parameter" if id(tensor) in parameters else "buffer" for tensor in state.values()]
    assert [info.kind for info in checkpoint] == kinds
    for info, content in torch_objects.stored_bytes(checkpoint):
        assert content == torch_objects.raw_bytes(state[info.name])


def test_says_what_it_is(opened: Open) -> None:
    checkpoint = opened(scripted(Scripted()))
    assert checkpoint.format == "torchscript"
    assert [info.name for info in checkpoint] == ["mean", "inner.weight", "inner.bias"] or [
        info.name for info in checkpoint
    ] == list(loaded(checkpoint.origin).state_dict())
    assert "loose" not in [info.name for info in checkpoint]
    assert checkpoint.pickle is not None
    assert "TorchScript" in checkpoint.pickle.refused
    assert checkpoint.notes == ("1 attribute holds tensors that are not in its state dict: loose",)


def test_packed_weights_are_told_of(opened: Open) -> None:
    """A scripted quantized module keeps most of its weights where no state dict sees them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(
            quantized.Quantize(0.1, 0, torch.quint8),  # type: ignore[no-untyped-call]
            quantized.Conv2d(3, 4, 3),  # type: ignore[no-untyped-call]
            quantized.Linear(4, 2),  # type: ignore[no-untyped-call]
            quantized.Linear(2, 2),  # type: ignore[no-untyped-call]
        )
        checkpoint = opened(scripted(module))
        assert [info.name for info in checkpoint] == list(loaded(checkpoint.origin).state_dict())
    (note,) = checkpoint.notes
    assert note.startswith("3 attributes hold tensors that are not in its state dict: ")
    assert set(note.rpartition(": ")[2].split(", ")) == {"Conv2d", "_packed_params"}


def changed(content: bytes, ending: str, old: bytes, new: bytes) -> bytes:
    """Replace some text in the entries of an archive that end so."""
    entries = {}
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            entries[name] = data.replace(old, new) if name.endswith(ending) else data
    assert zipped(entries) != content
    return zipped(entries)


def test_old_code_lists_parameters_alone(opened: Open) -> None:
    """Before PyTorch 1.5 no buffers were listed: any other tensor attribute is one."""
    made = changed(files()["script"], ".py", b'  __buffers__ = ["mean", ]\n', b"")
    made = changed(made, ".py", b"  __buffers__ = []\n", b"")
    kinds = {info.name: info.kind for info in opened(made)}
    assert kinds == {
        "inner.weight": "parameter", "inner.bias": "parameter", "mean": "buffer", "loose": "buffer",
    }  # fmt: skip


def test_code_is_text_and_stays_text(opened: Open) -> None:
    made = changed(files()["script"], ".py", b"class ", b"import os; os.abort()\nclass ")
    assert len(opened(made)) == 3


def test_without_code_nothing_is_a_module(opened: Open) -> None:
    """The tensors are there all the same, as a record's attributes."""
    made = torch_zip(saved_pickle(), {}, **{"constants.pkl": b"\x80\x02)."})
    assert opened(made).format == "torchscript"


def saved_pickle() -> bytes:
    with zipfile.ZipFile(BytesIO(saved({"epoch": 1}))) as archive:
        return archive.read("archive/data.pkl")


# --- PyTorch 1.0 to 1.3 --------------------------------------------------------------------------


def test_old_archive(opened: Open) -> None:
    checkpoint = opened(old_script())
    assert checkpoint.format == "torchscript"
    assert [tuple(info[:5]) for info in checkpoint] == [
        ("mean", ("int64", 64), (3,), (1,), 0),
        ("fc.weight", ("float32", 32), (2, 3), (3, 1), 0),
    ]
    assert [info.kind for info in checkpoint] == ["buffer", "parameter"]
    place = checkpoint.locate(checkpoint["mean"].storage)
    assert place is not None
    assert Path(place.file).read_bytes()[place.offset :][:24] == bytes(24)


def old(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Make an old archive whose JSON was changed."""
    with zipfile.ZipFile(BytesIO(old_script())) as archive:
        model = json.loads(archive.read("net/model.json"))
        rest = {name: archive.read(name) for name in archive.namelist()}
    change(model)
    return zipped(rest | {"net/model.json": json.dumps(model).encode()})


def test_old_archive_shares_by_key(opened: Open) -> None:
    def tie(model: dict[str, Any]) -> None:
        model["mainModule"]["parameters"].append({"name": "again", "tensorId": "0"})

    checkpoint = opened(old(tie))
    assert [group.names for group in checkpoint.groups()] == [("again", "fc.weight")]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.clear(),
        lambda model: model.update(mainModule=[]),
        lambda model: model.update(mainModule={"parameters": [{"name": "x"}]}),
        lambda model: model.update(mainModule={"parameters": [{"name": "x", "tensorId": "9"}]}),
        lambda model: model.update(mainModule={"parameters": [{"name": "x", "tensorId": 1e999}]}),
        lambda model: model.update(mainModule={"parameters": 3}),
        lambda model: model.update(mainModule={"submodules": [{}]}),
        lambda model: model.update(tensors=3),
        lambda model: model.update(tensors=[[]]),
        lambda model: model["tensors"][0].update(dims=["3", "3"]),
        lambda model: model["tensors"][0].update(dims=["2"]),
        lambda model: model["tensors"][0].update(dims=[1e999]),
        lambda model: model["tensors"][0].update(offset="1"),
        lambda model: model["tensors"][0].update(offset="x"),
        lambda model: model["tensors"][0].update(dims=["-1", "1"]),
        lambda model: model["tensors"][0].update(dataType="STRING"),
        lambda model: model["tensors"][0].update(data={"key": "tensors/9"}),
        lambda model: model["tensors"][0].update(data={}),
    ],
)
def test_old_archive_damaged(change: Callable[[dict[str, Any]], object], refused: Refuse) -> None:
    assert "model.json" in refused(old(change))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_old_archive_of_no_model(text: bytes, refused: Refuse) -> None:
    assert refused(zipped({"net/model.json": text}))
