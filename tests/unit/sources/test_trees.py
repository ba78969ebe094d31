"""Which tree of a training checkpoint is listed, and under which names."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.ao.nn import quantized
from torch.ao.nn.quantized import dynamic as quantized_dynamic

import paramcli
from paramcli.checkpoint import Tree
from paramcli.errors import SourceError, UsageError
from paramcli.sources.pickles.nodes import Dict, Record, Set
from paramcli.sources.pickles.trees import flatten, is_module
from tests import torch_objects
from tests.handmade import Pairs, Raw, encode, tensor, torch_zip
from tests.sample_files import saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]


def weights(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names or ("fc.weight", "fc.bias")}


MODEL = weights()
OPTIMIZER = {
    "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2)}},
    "param_groups": [{"lr": 0.1, "params": [0, 1]}],
}
EMA = {"shadow": weights(), "decay": 0.99}

PICKED: dict[str, tuple[dict[str, object], str | None]] = {
    "a state dict": (dict(MODEL), None),
    "an ordered one": (OrderedDict(MODEL), None),
    "state_dict": ({"state_dict": MODEL, "optimizer": OPTIMIZER, "epoch": 3}, "state_dict"),
    "model": ({"model": MODEL, "optimizer": OPTIMIZER, "args": {"lr": 1}}, "model"),
    "model_state_dict": (
        {"epoch": 1, "model_state_dict": MODEL, "optimizer_state_dict": OPTIMIZER},
        "model_state_dict",
    ),
    "net": ({"net": MODEL, "acc": 0.9, "epoch": 3}, "net"),
    "params": ({"params": MODEL}, "params"),
    "params beside its average": ({"params": MODEL, "params_ema": MODEL}, "params"),
    "an average beside the model": ({"model": MODEL, "ema": EMA, "model_ema": MODEL}, "model"),
    "Lightning": (
        {
            "state_dict": MODEL, "optimizer_states": [OPTIMIZER], "lr_schedulers": [{}],
            "hyper_parameters": {"lr": 1}, "callbacks": {"x": {"best": torch.tensor(1.0)}},
            "loops": {}, "epoch": 1, "global_step": 2,
        },
        "state_dict",
    ),
    "a model within a model": (
        {"model": {"state_dict": MODEL}, "optimizer": OPTIMIZER}, "model.state_dict",
    ),
    "another name, all alone": ({"backbone": MODEL, "epoch": 1}, "backbone"),
    "another name beside an optimizer": ({"encoder": MODEL, "optim": OPTIMIZER}, "encoder"),
    "an average all alone": ({"params_ema": MODEL, "epoch": 1}, "params_ema"),
    "an average and optimizers": ({"ema": MODEL, "optG": OPTIMIZER, "opt_d": OPTIMIZER}, "ema"),
    "random states": (
        {"model": MODEL, "rng_state": torch.zeros(9), "cuda_rng_state": [torch.zeros(9)]}, "model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKED)
def test_what_is_picked(case: str, opened: Open) -> None:
    obj, key = PICKED[case]
    checkpoint = opened(saved(obj))
    assert checkpoint.key == key
    assert [info.name for info in checkpoint] == list(MODEL)
    if key is None:
        assert not checkpoint.notes
    else:
        (note,) = checkpoint.notes
        assert f"picked {key!r}" in note
        others = [tree for tree in checkpoint.trees if tree.path != key.partition(".")[0]]
        assert ("also here" in note) == bool(others)
        for tree in others:
            assert f"{tree.path} ({tree.tensors})" in note


AMBIGUOUS: dict[str, dict[str, object]] = {
    "a GAN": {"generator": MODEL, "discriminator": weights("d.weight")},
    "a GAN and its optimizers": {"G": MODEL, "D": MODEL, "optG": OPTIMIZER, "optim_D": OPTIMIZER},
    "encoder and decoder": {"encoder": MODEL, "decoder": MODEL, "epoch": 3},
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_not_clear_is_listed_whole(case: str, opened: Open) -> None:
    obj = AMBIGUOUS[case]
    checkpoint = opened(saved(obj))
    assert checkpoint.key is None
    everything = opened(saved(obj), everything=True)
    assert checkpoint.entries == everything.entries
    assert {tree.path for tree in checkpoint.trees} == {
        name for name, child in obj.items() if isinstance(child, dict)
    }
    if "optim_D" in obj:
        assert "--key" in checkpoint.notes[0]


def test_weights_and_other_things_side_by_side(opened: Open) -> None:
    """A tensor at the top is part of the model, so all of it is."""
    obj = {**MODEL, "blocks": weights("a"), "epoch": 3}
    checkpoint = opened(saved(obj))
    assert checkpoint.key is None
    assert [info.name for info in checkpoint] == ["fc.weight", "fc.bias", "blocks.a"]
    assert checkpoint.values == (("epoch", 3),)


def test_tuples_in_a_state_dict_are_no_trees(opened: Open) -> None:
    """Quantized layers put weight and bias into one entry."""
    obj = {"scale": torch.ones(()), "a": (torch.zeros(2), None), "b": (torch.zeros(3), None)}
    checkpoint = opened(saved(obj))
    assert (checkpoint.key, checkpoint.notes) == (None, ())
    assert [info.name for info in checkpoint] == ["scale", "a.0", "b.0"]


def test_a_state_dict_named_like_a_trainer(opened: Open) -> None:
    """A model may have a layer called `model`, or `net`."""
    for name in ("model", "net", "module", "optimizer"):
        state = {f"{name}.weight": torch.zeros(2), "bias": torch.zeros(2)}
        checkpoint = opened(saved(state))
        assert checkpoint.key is None
        assert [info.name for info in checkpoint] == list(state)


def test_module_is_never_taken_apart(opened: Open) -> None:
    """A whole pickled module is one tree, even where a child of its is called `model`."""
    net = nn.Module()
    net.model = nn.Linear(2, 2)
    net.head = nn.Linear(2, 2)
    checkpoint = opened(saved(net))
    assert checkpoint.key is None
    assert [info.name for info in checkpoint] == list(net.state_dict())
    assert not checkpoint.notes


# --- --key and --all -----------------------------------------------------------------------------

TRAINER = {"model": MODEL, "optimizer": OPTIMIZER, "a.b": {"c.d": weights("x")}, "a": {"y": MODEL}}


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("model", ["fc.weight", "fc.bias"]),
        ("optimizer", ["state.0.step", "state.0.exp_avg"]),
        ("optimizer.state", ["0.step", "0.exp_avg"]),
        ("optimizer.state.0", ["step", "exp_avg"]),
        ("a.b", ["c.d.x"]),
        ("a.b.c.d", ["x"]),
        ("a", ["y.fc.weight", "y.fc.bias"]),
        ("a.y", ["fc.weight", "fc.bias"]),
        ("optimizer.param_groups", []),
    ],
)
def test_key(key: str, names: list[str], opened: Open) -> None:
    """Names on the way may hold dots themselves, and be numbers."""
    checkpoint = opened(saved(TRAINER), key=key)
    assert checkpoint.key == key
    assert [info.name for info in checkpoint] == names


@pytest.mark.parametrize("key", ["modle", "model.x", "optimizer.state.1", ".", ".model"])
def test_key_that_is_not_there(key: str, opened: Open) -> None:
    with pytest.raises(UsageError, match="no tree") as caught:
        opened(saved(TRAINER), key=key)
    assert "model" in str(caught.value.hint)


def test_key_in_a_file_of_one_tree(opened: Open) -> None:
    with pytest.raises(UsageError) as caught:
        opened(saved(MODEL), key="model")
    assert caught.value.hint


def test_key_of_a_tensor(opened: Open) -> None:
    """A name is no tree, but it is not nothing either."""
    (info,) = opened(saved(TRAINER), key="model.fc.weight")
    assert info.shape == (2,)


def test_everything(opened: Open) -> None:
    checkpoint = opened(saved({**TRAINER, "epoch": 3}), everything=True)
    assert checkpoint.key is None
    assert [info.name for info in checkpoint] == [
        "model.fc.weight", "model.fc.bias", "optimizer.state.0.step", "optimizer.state.0.exp_avg",
        "a.b.c.d.x", "a.y.fc.weight", "a.y.fc.bias",
    ]  # fmt: skip
    assert checkpoint.trees == (
        Tree("model", 2), Tree("optimizer", 2), Tree("a.b", 1), Tree("a", 2),
    )  # fmt: skip
    assert not checkpoint.notes
    assert ("epoch", 3) in checkpoint.values


def test_values(opened: Open) -> None:
    obj = {"model": MODEL, "epoch": 3, "lr": 0.5, "best": None, "name": "x", "list": [1, 2]}
    assert opened(saved(obj)).values == (
        ("epoch", 3), ("lr", 0.5), ("best", None), ("name", "x"), ("list", [1, 2]),
    )  # fmt: skip


# --- names ---------------------------------------------------------------------------------------


def test_keys_of_every_kind(opened: Open) -> None:
    pairs = [
        ("text", "text"), (1, "1"), (-7, "-7"), (None, "None"), (True, "True"), (1.5, "1.5"),
        (Raw(b"C\1x"), "x"), ("", ""), ("a.b", "a.b"), (1 << 2_000, hex(1 << 2_000)),
    ]  # fmt: skip
    root = Pairs([(key, tensor()) for key, _ in pairs])
    checkpoint = opened(torch_zip(root), everything=True)
    assert [info.name for info in checkpoint] == [name for _, name in pairs]


def test_names_that_come_out_equal(opened: Open) -> None:
    root = Pairs([(1, tensor()), ("1", tensor()), ("a.b", tensor()), ("a", {"b": tensor()})])
    checkpoint = opened(torch_zip(root), everything=True)
    assert [info.name for info in checkpoint] == ["1", "1#2", "a.b", "a.b#2"]


def test_numbered_names_meet_no_other(opened: Open) -> None:
    """A name that looks as if it had been numbered is a name like any other."""
    root = Pairs([("1#2", tensor()), (1, tensor()), ("1", tensor()), ("1#2#2", tensor())])
    names = [info.name for info in opened(torch_zip(root), everything=True)]
    assert len(set(names)) == 4


def test_last_of_equal_keys_counts(opened: Open) -> None:
    """So it does in Python, in the place of the first."""
    root = Pairs(
        [("a", tensor(None, (1,), (1,))), ("b", tensor()), ("a", tensor(None, (5,), (1,)))]
    )
    checkpoint = opened(torch_zip(root))
    assert [(info.name, info.shape) for info in checkpoint] == [("a", (5,)), ("b", (2, 3))]


# --- walking -------------------------------------------------------------------------------------

leaf = st.none() | st.integers() | st.text(max_size=2)
nodes: st.SearchStrategy[object] = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(Set)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(
            lambda pairs: Dict([part for pair in pairs.items() for part in pair])
        )
    ),
    max_leaves=10,
)  # fmt: skip


def walked(node: object, path: tuple[str, ...] = ()) -> list[tuple[str, object]]:
    """Walk the same tree by recursion; a list of plain values is one value."""
    match node:
        case list() | tuple() if path and not any(
            isinstance(i, (list, tuple, Dict, Set)) for i in node
        ):
            return [(".".join(path), node)]
        case list() | tuple():
            children = [(str(index), child) for index, child in enumerate(node)]
        case Set(items=items):
            children = [(str(index), child) for index, child in enumerate(items)]
        case Dict(pairs=pairs):
            children = list(zip(pairs[::2], pairs[1::2], strict=True))  # type: ignore[arg-type]
        case _:
            return [(".".join(path), node)] if path else []
    return [found for name, child in children for found in walked(child, (*path, name))]


@given(node=nodes)
def test_values_are_those_of_a_plain_walk(node: object) -> None:
    assert list(flatten(node, "file")[1]) == walked(node)


def test_circles_end(opened: Open) -> None:
    """A dictionary in itself is left out where it comes round again."""
    root = Raw(b"}q\x05(" + encode("w") + encode(tensor()) + encode("me") + b"h\x05u")
    assert [info.name for info in opened(torch_zip(root), everything=True)] == ["w"]


def test_what_stands_twice_is_listed_twice(opened: Open) -> None:
    shared = weights("w")
    checkpoint = opened(saved({"a": shared, "b": shared}), everything=True)
    assert [info.name for info in checkpoint] == ["a.w", "b.w"]
    assert [group.names for group in checkpoint.groups()] == [("a.w", "b.w")]


def test_modules_are_known_by_their_state() -> None:
    record = Record(None, ())
    assert not is_module(record)
    record.state = Dict(["_parameters", Dict([]), "_modules", Dict([])])
    assert is_module(record)
    record.state = (record.state, None)
    assert is_module(record)
    assert not is_module(record.state)


def quantized_net() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = nn.Sequential(
            quantized.Quantize(0.1, 0, torch.quint8),  # type: ignore[no-untyped-call]
            quantized.Conv2d(3, 4, 3),  # type: ignore[no-untyped-call]
            quantized.Linear(4, 2),  # type: ignore[no-untyped-call]
            quantized_dynamic.Linear(2, 2),  # type: ignore[no-untyped-call]
        )
        return nn.Sequential(made, quantized_dynamic.LSTM(2, 2))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("zipped", [True, False])
def test_quantized_modules(opened: Open, *, zipped: bool) -> None:
    """Their weights are packed: in tuples of the state dict, in other states of the module."""
    net = quantized_net()
    state = dict(torch_objects.leaves(net.state_dict()))
    packed = "1._all_weight_values.0.param"  # torch itself cannot look into this one
    listed = {
        info.name: info for info in opened(saved(net.state_dict(), zipped=zipped))
        if not info.name.startswith(packed)
    }  # fmt: skip
    assert listed.keys() == state.keys()
    whole = {info.name: info for info in opened(saved(net, zipped=zipped))}
    shapes = [info.shape for name, info in whole.items() if name.startswith(packed)]
    assert sorted(shapes) == [(8,), (8,), (8,), (8,), (8, 2), (8, 2)]
    # What are numbers in a module are tensors in its state dict.
    numbers = {f"0.{at}.{what}" for at in "123" for what in ("scale", "zero_point")}
    assert {name for name in whole if not name.startswith(packed)} == state.keys() - numbers
    for name, value in state.items():
        for found in (listed.get(name), whole.get(name)):
            assert found is None or found.shape == tuple(value.shape)
            assert found is None or f"torch.{found.dtype.name}" == str(value.dtype)


def test_states_that_are_tuples(opened: Open) -> None:
    """An object of a lost class may keep its tensors in a tuple."""
    root = Raw(b"cgone\nRunning\n)\x81" + encode((tensor(), 3, None)) + b"b")
    checkpoint = opened(torch_zip({"w": tensor(), "norm": root}), everything=True)
    assert [info.name for info in checkpoint] == ["w", "norm.0"]


def test_a_file_of_one_tensor(opened: Open) -> None:
    (info,) = opened(saved(torch.zeros(3)))
    assert (info.name, info.shape) == ("", (3,))


@pytest.mark.parametrize("obj", [{}, [], None, {"epoch": 3}, "text", {"model": {}}])
def test_files_without_tensors(obj: object, opened: Open) -> None:
    for everything in (False, True):
        checkpoint = opened(saved(obj), everything=everything)
        assert len(checkpoint) == 0
        assert checkpoint.trees == ()


def test_refusal_names_the_file(tmp_path: object, refused: Refuse) -> None:
    assert str(tmp_path) in refused(b"x")


def test_open_takes_paths() -> None:
    with pytest.raises((SourceError, UsageError)):
        paramcli.open("no such file at all")
