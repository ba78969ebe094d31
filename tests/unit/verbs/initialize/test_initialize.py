"""Plans, the checkpoint that they make, and checks of files, through their public functions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

import paramcli
from paramcli.errors import ParamcliError, SourceError, UsageError
from paramcli.save import save
from paramcli.schemes.draws import DTYPES
from paramcli.schemes.recipe import compose
from paramcli.sources import Request, open_request
from paramcli.sources.module import open_buffers
from paramcli.verbs.initialize import (
    Measuring,
    initialized,
    make_plan,
    measure_drawn,
    on_device,
    overlay,
    recorded,
    report,
    verify,
    workers_for,
)

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint

FILES = Path(__file__).parents[4] / "sample_models" / "files"
LENET, GPT, SHARED = (
    f"sample_models.{name}" for name in ("lenet:LeNet", "tiny_gpt:TinyGPT", "shared_mlp:SharedMLP")
)


def made(target: str, scheme: str, dtype: str | None = None, seed: int = 0) -> Checkpoint:
    plan = make_plan(paramcli.open(target), compose(scheme), dtype=dtype, seed=seed)
    return initialized(plan, "0", lambda: open_buffers(Request(target)))


def written(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    save(checkpoint, path, workers=1)
    return paramcli.open(path)


# --- plans ---------------------------------------------------------------------------------------


def test_plan() -> None:
    plan = make_plan(paramcli.open(GPT), compose("gpt2"), seed=3)
    found = report(plan)
    rows = {one.info.name: one for one in found.tensors}
    assert list(rows) == [info.name for info in paramcli.open(GPT)]
    head, embed = rows["lm_head.weight"], rows["embed.weight"]
    assert head.first == "embed.weight"
    assert head.group == embed.group == "g1"
    assert (embed.role, embed.rule) == ("embedding", "@embedding=normal(std=0.02)")
    proj = rows["blocks.0.mlp.proj.weight"]
    assert (proj.fan_in, proj.fan_out) == (128, 32)
    assert proj.expected.std == pytest.approx(0.02 / 8**0.5)
    assert proj.actual is None
    assert not found.drawn
    assert found.seed == 3
    sizes = {info.storage: info.nbytes for info in paramcli.open(GPT)}
    assert found.bytes == sum(sizes.values())
    assert rows["mask"].scheme == "model"


def test_memory_of_what_is_made_as_a_whole() -> None:
    assert make_plan(paramcli.open(LENET), compose("kaiming")).memory == 0
    plan = make_plan(paramcli.open(LENET), compose("orthogonal"))
    assert plan.memory >= 120 * 256 * 8
    whole = {one.info.storage for one in plan.tensors if one.memory}
    assert initialized(plan, "0").whole == whole
    assert 0 < len(whole) < len(plan.tensors)


def test_fewer_workers_where_each_needs_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "available", lambda: 8)
    plans = [make_plan(paramcli.open(LENET), compose(name)) for name in ("kaiming", "orthogonal")]
    assert [workers_for(plan) for plan in plans] == [None, 8]
    assert [workers_for(plan, "cuda") for plan in plans] == [1, 1]
    monkeypatch.setattr(overlay, "_MEMORY", 3 * plans[1].memory)
    assert workers_for(plans[1]) == 3
    monkeypatch.setattr(overlay, "_MEMORY", 1)
    assert workers_for(plans[1]) == 1


def test_dtype_casts_what_floats() -> None:
    found = make_plan(paramcli.open(GPT), compose("gpt2"), dtype="torch.bfloat16")
    dtypes = {item.info.name: item.info.dtype.name for item in found.items}
    assert dtypes.pop("mask") == "bool"
    assert set(dtypes.values()) == {"bfloat16"}
    with pytest.raises(UsageError, match="float31 cannot be drawn"):
        make_plan(paramcli.open(GPT), compose("gpt2"), dtype="float31")


def test_what_cannot_be() -> None:
    lenet = paramcli.open(LENET)
    with pytest.raises(UsageError, match=r"conv\.0\.weight.*\(rule conv=eye\)") as caught:
        make_plan(lenet, compose("torch", None, ["conv=eye"]))
    assert caught.value.hint
    with pytest.raises(UsageError, match="only a model class has values of its own"):
        make_plan(paramcli.open(FILES / "model.pt"), compose("model"))
    with pytest.raises(UsageError, match="shape open"):
        make_plan(paramcli.open(FILES.parent / "tiny_gpt.lock"), compose("gpt2"))
    with pytest.raises(UsageError, match="float8_e8m0fnu cannot be drawn"):
        make_plan(lenet, compose("torch"), dtype="float8_e8m0fnu")
    with pytest.raises(UsageError, match="no counterpart"):
        make_plan(lenet, compose("mup"))


def test_base_of_mup() -> None:
    narrow = {info.name: info.shape for info in paramcli.open(GPT)}
    wide = paramcli.open(GPT, arguments={"d_model": 128})
    plan = make_plan(wide, compose("mup"), narrow=narrow)
    found = {one.info.name: one.expected.std for one in report(plan).tensors}
    assert found["blocks.0.mlp.fc.weight"] == pytest.approx(0.02 / 2)


# --- drawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_draws_the_same(dtype: str) -> None:
    """What would be drawn on CUDA, here by torch on the CPU."""
    for scheme in ("gpt2", "orthogonal", "torch"):
        plan = make_plan(paramcli.open(GPT), compose(scheme), dtype=dtype)

        def given() -> Checkpoint:
            return open_buffers(Request(GPT))

        one, other = (initialized(plan, "0", given, device=name) for name in ("cpu", "cpu:0"))
        for info in one:
            assert one.read(info.storage) == other.read(info.storage), info.name


@pytest.mark.parametrize("ahead", [7, 1000, 1 << 24])
def test_a_device_draws_ahead(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, in whatever order."""
    monkeypatch.setattr(on_device, "_AHEAD", ahead)
    plan = make_plan(paramcli.open(LENET), compose("torch"))
    one, other = (initialized(plan, "0", device=name) for name in ("cpu", "cpu:0"))
    assert one.draw is not None
    assert other.draw is not None
    storages = [info.storage for info in one]
    for storage, start, stop in (
        *((storage, 0, storage.nbytes) for storage in storages),
        *((storage, 0, storage.nbytes) for storage in reversed(storages)),
        *((storages[0], at, at + 40) for at in (0, 40, 80, 60, 3, 100)),
    ):
        want, found = bytearray(stop - start), bytearray(stop - start)
        one.draw(storage, start, memoryview(want))
        other.draw(storage, start, memoryview(found))
        assert found == want


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda() -> None:
    plan = make_plan(paramcli.open(LENET), compose("torch"))
    with pytest.raises(ParamcliError, match="no CUDA device"):
        initialized(plan, "0", device="cuda")


@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers_are_the_constructors(dtype: str, tmp_path: Path) -> None:
    found = written(
        made("sample_models.network:Network", "kaiming", dtype), tmp_path / "a.safetensors"
    )
    state = load_file(found.origin)
    assert state["bn.running_var"].to(torch.float64).tolist() == [1.0] * 10
    assert state["bn.num_batches_tracked"].dtype == torch.int64
    mask = load_file(written(made(GPT, "gpt2", dtype), tmp_path / "b.safetensors").origin)["mask"]
    assert torch.equal(mask, torch.ones(16, 16, dtype=torch.bool).tril())


def test_values_of_a_seeded_constructor(tmp_path: Path) -> None:
    """`--scheme model` is what the class itself draws after torch.manual_seed."""
    from sample_models.network import Network

    target = "sample_models.network:Network"
    plan = make_plan(paramcli.open(target), compose("model"), seed=7)
    assert plan.constructed
    opened = open_request(Request(target, values=True, seed=7))
    state = load_file(
        written(initialized(plan, "0", lambda: opened), tmp_path / "a.safetensors").origin
    )
    torch.manual_seed(7)
    for name, tensor in Network().state_dict().items():
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("dtype", [None, *DTYPES])
@pytest.mark.parametrize("name", ["model.pt", "legacy.pth"])
def test_kept_values_are_cast_as_torch_casts(name: str, dtype: str | None, tmp_path: Path) -> None:
    base = paramcli.open(FILES / name)
    plan = make_plan(base, compose("torch"), base=base, dtype=dtype)
    state = load_file(written(initialized(plan, "0"), tmp_path / "a.safetensors").origin)
    for key, tensor in torch.load(FILES / name, weights_only=True).items():
        wanted = tensor.to(getattr(torch, dtype or "float32"))
        assert torch.equal(state[key].view(torch.uint8), wanted.view(torch.uint8))


def test_a_base_of_another_shape(tmp_path: Path) -> None:
    save_file({"fc.4.bias": torch.zeros(11), "x": torch.zeros(1)}, tmp_path / "a.safetensors")
    base = paramcli.open(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"has other shapes: fc\.4\.bias \[11\] for \[10\]"):
        make_plan(paramcli.open(LENET), compose("torch"), base=base)
    base = replace(base, entries=base.entries[1:])
    plan = make_plan(paramcli.open(LENET), compose("torch"), base=base)
    assert "not in the target: x" in plan.notes[0]


def test_buffers_of_a_file_stay(tmp_path: Path) -> None:
    source = paramcli.open(FILES / "sharded")
    plan = make_plan(source, compose("gpt2"))
    assert {one.info.name for one in plan.tensors if one.kept is not None} == {"mask"}
    found = written(initialized(plan, "0"), tmp_path / "a.safetensors")
    mask = source["mask"]
    start, end = mask.extent
    assert load_file(found.origin)["mask"].numpy().tobytes() == source.read(mask.storage)[start:end]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e5m2"])
def test_measured_drawn_and_written_agree(dtype: str, tmp_path: Path) -> None:
    plan = make_plan(paramcli.open(LENET), compose("torch"), dtype=dtype)
    drawn = initialized(plan, "0")
    found = measure_drawn(plan, drawn, 1)
    for name in ("a.safetensors", "a.pt"):
        measuring = Measuring(plan)
        save(drawn, tmp_path / name, workers=2, watch=measuring)
        assert measuring.measured() == found
    for name, tensor in load_file(tmp_path / "a.safetensors").items():
        wanted = tensor.double()
        assert found[name].mean == pytest.approx(wanted.mean().item(), abs=1e-12)
        assert found[name].std == pytest.approx(wanted.std(correction=0).item(), rel=1e-9)
    assert not report(plan, found).flagged


# --- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize(
    ("target", "scheme", "dtype"),
    [
        (LENET, "kaiming", None),
        (GPT, "gpt2", "bfloat16"),
        (SHARED, "orthogonal", "float16"),
        (str(FILES / "whole_module.pt"), "torch", None),
        (str(FILES / "sharded"), "llama", None),
    ],
)
def test_a_file_knows_what_it_was_made_by(
    target: str, scheme: str, dtype: str | None, name: str, tmp_path: Path
) -> None:
    """Modules tell roles and fans; the file remembers what they told."""
    file = written(made(target, scheme, dtype, seed=5), tmp_path / name)
    found = verify(file, recorded(file))
    assert found.same
    assert not found.changed
    buffers = {"mask", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    assert set(found.unchecked) <= buffers
    assert found.seed == 5
    if "sample_models." not in target:
        return
    again = verify(file, recorded(file), lambda: open_buffers(Request(target)))
    assert again.same
    assert not again.unchecked


def test_a_changed_file(tmp_path: Path) -> None:
    file = written(made(LENET, "kaiming"), tmp_path / "a.safetensors")
    state = load_file(file.origin)
    state["fc.2.weight"][3, 4] += 1e-3
    save_file(state, tmp_path / "b.safetensors", dict(file.metadata))
    changed = paramcli.open(tmp_path / "b.safetensors")
    found = verify(changed, recorded(changed))
    assert not found.same
    assert found.changed == ("fc.2.weight",)
    assert len(found.unchanged) == 9


def test_names_that_came_and_went(tmp_path: Path) -> None:
    file = written(made(LENET, "kaiming"), tmp_path / "a.safetensors")
    state = load_file(file.origin)
    state["more"] = state.pop("fc.4.bias")
    save_file(state, tmp_path / "b.safetensors", dict(file.metadata))
    changed = paramcli.open(tmp_path / "b.safetensors")
    found = verify(changed, recorded(changed, paramcli.open(LENET)))
    assert (found.missing, found.unexpected) == (("fc.4.bias",), ("more",))
    assert not found.same


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("paramcli.recipe", None, "no recipe"),
        ("paramcli.recipe", "rules = 3", "paramcli.recipe"),
        ("paramcli.stream", "other-7", "'other-7'; this is"),
        ("paramcli.modules", "[", "damaged"),
        ("paramcli.modules", "[[1, 2]]", "damaged"),
        ("paramcli.modules", '[["parameter", "A", [], 0, false, null, ["x"]]]', "damaged"),
        ("paramcli.modules", "[" * 100_000, "damaged"),
        ("paramcli.kept", "3", "damaged"),
        ("paramcli.base", '{"a": ["b"]}', "damaged"),
        ("paramcli.base", "[]", "damaged"),
    ],
)
def test_damaged_metadata(key: str, value: str | None, message: str, tmp_path: Path) -> None:
    file = written(made(LENET, "kaiming"), tmp_path / "a.safetensors")
    metadata = {name: text for name, text in file.metadata.items() if name != key}
    if value is not None:
        metadata[key] = value
    with pytest.raises(SourceError, match=message):
        recorded(replace(file, metadata=metadata))
