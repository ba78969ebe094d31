"""What a pickle asked for, and what torch's own weights-only unpickler says to it."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from paramcli.sources.pickles.machine import Machine
from paramcli.sources.pickles.safety import judge
from tests.handmade import Call, Name, pickled, storage, tensor, torch_zip
from tests.sample_files import files, saved
from tests.torch_objects import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint, Pickle

    Open = Callable[..., Checkpoint]


def judged(*roots: object, protocol: int = 2, refused: str = "") -> Pickle:
    machines = []
    for root in roots:
        data = pickled(root)
        machines.append(Machine(data[:1] + bytes([protocol]) + data[2:], "file"))
        machines[-1].run()
    return judge(*machines, refused=refused)


def test_known_and_unknown() -> None:
    found = judged([Name("os.system"), Name("collections.OrderedDict"), Name("os.system")])
    assert found.understood == ("collections.OrderedDict",)
    assert found.inert == ("os.system",)
    assert found.refused == "os.system not on its list"


def test_several_refusals_are_counted() -> None:
    found = judged(Name("a.b"), [Name("c.d"), Name("a.b")])
    assert found.inert == ("a.b", "c.d")
    assert found.refused == "a.b and 1 more not on its list"


def test_understood_and_yet_refused() -> None:
    found = judged(Call("builtins.list", ([],)))
    assert found.understood == ("builtins.list",)
    assert not found.inert
    assert found.refused


@pytest.mark.parametrize(("protocol", "name"), [(1, "INT"), (4, "SHORT_BINUNICODE")])
def test_opcodes_are_called_by_their_names(protocol: int, name: str, opened: Open) -> None:
    pickle = opened(saved({"w": torch.zeros(1), "on": True, "name": "x"}, protocol=protocol)).pickle
    assert pickle is not None
    said = "0 or 1" if protocol < 2 else protocol
    assert pickle.refused == f"opcode {name} of pickle protocol {said} is not one it follows"


def test_a_reason_that_holds_anyway() -> None:
    assert judged(1, refused="it is a tar file").refused == "it is a tar file"


def test_no_reason() -> None:
    assert judged({"a": Call("collections.OrderedDict")}).refused == ""


OBJECTS: dict[str, Callable[[], object]] = {
    "state dict": lambda: nn.Linear(2, 2).state_dict(),
    "module": lambda: nn.Linear(2, 2),
    "optimizer": lambda: torch.optim.Adam([torch.zeros(1)]).state_dict(),
    "namespace": lambda: {"args": Namespace(lr=1), "w": torch.zeros(1)},
    "set": lambda: {"w": torch.zeros(1), "set": {1, 2}},
    "slice": lambda: slice(1),
    "dtype": lambda: {
        "dtype": torch.float32,
        "size": torch.Size([1]),
        "device": torch.device("cpu"),
    },
    "layout": lambda: torch.strided,
    "function": lambda: torch.add,
    "numbers": lambda: [1, 1 << 100, 1.5, 1j, True, None, b"", b"x", "x"],
    "bytes": lambda: b"x",
    "complex": lambda: 1j,
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_agrees_with_torch(name: str, zipped: bool, opened: Open) -> None:  # noqa: FBT001
    checkpoint = opened(saved(OBJECTS[name](), zipped=zipped))
    assert checkpoint.pickle is not None
    assert bool(checkpoint.pickle.refused) is torch_refuses(checkpoint.origin)


@pytest.mark.parametrize(
    "name", ["zip", "legacy", "script", "tar", "bundle", "old script", "export", "package"]
)
def test_agrees_with_torch_on_formats(name: str, opened: Open) -> None:
    checkpoint = opened(files()[name])
    assert checkpoint.pickle is not None
    assert bool(checkpoint.pickle.refused) is torch_refuses(checkpoint.origin)


@pytest.mark.parametrize(
    "root",
    [
        tensor(),
        tensor(storage(cls="torch.storage.UntypedStorage", numel=24), (24,), (1,)),
        Call("torch.nn.parameter.Parameter", (tensor(), True)),
        Call("collections.Counter", ({"a": 1},)),
        Call("builtins.list", ([],)),
        Call("builtins.bytearray", ()),
        Call("_codecs.encode", ("x", "latin1")),
        Name("torch.float8_e5m2"),
    ],
)
def test_agrees_with_torch_on_calls(root: object, opened: Open) -> None:
    checkpoint = opened(torch_zip(root), everything=True)
    assert checkpoint.pickle is not None
    assert bool(checkpoint.pickle.refused) is torch_refuses(checkpoint.origin)


def torch_refuses(path: str) -> bool:
    try:
        load(path, weights_only=True)
    except Exception:  # noqa: BLE001 - any refusal counts
        return True
    return False
