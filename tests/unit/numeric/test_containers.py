"""The same tensors give the same numbers, whatever file holds them."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

import paramcli
from paramcli.numeric.summary import summarize
from paramcli.numeric.values import array
from paramcli.tensors import DTYPES
from tests import handmade, sample_files, torch_objects
from tests.handmade import Persistent, TarTensor, written
from tests.sample_files import saved
from tests.unit.numeric.reference import (
    COMPLEX,
    ORDINARY,
    QUANTIZED,
    array_file,
    assert_summary,
    cut_small,
    made,
    numbers_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.summary import Summary

    Weights = dict[str, Tensor]
    Write = Callable[[Path, Weights], str]


def weights() -> Weights:
    """Make four tensors that every format holds: plain, narrow rows, one number, nothing."""
    return {
        "a": made("float32", 4000).reshape(40, 100),
        "b": made("float32", 63, seed=1).reshape(7, 9),
        "c": torch.tensor(-2.5),
        "d": torch.ones(0, 3),
    }


def zip_file(path: Path, tensors: Weights) -> str:
    return written(path / "x.pt", saved(tensors))


def deflated(path: Path, tensors: Weights) -> str:
    """Pack a torch archive anew, compressed, as zip programs do."""
    return written(path / "x.pt", repacked(saved(tensors), zipfile.ZIP_DEFLATED))


def repacked(
    content: bytes,
    method: int,
    change: Callable[[str, bytes], bytes] = lambda _, data: data,
) -> bytes:
    """Write every entry of an archive anew."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    return handmade.zipped(entries, compression=method)


def legacy(path: Path, tensors: Weights) -> str:
    return written(path / "x.pth", saved(tensors, zipped=False))


def safetensors(path: Path, tensors: Weights) -> str:
    return written(path / "x.safetensors", save_safetensors(tensors))


def sharded(path: Path, tensors: Weights) -> str:
    return indexed(path, tensors, "safetensors", save_safetensors)


def sharded_bin(path: Path, tensors: Weights) -> str:
    return indexed(path, tensors, "bin", saved)


def indexed(path: Path, tensors: Weights, suffix: str, save: Callable[[Weights], bytes]) -> str:
    weight_map = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        weight_map[name] = f"model-{number % 2}-of-2.{suffix}"
        half = {n: tensors[n] for n, s in weight_map.items() if s == weight_map[name]}
        (path / weight_map[name]).write_bytes(save(half))
        assert tensor is half[name]
    index = path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return str(index)


def tar(path: Path, tensors: Weights) -> str:
    """Write the tar file of PyTorch's first years, each tensor with a storage of its own."""
    names = {name: number for number, name in enumerate(tensors, 1)}
    rows = {number: tensors[name] for name, number in names.items()}
    assert all(tensor.dtype is torch.float32 for tensor in rows.values())
    content = handmade.torch_tar(
        {name: Persistent(number) for name, number in names.items()},
        {n: TarTensor(10 + n, tuple(x.shape), x.stride()) for n, x in rows.items()},
        {10 + n: ("torch.FloatStorage", x.numel(), x.numpy().tobytes()) for n, x in rows.items()},
    )
    return written(path / "x.tar", content)


def script(path: Path, tensors: Weights) -> str:
    """Script a module that has them as its buffers."""

    class Holder(nn.Module):
        def forward(self) -> int:
            return 0

    holder = Holder()
    for name, tensor in tensors.items():
        holder.register_buffer(name, tensor)
    return written(path / "x.pt", sample_files.scripted(holder))


def bundle(path: Path, tensors: Weights) -> str:
    """Zip a .pth, as Stable-Baselines3 does."""
    other = saved({"state": {}, "step": 3})
    entries = {"data": b"{}", "policy.optimizer.pth": other, "policy.pth": saved(tensors)}
    return written(path / "x.zip", handmade.zipped(entries))


def dcp(path: Path, tensors: Weights) -> str:
    sample_files.write_dcp(path / "dcp", dict(tensors))
    return str(path / "dcp")


WRITERS: dict[str, Write] = {
    "torch-zip": zip_file, "torch-zip, deflated": deflated, "torch-legacy": legacy,
    "safetensors": safetensors, "sharded-safetensors": sharded, "sharded-torch": sharded_bin,
    "torch-tar": tar, "torchscript": script, "torch-zip of zips": bundle, "dcp": dcp,
}  # fmt: skip


def measured(checkpoint: Checkpoint) -> Mapping[str, Summary]:
    found = summarize(checkpoint, checkpoint.entries)
    return {info.name.rpartition(".")[2]: one for info, one in zip(checkpoint, found, strict=True)}


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_numbers_of_the_plain_file(form: str, tmp_path: Path) -> None:
    tensors = weights()
    target = WRITERS[form](tmp_path, tensors)
    checkpoint = paramcli.open(target)
    assert form.startswith(checkpoint.format)
    found = measured(checkpoint)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert_summary(found[name], numbers_of(tensor))
    (tmp_path / "plain").mkdir()
    plain = measured(paramcli.open(zip_file(tmp_path / "plain", tensors)))
    assert found == plain
    for info in checkpoint:
        np.testing.assert_array_equal(
            array(checkpoint, info), tensors[info.name.rpartition(".")[2]].numpy()
        )


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_in_small_blocks(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is located and what has to be unpacked are cut at the same places."""
    cut_small(monkeypatch, 96, 3)
    tensors = weights()
    found = measured(paramcli.open(WRITERS[form](tmp_path, tensors)))
    (tmp_path / "plain").mkdir()
    assert found == measured(paramcli.open(zip_file(tmp_path / "plain", tensors)))


@pytest.mark.parametrize("form", ["torch-zip", "torch-legacy", "torch-zip, deflated"])
def test_nested_trees_are_read_where_they_lie(form: str, tmp_path: Path) -> None:
    tree = {"epoch": 1, "state_dict": weights(), "ema": {"x": torch.arange(9.0)}}
    target = WRITERS[form](tmp_path, tree)  # type: ignore[arg-type]
    checkpoint = paramcli.open(target, everything=True)
    for info, found in zip(checkpoint, summarize(checkpoint, checkpoint.entries), strict=True):
        root, _, name = info.name.partition(".")
        assert_summary(found, numbers_of(tree[root][name]))  # type: ignore[index]


def test_views_of_a_deflated_storage(tmp_path: Path) -> None:
    base = made("float32", 600).reshape(20, 30)
    tensors = {"whole": base, "columns": base[:, 4:9], "turned": base.T, "row": base[7, ::2]}
    checkpoint = paramcli.open(deflated(tmp_path, tensors))
    for name, found in measured(checkpoint).items():
        assert_summary(found, numbers_of(tensors[name]))


# --- the other byte order ------------------------------------------------------------------------


def big_endian(content: bytes, dtype: str) -> bytes:
    """Turn a torch archive, all of one type, into what a big-endian machine would write."""
    width = DTYPES[dtype].bits // 8 // (2 if dtype in COMPLEX else 1)

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("/byteorder"):
            return b"big"
        if "/data/" in name:
            return np.frombuffer(data, np.uint8).reshape(-1, width)[:, ::-1].tobytes()
        return data

    return repacked(content, zipfile.ZIP_STORED, change)


@pytest.mark.parametrize("dtype", [*ORDINARY, *COMPLEX])
def test_big_endian_archives(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = made(dtype, 600).reshape(12, 50)
    tensors = {"a": base, "columns": base[:, ::3], "turned": base.T, "one": base[3, 4]}
    path = tmp_path / "x.pt"
    checkpoint = paramcli.open(written(path, big_endian(saved(tensors), dtype)))
    assert checkpoint.byteorder == "big"
    if base.dtype in torch_objects.OLD_DTYPES:  # torch forgets to swap those without a class
        swapped = torch_objects.load(path, weights_only=True)["a"]
        assert swapped.view(torch.uint8).equal(base.view(torch.uint8)), "torch reads it as meant"
    for info in checkpoint:
        want = numbers_of(tensors[info.name])
        np.testing.assert_array_equal(array(checkpoint, info), want)
    plain = paramcli.open(written(tmp_path / "plain.pt", saved(tensors)))
    assert measured(checkpoint) == measured(plain)
    cut_small(monkeypatch, 96, 3)
    cut = measured(checkpoint)
    assert cut == measured(plain)
    for name, found in cut.items():
        assert_summary(found, numbers_of(tensors[name]))


def test_quantized_tensors_tell_scale_and_zero_point(tmp_path: Path) -> None:
    for dtype in QUANTIZED:
        checkpoint = paramcli.open(written(tmp_path / dtype, saved({"w": made(dtype, 9)})))
        info = checkpoint["w"]
        assert info.layout == "quantized"
        facts = dict(info.facts)
        assert facts["scheme"] == "torch.per_tensor_affine"
        assert (facts["scale"], facts["zero_point"]) == ("0.5", "3")


def test_a_quantized_channel_has_its_scales_as_parts(tmp_path: Path) -> None:
    integers = torch.arange(12, dtype=torch.int8).reshape(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch._make_per_channel_quantized_tensor(
            integers, torch.tensor([0.5, 0.25, 0.125]), torch.tensor([0, 1, 2]), 0
        )
    checkpoint = paramcli.open(written(tmp_path / "x", saved({"w": tensor})))
    info = checkpoint["w"]
    assert_summary(summarize(checkpoint, [info])[0], integers.numpy())
    scale, zero_point = info.parts
    assert (scale.name, zero_point.name) == ("scale", "zero_point")
    assert array(checkpoint, scale).tolist() == [0.5, 0.25, 0.125]
    assert array(checkpoint, zero_point).tolist() == [0, 1, 2]
    assert dict(info.facts)["axis"] == "0"


def test_a_class_gives_the_numbers_of_its_own_state_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paramcli.sources import Request, open_request

    monkeypatch.chdir(tmp_path)
    (tmp_path / "held.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(30, 20)\n"
        "        self.tied = self.fc.weight\n"
        "        self.register_buffer('turned', torch.arange(60.).reshape(3, 20).T[::2])\n"
        "        self.register_buffer('narrow', torch.linspace(-1, 1, 99).bfloat16())\n"
    )
    checkpoint = open_request(Request("held.py:Net", values=True))
    torch.manual_seed(0)
    state = nn.Linear(30, 20).state_dict()
    turned = torch.arange(60.0).reshape(3, 20).T[::2]
    want = {
        "weight": state["weight"], "bias": state["bias"], "tied": state["weight"],
        "turned": turned, "narrow": torch.linspace(-1, 1, 99).bfloat16(),
    }  # fmt: skip
    found = measured(checkpoint)
    assert found.keys() == want.keys()
    for name, one in found.items():
        assert_summary(one, numbers_of(want[name]))


def test_numpy_reads_what_is_written_here(tmp_path: Path) -> None:
    """The reference's own writer, held against the reference implementation of the format."""
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([1, 2**63], "u8")}
    checkpoint = array_file(tmp_path / "x", **arrays)
    from safetensors.numpy import load_file

    loaded = load_file(checkpoint.origin)
    for name, want in arrays.items():
        np.testing.assert_array_equal(loaded[name], want)
        assert loaded[name].dtype == want.dtype
