"""Law 2: what is saved and opened again is the same, as far as the format can hold it."""

from __future__ import annotations

import json
import os
import random
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

import paramcli
from paramcli.checkpoint import Checkpoint, in_parts
from paramcli.errors import SourceError, UsageError
from paramcli.numeric.gather import gather
from paramcli.save import archive, drawing, output, save
from paramcli.sources.safetensors import SAFETENSORS_DTYPES
from paramcli.sources.ties import VIEWS
from paramcli.tensors import DTYPES, Storage, TensorInfo
from tests import torch_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["weight", "a.b", "format", "pt", "\0", '"', "\\", "é", "[bold]", "\x1b[0m"]
)
HELD = {dtype.name for dtype in SAFETENSORS_DTYPES.values()}
pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support")
FORMATS = pytest.mark.parametrize("form", ["safetensors", "sharded", "torch"])


# --- checkpoints ---------------------------------------------------------------------------------


@st.composite
def states(draw: st.DrawFn) -> OrderedDict[str, Tensor]:
    """A state dict of views of a few storages, many of them tied."""
    dtypes = torch_objects.OLD_DTYPES + torch_objects.NEW_DTYPES
    pool = draw(torch_objects.pools(dtypes))
    made: list[Tensor] = []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()) and made:
            made.append(made[draw(st.integers(0, len(made) - 1))].detach())
        elif draw(st.booleans()):
            storage, dtype = draw(st.sampled_from(pool))
            whole = torch.empty(0, dtype=dtype).set_(storage)
            turned = draw(st.booleans())
            made.append(whole.reshape(1, -1).T if turned else whole)
        else:
            made.append(draw(torch_objects.views(pool)))
    names = draw(st.lists(NAMES, min_size=len(made), max_size=len(made), unique=True))
    return OrderedDict(zip(names, made, strict=True))


METADATA = st.dictionaries(NAMES.filter(lambda name: name != "total_size"), NAMES, max_size=3)


def opened(state: OrderedDict[str, Tensor], folder: str) -> Checkpoint:
    path = os.path.join(folder, "source.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(state, path)
    return paramcli.open(path)


def drawn(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same checkpoint, its bytes computed."""

    def draw(storage: Storage, offset: int, target: memoryview) -> None:
        target[:] = checkpoint.read(storage)[offset : offset + len(target)]

    def nowhere(_: Storage) -> None:
        raise AssertionError("computed bytes lie nowhere")

    return replace(checkpoint, draw=draw, locate=nowhere)


def saved(checkpoint: Checkpoint, folder: str, form: str, **options: Any) -> Checkpoint:
    names = {"safetensors": "out.safetensors", "sharded": "out", "torch": "out.pt"}
    path = os.path.join(folder, names[form])
    if form == "sharded":
        options.setdefault("shard_size", 40)
    save(checkpoint, path, **options)
    return paramcli.open(path)


# --- what is the same ----------------------------------------------------------------------------


def touched(info: TensorInfo) -> frozenset[int]:
    """Every byte of its storage that a tensor views."""
    first = [info.offset]
    for size, step in zip(info.shape, info.stride, strict=True):
        first = [at + index * step for at in first for index in range(size)]
    width = info.dtype.bits // 8
    return frozenset(at * width + byte for at in first for byte in range(width))


def sharing(checkpoint: Checkpoint) -> set[tuple[str, str]]:
    """Pairs of names that view the same byte."""
    bytes_of = {info.name: {(info.storage, byte) for byte in touched(info)} for info in checkpoint}
    return {
        (a, b) for a, ours in bytes_of.items() for b, theirs in bytes_of.items() if ours & theirs
    }


def assert_same(found: Checkpoint, checkpoint: Checkpoint) -> None:
    assert [info.name for info in found] == [info.name for info in checkpoint]
    names = {info.name for info in checkpoint}
    for info, original in zip(found, checkpoint, strict=True):
        assert (info.dtype, info.shape) == (original.dtype, original.shape)
        assert gather(found, info) == gather(checkpoint, original), info.name
    ours, theirs = (
        {k: text for k, text in of.metadata.items() if not {k, text} <= names}
        for of in (found, checkpoint)
    )
    ours.pop("total_size", None)
    assert ours == theirs  # but for ties
    assert sharing(found) == sharing(checkpoint)
    assert not found.problems


def lacking(checkpoint: Checkpoint) -> str:
    """Why safetensors cannot hold a checkpoint, "" where it can."""
    for info in checkpoint:
        if info.dtype.name not in HELD:
            return "dtype"
        if info.name == "__metadata__":
            return "name"
    by_name = {info.name: info for info in checkpoint}
    pairs = sharing(checkpoint)
    for group in checkpoint.groups():
        members = [by_name[name] for name in group.names]
        views = {info.view: info for info in members}
        meeting = any(
            (a.name, b.name) in pairs for a in views.values() for b in views.values() if a != b
        )
        first = min(info.extent[0] for info in members)
        end = max(info.extent[1] for info in members)
        whole = [
            info for info in members
            if info.contiguous and not info.marks and info.extent == (first, end)
        ]  # fmt: skip
        if meeting and not whole:
            return "overlap"
    return ""


# --- round trips ---------------------------------------------------------------------------------


@FORMATS
@given(state=states(), metadata=METADATA, computed=st.booleans())
def test_round_trip(
    state: OrderedDict[str, Tensor], metadata: dict[str, str], form: str, *, computed: bool
) -> None:
    with TemporaryDirectory() as folder:
        source = replace(opened(state, folder), metadata=metadata)
        checkpoint = drawn(source) if computed else source
        reason = lacking(source) if form != "torch" else ""
        if reason:
            with pytest.raises(UsageError):
                saved(checkpoint, folder, form)
            assert os.listdir(folder) == ["source.pt"]
            return
        found = saved(checkpoint, folder, form)
        assert_same(found, source)
        again = os.path.join(folder, "again")
        os.mkdir(again)
        assert_same(saved(found, again, form), source)
        if form == "torch":
            assert [info.view[1:4] for info in found] == [info.view[1:4] for info in source]
            assert_torch_reads(os.path.join(folder, "out.pt"), state, metadata)
        elif form == "safetensors":
            assert_safetensors_reads(os.path.join(folder, "out.safetensors"), found, state)


def assert_torch_reads(
    path: str, state: OrderedDict[str, Tensor], metadata: dict[str, str]
) -> None:
    for mmap in (False, True):
        loaded = torch.load(path, weights_only=True, mmap=mmap)
        assert list(loaded) == list(state)
        assert torch_objects.described(list(loaded.items())) == torch_objects.described(
            list(state.items())
        )
        for name, tensor in loaded.items():
            assert torch_objects.raw_bytes(tensor) == torch_objects.raw_bytes(state[name])
    with zipfile.ZipFile(path) as ours:
        assert ours.testzip() is None
        if not metadata:
            with zipfile.ZipFile(os.path.join(os.path.dirname(path), "source.pt")) as theirs:
                assert ours.read("archive/data.pkl") == theirs.read("source/data.pkl")


def assert_safetensors_reads(path: str, found: Checkpoint, state: OrderedDict[str, Tensor]) -> None:
    for name, tensor in load_file(path).items():
        expected = state[name].resolve_conj().contiguous()
        assert tensor.dtype == expected.dtype
        assert tensor.shape == expected.shape
        assert gather(found, found[name]) == tensor.flatten().view(torch.uint8).numpy().tobytes()
        # The mapped file gives each tensor an address that its type can be read from.
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    assert size % 8 == 0
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] * 8 % found[name].dtype.bits == 0
    assert list(header.get("__metadata__", {})) == sorted(header.get("__metadata__", {}))


@given(seed=st.integers(0, 1 << 32), count=st.sampled_from([1, 60, 300]))
@example(seed=0, count=2_100)
def test_the_pickle_is_torchs_own(seed: int, count: int) -> None:
    """Names in any letters, memo slots beyond 255, batches beyond 1,000 items."""
    crowd = torch_objects.crowd(count, seed, parameters=0)
    state = OrderedDict((k, v.detach()) for k, v in crowd.items() if isinstance(v, Tensor))
    with TemporaryDirectory() as folder:
        save(opened(state, folder), os.path.join(folder, "out.pt"))
        with zipfile.ZipFile(os.path.join(folder, "out.pt")) as ours:
            with zipfile.ZipFile(os.path.join(folder, "source.pt")) as theirs:
                assert ours.read("archive/data.pkl") == theirs.read("source/data.pkl")
            for entry in ours.infolist():
                assert entry.compress_type == zipfile.ZIP_STORED


def test_a_model_of_two_names_loads(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    first, second = Tied(), Tied()
    save_model(first, str(tmp_path / "theirs.safetensors"))
    torch.save(first.state_dict(), tmp_path / "model.pt")
    save(paramcli.open(tmp_path / "model.pt"), tmp_path / "ours.safetensors")
    assert not any(load_model(second, tmp_path / "ours.safetensors"))
    assert torch.equal(first.head.weight, second.embed.weight)
    found, theirs = (paramcli.open(tmp_path / f"{who}.safetensors") for who in ("ours", "theirs"))
    assert [group.names for group in found.groups()] == [("embed.weight", "head.weight")]
    with open(tmp_path / "ours.safetensors", "rb") as file:
        assert VIEWS.encode() not in file.read()
    assert found.metadata == theirs.metadata == {"head.weight": "embed.weight"}


def test_columns_of_one_matrix_are_no_tie(tmp_path: Path) -> None:
    """Their stretches meet, their bytes do not, so each can be written on its own."""
    whole = torch.arange(24.0).reshape(4, 6)
    source = opened(OrderedDict(q=whole[:, :2], k=whole[:, 2:4], v=whole[:, 4:]), str(tmp_path))
    assert_same(saved(source, str(tmp_path), "safetensors"), source)
    loaded = load_file(tmp_path / "out.safetensors")
    assert torch.equal(torch.cat([loaded["q"], loaded["k"], loaded["v"]], 1), whole)
    crossing = opened(OrderedDict(q=whole[:, :3], k=whole[:, 2:]), str(tmp_path))
    with pytest.raises(UsageError, match="'k' shares bytes"):
        saved(crossing, str(tmp_path), "safetensors")


def test_metadata_that_would_be_read_as_a_tie(tmp_path: Path) -> None:
    source = opened(OrderedDict(pt=torch.zeros(2)), str(tmp_path))
    source = replace(source, metadata={"format": "pt"})
    for form in ("safetensors", "sharded"):
        assert_same(saved(source, str(tmp_path), form), source)


def test_a_tie_that_is_no_more(tmp_path: Path) -> None:
    tied = OrderedDict(a=torch.zeros(2), b=torch.ones(2))
    source = replace(opened(tied, str(tmp_path)), metadata={"b": "a", "note": "kept"})
    for form in ("safetensors", "sharded", "torch"):
        found = saved(source, str(tmp_path), form)
        assert {k: v for k, v in found.metadata.items() if k != "total_size"} == {"note": "kept"}
        assert not found.groups()


@pytest.mark.parametrize("dtype", ["int16", "float32", "complex64", "float64", "bool"])
@FORMATS
def test_big_endian_bytes_are_turned(tmp_path: Path, dtype: str, form: str) -> None:
    state = OrderedDict(a=torch.arange(6).to(getattr(torch, dtype)).reshape(2, 3))
    source = opened(state, str(tmp_path))
    width = {"int16": 2, "float32": 4, "complex64": 4, "float64": 8, "bool": 1}[dtype]
    content = source.read(source["a"].storage)
    turned = b"".join(content[at : at + width][::-1] for at in range(0, len(content), width))
    big = replace(source, byteorder="big", locate=lambda _: None, unpack=in_parts(lambda _: turned))
    assert_same(saved(big, str(tmp_path), form), source)


# --- computed bytes ------------------------------------------------------------------------------


def computed(sizes: list[tuple[str, int]]) -> Checkpoint:
    """Return a checkpoint whose bytes are asked for at places that suit every type."""
    contents = [
        random.Random(key).randbytes(DTYPES[dtype].nbytes(count))
        for key, (dtype, count) in enumerate(sizes)
    ]

    def draw(storage: Storage, offset: int, target: memoryview) -> None:
        assert offset % 64 == 0
        target[:] = contents[int(storage.key)][offset : offset + len(target)]

    entries = []
    for key, (dtype, count) in enumerate(sizes):
        kind = DTYPES[dtype]
        storage = Storage("", key, kind.nbytes(count))
        entries.append(TensorInfo(f"t{key}", kind, (count,), (1,), 0, storage))
    return Checkpoint(origin="computed", format="module", entries=tuple(entries), draw=draw)


@pytest.mark.parametrize("form", ["safetensors", "torch"])
def test_bytes_do_not_depend_on_workers_or_pieces(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [("uint8", 3), ("float32", 90_000), ("bfloat16", 7), ("float64", 50_001)]
    sizes += [("int16", count) for count in range(40)]
    checkpoint = computed([*sizes, ("uint8", 300_000)])
    name = f"out.{'pt' if form == 'torch' else form}"
    save(checkpoint, tmp_path / name, workers=1)
    expected = (tmp_path / name).read_bytes()
    for workers, piece in ((2, 1 << 16), (3, 1 << 16), (3, 1 << 12), (1, 1 << 12), (2, 1 << 20)):
        monkeypatch.setattr(drawing, "PIECE", piece)
        save(checkpoint, tmp_path / name, workers=workers)
        assert (tmp_path / name).read_bytes() == expected, (workers, piece)


# --- large archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 40, 400, 1 << 20])
def test_wide_records(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size and place beyond the limit stands in a zip64 field, and three readers find it."""
    monkeypatch.setattr(archive, "WIDE_FROM", limit)
    monkeypatch.setattr(archive, "MANY_FROM", 3)
    state = OrderedDict((str(count), torch.arange(float(count))) for count in (0, 1, 20, 300))
    source = opened(state, str(tmp_path))
    assert_same(saved(source, str(tmp_path), "torch"), source)
    with zipfile.ZipFile(tmp_path / "out.pt") as file:
        assert file.testzip() is None
        assert b"PK\6\6" in (tmp_path / "out.pt").read_bytes()
    loaded = torch.load(tmp_path / "out.pt", weights_only=True)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


# --- refusals, each before anything is written ---------------------------------------------------


def info(name: str = "a", **changes: Any) -> TensorInfo:
    plain = TensorInfo(name, DTYPES["float32"], (2,), (1,), 0, Storage("nowhere", 0, 8))
    return plain._replace(**changes)


REFUSED: dict[str, tuple[str, Callable[[], Iterator[TensorInfo] | list[TensorInfo]], str]] = {
    "sparse": ("a.pt", lambda: [info(layout="sparse_coo")], "only plain tensors"),
    "quantized": ("a.pt", lambda: [info(layout="quantized")], "only plain tensors"),
    "half a character": ("a.pt", lambda: [info("\ud800")], "half of a character"),
    "twice": ("a.pt", lambda: [info(), info()], "two tensors are named 'a'"),
    "float6": ("a.pt", lambda: [info(dtype=DTYPES["float6_e2m3fn"])], "torch.save cannot hold"),
    "complex128": ("a.safetensors", lambda: [info(dtype=DTYPES["complex128"])], "cannot hold"),
    "metadata": ("a.safetensors", lambda: [info("__metadata__")], "__metadata__"),
    "extension": ("a.npz", lambda: [info()], ".npz is no format"),
    "no extension": ("a", lambda: [info()], "is no format"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path: Path, case: str) -> None:
    name, entries, message = REFUSED[case]
    checkpoint = Checkpoint(origin="nowhere", format="safetensors", entries=tuple(entries()))
    with pytest.raises(UsageError, match=message) as caught:
        save(checkpoint, tmp_path / name)
    assert caught.value.hint or case == "twice"
    assert not os.listdir(tmp_path)


def test_no_values(tmp_path: Path) -> None:
    checkpoint = Checkpoint(
        origin="net", format="module", entries=(info(storage=Storage("", 0, 8)),)
    )
    for name in ("a.pt", "a.safetensors"):
        with pytest.raises(SourceError, match="no values"):
            save(checkpoint, tmp_path / name)
    assert not os.listdir(tmp_path)


def test_the_output_module_reads_in_pieces() -> None:
    """The tests above take bytes apart only where pieces are smaller than what they save."""
    assert output.PIECE == 1 << 20


TIED_VIEWS = {
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "expanded": torch.arange(2.0).reshape(2, 1).expand(2, 3),
    "conjugated": (torch.arange(4.0) + 1j).reshape(2, 2).T.conj(),
}


@pytest.mark.parametrize("form", ["safetensors", "sharded"])
@pytest.mark.parametrize("how", TIED_VIEWS)
def test_a_tie_that_the_metadata_cannot_state(how: str, form: str) -> None:
    """Its key says something else. What is stored lies in rows, however the tensor lay."""
    view = TIED_VIEWS[how]
    with TemporaryDirectory() as folder:
        state = OrderedDict(a=view, b=view)
        source = replace(opened(state, folder), metadata={"b": "something else"})
        assert_same(saved(source, folder, form), source)
