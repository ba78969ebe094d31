"""However a tensor is cut, and however its elements lie, the numbers come out the same."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import paramcli
from paramcli.errors import SourceError
from paramcli.files import mapped
from paramcli.numeric import blocks
from paramcli.numeric.blocks import chunks, gathered, placed
from paramcli.numeric.gather import gather
from paramcli.numeric.summary import summarize
from paramcli.numeric.values import array
from paramcli.tensors import DTYPES, Place
from tests import torch_objects
from tests.unit.numeric.reference import (
    COMPLEX,
    ORDINARY,
    QUANTIZED,
    assert_same,
    assert_summary,
    by_name,
    cut_small,
    in_memory,
    made,
    numbers_of,
    safetensors,
    saved,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import Storage

FEW = settings(max_examples=settings().max_examples // 2)
PACKED = {"F4": "float4_e2m1fn", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


# --- cut into blocks and chunks ------------------------------------------------------------------


@FEW
@given(
    dtype=st.sampled_from([*ORDINARY, *COMPLEX, *QUANTIZED]),
    count=st.integers(1, 1500),
    chunk=st.sampled_from([48, 96, 240, 960, 12_000]),
    per_block=st.integers(1, 5),
)
def test_any_cut(dtype: str, count: int, chunk: int, per_block: int, folder: Path) -> None:
    tensor = made(dtype, count, seed=count)
    checkpoint = saved(folder / "x.pt", w=tensor)
    (whole,) = summarize(checkpoint, checkpoint.entries)
    with pytest.MonkeyPatch.context() as patched:
        cut_small(patched, chunk, per_block)
        (info,) = checkpoint
        plan = placed(checkpoint, info)
        assert plan is not None
        assert len(plan) == math.ceil(info.nbytes / (chunk * per_block))
        (found,) = summarize(checkpoint, checkpoint.entries)
        (bare,) = summarize(checkpoint, checkpoint.entries, percentiles=False)
    assert_same(found, whole)
    assert_summary(found, numbers_of(tensor))
    assert_same(bare, found._replace(percentiles=None, histogram=()))


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("per_block", [1, 3])
@pytest.mark.parametrize("bytes_", [96, 4 * 96, 4 * 96 + 12, 3000])
def test_cuts_keep_packed_codes_whole(
    name: str, bytes_: int, per_block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = np.random.default_rng(0).bytes(bytes_)
    count = bytes_ * 8 // DTYPES[PACKED[name]].bits
    checkpoint = safetensors(tmp_path / "x", w=(name, [count], raw))
    whole = summarize(checkpoint, checkpoint.entries)
    cut_small(monkeypatch, 96, per_block)
    assert summarize(checkpoint, checkpoint.entries) == whole


@pytest.mark.parametrize("extra", [0, 1, 11, 12, 13, 24])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16"])
def test_a_last_block_of_any_size(
    dtype: str, extra: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than a chunk, a whole one, or more."""
    width = DTYPES[dtype].bits // 8
    cut_small(monkeypatch, 96, 2)
    tensor = made(dtype, 3 * 192 // width + extra, seed=2)
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    (found,) = summarize(checkpoint, checkpoint.entries)
    assert_summary(found, numbers_of(tensor))


def test_blocks_cover_a_tensor_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved(tmp_path / "x.pt", pad=torch.ones(3), w=torch.arange(1000))
    cut_small(monkeypatch, 96, 4)
    info = checkpoint["w"]
    plan = placed(checkpoint, info)
    place = checkpoint.locate(info.storage)
    assert plan is not None
    assert place is not None
    at = place.offset
    for block in plan:
        assert (block.file, block.offset) == (place.file, at)
        assert not block.whole
        at += block.nbytes
    assert at == place.offset + 8000
    assert {block.nbytes for block in plan[:-1]} == {384}
    content = b"".join(bytes(chunk) for block in plan for chunk in blocks.chunks(block))
    assert content == torch.arange(1000).numpy().tobytes()


@FEW
@given(
    dtypes=st.lists(st.sampled_from(["float32", "bfloat16", "complex128", "int8"]), max_size=4),
    ahead=st.integers(0, 9),
    chunk=st.sampled_from([48, 96, 960]),
    window=st.sampled_from([1, 200, 1 << 20]),
)
def test_what_is_mapped_is_what_is_read(
    dtypes: list[str], ahead: int, chunk: int, window: int, folder: Path
) -> None:
    """Whether numbers begin where they should in the file, or not."""
    tensors = {f"{at}": made(dtype, 500 + at, seed=at) for at, dtype in enumerate(dtypes)}
    saved(folder / "x.pt", **tensors)
    content = bytes(ahead) + (folder / "x.pt").read_bytes()
    (folder / "moved").write_bytes(content)
    checkpoint = paramcli.open(str(folder / "x.pt"))
    with pytest.MonkeyPatch.context() as patched:
        cut_small(patched, chunk, 40)
        patched.setattr(blocks, "_MAPPED", window)
        patched.setattr(mapped, "LEAST", 1)
        plan = [
            block._replace(file=str(folder / "moved"), offset=block.offset + ahead)
            for info in checkpoint
            for block in placed(checkpoint, info) or ()
        ]
        read = [bytes(chunk) for block in plan for chunk in chunks(block)]
        patched.setattr(mapped, "_allowed", [True])
        assert [bytes(chunk) for block in plan for chunk in chunks(block)] == read
    assert b"".join(read) == b"".join(
        content[block.offset : block.offset + block.nbytes] for block in plan
    )


def test_the_sizes_suit_every_type() -> None:
    """Four codes of six bits fill three bytes, one complex number sixteen."""
    assert blocks.CHUNK % 48 == 0
    assert blocks.BLOCK % blocks.CHUNK == 0


# --- views ---------------------------------------------------------------------------------------

BASE = (6, 7, 8)
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "whole": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2),
    "permuted": lambda x: x.permute(1, 2, 0),
    "every other": lambda x: x[::2],
    "every third of the last": lambda x: x[..., 1::3],
    "columns": lambda x: x[:, 2:5],
    "a corner": lambda x: x[1:3, 1:3, 1:3],
    "an offset": lambda x: x[3],
    "a diagonal": lambda x: x.diagonal(),
    "one element": lambda x: x[2, 3, 4],
    "one row, strided": lambda x: x[1, :, 5],
    "repeated": lambda x: x[:1].expand(5, 7, 8),
    "one element repeated": lambda x: x[0, 0, 0].expand(4, 3),
    "overlapping windows": lambda x: x.flatten().unfold(0, 10, 3),
    "strides that overlap": lambda x: x.as_strided((5, 5), (1, 1), 7),
    "nothing": lambda x: x[:, 3:3],
    "nothing, far off": lambda x: x[6:],
    "ones in the shape": lambda x: x[:1, :, :1].transpose(0, 1),
    "reshaped": lambda x: x.reshape(2, 3, 56),
    "channels last": lambda x: x[None].to(memory_format=torch.channels_last),
}
TYPES = ("float32", "float64", "bfloat16", "int8", "bool", "complex64", "complex128", "int16")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_by_their_strides(name: str, dtype: str, tmp_path: Path) -> None:
    tensor = VIEWS[name](made(dtype, math.prod(BASE)).reshape(BASE))
    checkpoint = saved(tmp_path / "x.pt", w=tensor)
    info = checkpoint["w"]
    assert (info.shape, info.stride) == (tensor.shape, tensor.stride())
    np.testing.assert_array_equal(array(checkpoint, info), numbers_of(tensor))
    (found,) = summarize(checkpoint, [info])
    assert_summary(found, numbers_of(tensor))


@FEW
@given(
    view=st.lists(st.integers(1, 5), max_size=4).flatmap(
        lambda shape: st.tuples(
            st.just(tuple(shape)),
            st.tuples(*[st.integers(0, 6) for _ in shape]),
            st.integers(0, 9),
        )
    ),
    dtype=st.sampled_from(["float32", "int16", "complex64", "uint8"]),
)
def test_any_strides(
    view: tuple[tuple[int, ...], tuple[int, ...], int], dtype: str, folder: Path
) -> None:
    shape, stride, offset = view
    tensor = made(dtype, 120).as_strided(shape, stride, offset)
    checkpoint = saved(folder / "any.pt", w=tensor)
    info = checkpoint["w"]
    np.testing.assert_array_equal(array(checkpoint, info), numbers_of(tensor))
    assert_summary(summarize(checkpoint, [info])[0], numbers_of(tensor))
    start, end = info.extent
    once = len({sum(i * s for i, s in zip(at, stride, strict=True)) for at in np.ndindex(*shape)})
    covers = once == info.numel and end - start == info.nbytes
    assert info.dense is covers
    assert (placed(checkpoint, info) is None) is not covers


def test_several_views_of_one_storage(tmp_path: Path) -> None:
    base = made("float32", math.prod(BASE)).reshape(BASE)
    tensors = {name.replace(" ", "_"): view(base) for name, view in VIEWS.items()
               if name != "channels last"}  # fmt: skip
    checkpoint = saved(tmp_path / "x.pt", **tensors)
    assert len({info.storage for info in checkpoint if info.numel}) == 1
    for name, found in by_name(checkpoint, summarize(checkpoint, checkpoint.entries)).items():
        assert_summary(found, numbers_of(tensors[name]))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_conjugates_and_negatives_that_are_only_marked(dtype: str, tmp_path: Path) -> None:
    """torch.save keeps the bytes as they are and the mark beside them."""
    one = torch.tensor([1 + 2j, 3 - 4j], dtype=getattr(torch, dtype))
    for tensor in (one.conj(), one.conj().imag, one.conj()[None, ::2]):
        path = torch_objects.save({"w": tensor}, tmp_path / "x.pt")
        checkpoint = paramcli.open(path)
        loaded = torch_objects.load(path, weights_only=True)["w"]
        assert loaded.is_conj() or loaded.is_neg()
        np.testing.assert_array_equal(array(checkpoint, checkpoint["w"]), numbers_of(loaded))
        assert_summary(summarize(checkpoint, checkpoint.entries)[0], numbers_of(loaded))


@pytest.mark.parametrize("count", [2**40, 2**61])
def test_one_element_repeated_without_end(count: int, tmp_path: Path) -> None:
    """A file of a kilobyte can say so; it must not take the memory that it claims."""
    checkpoint = saved(tmp_path / "x.pt", w=torch.full((1,), 2.0).expand(count))
    try:
        (found,) = summarize(checkpoint, checkpoint.entries)
    except SourceError:
        return
    assert (found.real.n, found.real.mean, found.real.std) == (count, 2.0, 0.0)


def test_strides_in_memory_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.arange(600, dtype=np.float32).reshape(20, 30)[:, ::2]
    checkpoint, info = in_memory(whole)
    cut_small(monkeypatch, 96, 2)
    pieces = gathered(checkpoint, info)
    assert [piece.nbytes for piece in pieces] == [192] * 6 + [48]
    assert (
        b"".join(chunk.tobytes() for piece in pieces for chunk in chunks(piece)) == whole.tobytes()
    )
    assert_summary(summarize(checkpoint, [info])[0], whole.astype(np.float64))


# --- files that are not as they were -------------------------------------------------------------


def opened(path: Path, tensor: Tensor) -> Checkpoint:
    return saved(path, w=tensor)


@pytest.mark.parametrize("name", ["whole", "every third of the last"])
@pytest.mark.parametrize("left", [0, 1, 500, 5000])
def test_a_file_that_shrinks_is_an_error(name: str, left: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint = opened(path, VIEWS[name](torch.randn(40, 7, 8)))
    os.truncate(path, left)
    for read in (lambda info: summarize(checkpoint, [info]), lambda info: gather(checkpoint, info)):
        with pytest.raises(SourceError, match="shrank while it was read") as caught:
            read(checkpoint["w"])
        assert caught.value.path == str(path)


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint = opened(path, torch.ones(5))
    path.unlink()
    with pytest.raises(SourceError, match=r"x\.pt"):
        summarize(checkpoint, checkpoint.entries)
    with pytest.raises(SourceError, match=r"x\.pt"):
        gather(checkpoint, checkpoint["w"])


def test_what_holds_no_bytes_says_so() -> None:
    _, info = in_memory(np.ones(3))
    bare = paramcli.Checkpoint(origin="", format="lock", entries=(info,))
    with pytest.raises(SourceError, match="no values"):
        summarize(bare, [info])


def test_an_empty_tensor_needs_no_bytes() -> None:
    checkpoint, info = in_memory(np.ones((0, 3)))
    bare = paramcli.Checkpoint(origin="", format="lock", entries=(info,))
    assert gather(bare, info) == b""
    assert summarize(bare, [info]) == summarize(checkpoint, [info])


def test_reads_that_come_in_pieces_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may give less than was asked for."""
    checkpoint = opened(tmp_path / "x.pt", torch.arange(1000))
    real, sizes = os.preadv, []

    def short(descriptor: int, buffers: list[Any], offset: int) -> int:
        got = real(descriptor, [buffers[0][:100]], offset)
        sizes.append(got)
        return got

    monkeypatch.setattr(os, "preadv", short)
    assert_summary(summarize(checkpoint, checkpoint.entries)[0], np.arange(1000))
    assert max(sizes) == 100


def test_a_storage_may_lie_anywhere_in_a_file(tmp_path: Path) -> None:
    """Wherever it begins, even where no number of its kind should."""
    for shift in range(9):
        path = tmp_path / f"{shift}"
        path.write_bytes(b"x" * shift + np.arange(50.0).tobytes())
        _, info = in_memory(np.arange(50.0))
        place = Place(str(path), shift)

        def locate(_: Storage, place: Place = place) -> Place:
            return place

        checkpoint = paramcli.Checkpoint(origin="", format="made", entries=(info,), locate=locate)
        assert_summary(summarize(checkpoint, [info])[0], np.arange(50.0))
