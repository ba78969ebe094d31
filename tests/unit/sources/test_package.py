"""Archives of torch.package list the tensors of their pickles, and none of their code runs."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.package.package_exporter import PackageExporter
from torch.package.package_importer import PackageImporter

from tests import torch_objects
from tests.handmade import Name, Persistent, pickled, tensor, zipped
from tests.sample_files import files, packaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]


def test_agrees_with_torch(opened: Open) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    state = {"w": weight, "turned": weight.T, "b": torch.ones(2, dtype=torch.bfloat16)}
    checkpoint = opened(packaged({"nets/state.pkl": state}))
    assert checkpoint.key == "nets/state"
    with open(checkpoint.origin, "rb") as file:
        loaded = PackageImporter(file).load_pickle("nets", "state.pkl")
    ours, sharing = torch_objects.listed(checkpoint.entries)
    theirs, expected = torch_objects.described(list(loaded.items()))
    assert (ours, sharing) == (theirs, expected)
    for info, content in torch_objects.stored_bytes(checkpoint):
        assert content == torch_objects.raw_bytes(loaded[info.name])


def test_a_module_by_a_name_without_ending(opened: Open) -> None:
    """As the packages of Silero's models have it."""
    checkpoint = opened(packaged({"tts_models/model": nn.Linear(2, 3)}))
    assert [(info.name, info.kind) for info in checkpoint] == [
        ("weight", "parameter"), ("bias", "parameter"),
    ]  # fmt: skip
    assert checkpoint.pickle is not None
    assert "torch.nn.modules.linear.Linear" in checkpoint.pickle.inert
    assert "torch.package" in checkpoint.pickle.refused


def test_pickles_share_storages(opened: Open) -> None:
    weight = torch.zeros(3)
    checkpoint = opened(packaged({"a/x.pkl": {"w": weight}, "b/y.pkl": {"w": weight[1:]}}))
    assert [info.name for info in checkpoint] == ["a/x.w", "b/y.w"]
    assert [group.relation for group in checkpoint.groups()] == ["overlap"]


def test_text_and_code_are_left_alone(opened: Open) -> None:
    buffer = BytesIO()
    with warnings.catch_warnings(), PackageExporter(buffer) as exporter:
        warnings.simplefilter("ignore")
        exporter.save_source_string("mine", "import os\nos.abort()\n")
        exporter.save_text("data", "notes.txt", "hello")
        exporter.save_pickle("data", "w.pkl", {"w": torch.ones(2)})
    assert [info.name for info in opened(buffer.getvalue())] == ["w"]


def archive(**pickles: bytes) -> bytes:
    return zipped(
        {
            "net/.data/extern_modules": b"torch",
            "net/.data/0.storage": bytes(24),
            **{f"net/{name}.pkl": content for name, content in pickles.items()},
        }
    )


def test_what_rebuilds_itself_stays_a_record(opened: Open) -> None:
    """TorchScript modules are functions of the package's own to call: nothing calls them."""
    identity = Persistent(("reduce_package", 7, Name("os.abort"), ()))
    checkpoint = opened(archive(net=pickled({"w": tensor(), "script": identity})))
    assert [info.name for info in checkpoint] == ["w"]
    assert checkpoint.pickle is not None
    assert "os.abort" in checkpoint.pickle.inert


@pytest.mark.parametrize(
    "identity",
    [
        (), ("storage",), ("reduce_package",), ("reduce_package", 1), ("storage", 1, 2),
        ("storage", Name("torch.FloatStorage"), 1.5, "cpu", 6),
        ("storage", Name("torch.FloatStorage"), "1", "cpu", 6),
        ("storage", Name("torch.FloatStorage"), "0", "cpu", 7),
        ("other", Name("torch.FloatStorage"), "0", "cpu", 6), "x", 3,
    ],
)  # fmt: skip
def test_other_ids(identity: object, refused: Refuse) -> None:
    assert refused(archive(net=pickled({"w": tensor(Persistent(identity))})))


def test_code_alone(refused: Refuse) -> None:
    content = zipped({"net/.data/extern_modules": b"", "net/mine.py": b"\x80\x02N."})
    assert "no pickles" in refused(content)


def test_the_sample_is_one(opened: Open) -> None:
    assert [info.name for info in opened(files()["package"])]
