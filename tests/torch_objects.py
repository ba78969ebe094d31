"""Objects full of tensors, as people save them, and what torch itself says is in them."""

from __future__ import annotations

import random
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo


def needs(*names: str) -> pytest.MarkDecorator:
    """Pass a test over where torch is too old to have these element types."""
    missing = [name for name in names if not hasattr(torch, name)]
    return pytest.mark.skipif(bool(missing), reason=f"torch {torch.__version__} has no {missing}")


OLD_DTYPES = tuple(
    getattr(torch, name)
    for name in (
        "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool", "complex64", "complex128",
    )
)  # fmt: skip
NEW_DTYPES = tuple(
    getattr(torch, name)
    for name in (
        "uint16", "uint32", "uint64", "complex32", "float8_e4m3fn", "float8_e4m3fnuz",
        "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "bits8", "bits16",
        "bits4x2", "bits2x4", "bits1x8",
    )
    if hasattr(torch, name)
)  # fmt: skip
"""Element types without a storage class of their own, which the legacy format cannot hold."""


# --- saving and loading without torch's warnings -------------------------------------------------


def save(obj: object, path: Path, *, zipped: bool = True, protocol: int = 2) -> str:
    """Save with torch and return the path as a target."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(
            obj, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
        )  # fmt: skip
    return str(path)


def load(path: str | Path, *, weights_only: bool) -> Any:
    """Load with torch, which warns of sparse and of quantized tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=weights_only)


# --- what torch says -----------------------------------------------------------------------------


class Facts(NamedTuple):
    """All that a listing says of a tensor, but for which others share its storage."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    offset: int
    nbytes: int | None
    kind: str
    layout: str


def leaves(node: object, path: str | None = None) -> Iterator[tuple[str, Tensor]]:
    """Walk to every tensor; names on the way are joined by dots."""
    if isinstance(node, Tensor):
        yield path or "", node
        return
    items: Iterator[tuple[object, object]] = iter(())
    if isinstance(node, dict):
        items = iter(node.items())
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for name, child in items:
        yield from leaves(child, str(name) if path is None else f"{path}.{name}")


def described(tensors: Sequence[tuple[str, Tensor]]) -> tuple[list[Facts], list[int]]:
    """Return the facts of tensors and their parts, and for each the first that shares with it."""
    facts: list[Facts] = []
    storages: list[object] = []
    for name, tensor in _numbered(tensors):
        kind = "parameter" if isinstance(tensor, nn.Parameter) else "tensor"
        parts = _parts(tensor)
        plain = tensor.layout == torch.strided and not tensor.is_meta
        nbytes = tensor.untyped_storage().nbytes() if plain else None
        layout = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        facts.append(
            Facts(
                name,
                str(tensor.dtype).removeprefix("torch."),
                tuple(tensor.shape),
                tensor.stride() if tensor.layout == torch.strided else None,
                int(tensor.storage_offset()) if plain else 0,
                nbytes,
                kind,
                "meta" if tensor.is_meta else layout,
            )
        )
        # torch keeps no account of who shares no bytes at all.
        storages.append(tensor.untyped_storage()._cdata if nbytes else object())
        if parts:
            facts += described(list(parts.items()))[0]
            storages += [
                value.untyped_storage()._cdata if value.untyped_storage().nbytes() else object()
                for value in parts.values()
            ]
    return facts, _first_of_each(storages)


def _first_of_each(storages: Sequence[object]) -> list[int]:
    first: dict[object, int] = {}
    return [first.setdefault(found, index) for index, found in enumerate(storages)]


def _numbered(tensors: Sequence[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Tell equal names apart as the listing does: the second `a` is `a#2`."""
    seen: dict[str, int] = {}
    for name, tensor in tensors:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), tensor


def _parts(tensor: Tensor) -> dict[str, Tensor]:
    if tensor.layout == torch.sparse_coo:
        return {"indices": tensor._indices(), "values": tensor._values()}
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        first, second = tensor.crow_indices(), tensor.col_indices()
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        first, second = tensor.ccol_indices(), tensor.row_indices()
    else:
        return {}
    return {"compressed_indices": first, "plain_indices": second, "values": tensor.values()}


def listed(entries: Sequence[TensorInfo]) -> tuple[list[Facts], list[int]]:
    """Say the same of a checkpoint's entries, in the same form."""
    facts: list[Facts] = []
    storages: list[object] = []
    for info in entries:
        bodiless = not info.storage.file
        facts.append(
            Facts(
                info.name,
                info.dtype.name,
                info.shape,
                None if info.layout.startswith("sparse") else info.stride,
                info.offset,
                None if bodiless else info.storage.nbytes,
                info.kind,
                info.layout,
            )
        )
        storages.append(info.storage if info.storage.nbytes else object())
        if info.layout.startswith("sparse"):
            facts += [fact._replace(kind="tensor") for fact in listed(info.parts)[0]]
            storages += [part.storage if part.storage.nbytes else object() for part in info.parts]
    return facts, _first_of_each(storages)


def stored_bytes(checkpoint: Checkpoint) -> Iterator[tuple[TensorInfo, bytes]]:
    """Read the bytes of every storage from where the checkpoint says that they lie."""
    for info in checkpoint:
        if info.storage.file and info.storage.nbytes:
            place = checkpoint.locate(info.storage)
            assert place is not None, info
            with open(place.file, "rb") as file:
                file.seek(place.offset)
                content = file.read(info.storage.nbytes)
            assert content == checkpoint.read(info.storage)
            yield info, content


def raw_bytes(tensor: Tensor) -> bytes:
    """Return all bytes of a tensor's storage."""
    content: bytes = (
        torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy().tobytes()
    )
    return content


# --- tensors -------------------------------------------------------------------------------------


def _filled(nbytes: int, seed: int) -> torch.UntypedStorage:
    made = torch.UntypedStorage(nbytes)  # type: ignore[no-untyped-call]
    if nbytes:
        view = torch.empty(0, dtype=torch.uint8).set_(made)
        view.copy_(
            torch.frombuffer(bytearray(random.Random(seed).randbytes(nbytes)), dtype=torch.uint8)
        )
    return made


@st.composite
def pools(
    draw: st.DrawFn, dtypes: Sequence[torch.dtype]
) -> list[tuple[torch.UntypedStorage, torch.dtype]]:
    """Some storages, each of one element type: torch saves no storage under two."""
    found = []
    for seed in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(dtypes))
        found.append((_filled(draw(st.integers(0, 12)) * dtype.itemsize, seed), dtype))
    return found


@st.composite
def views(draw: st.DrawFn, pool: list[tuple[torch.UntypedStorage, torch.dtype]]) -> Tensor:
    """Any view of any storage: of any rank, empty, transposed, expanded, overlapping."""
    storage, dtype = draw(st.sampled_from(pool))
    room = storage.nbytes() // dtype.itemsize
    size: list[int] = []
    stride: list[int] = []
    offset = draw(st.integers(0, max(room - 1, 0)))
    left = room - offset - 1
    for _ in range(draw(st.integers(0, 4))):
        step = draw(st.integers(0, 4))
        most = min(left // step, 4) if step else 3
        extent = draw(st.integers(1, most + 1)) if left >= 0 else 0
        left -= (extent - 1) * step
        size.append(extent)
        stride.append(step)
    if left < 0 and 0 not in size:
        size, stride, offset = [0], [1], 0
    if size and draw(st.integers(0, 3)) == 0:
        size[draw(st.integers(0, len(size) - 1))] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex32 is "experimental"
        found = torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)
    if dtype.is_complex and draw(st.booleans()):
        found = found.conj()
    return found


@st.composite
def dressed(draw: st.DrawFn, plain: st.SearchStrategy[Tensor]) -> Tensor:
    """A tensor as it is, as a Parameter, or with attributes of its own."""
    found = draw(plain)
    differentiable = found.dtype.is_floating_point and found.dtype.itemsize > 1
    match draw(st.sampled_from(["plain", "plain", "parameter", "tagged parameter", "tagged"])):
        case "parameter":
            found = nn.Parameter(found, requires_grad=differentiable)
        case "tagged parameter":
            found = nn.Parameter(found, requires_grad=differentiable)
            found.tag = draw(st.sampled_from(["x", 3, None]))  # type: ignore[attr-defined]
        case "tagged":
            found = found.detach()
            found.tag = [1, "y"]  # type: ignore[attr-defined]
    return found


@st.composite
def sparse(draw: st.DrawFn) -> Tensor:
    """A sparse tensor of any layout."""
    dense = torch.eye(4)[:, : draw(st.sampled_from([2, 4]))] * draw(st.integers(0, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match draw(st.sampled_from(["coo", "hybrid", "csr", "csc", "bsr", "bsc"])):
            case "coo":
                return dense.to_sparse()
            case "hybrid":
                return dense.to_sparse(1)
            case "csr":
                return dense.to_sparse_csr()
            case "csc":
                return dense.to_sparse_csc()
            case "bsr":
                return dense.to_sparse_bsr((2, 2))
            case _:
                return dense.to_sparse_bsc((2, 2))


@st.composite
def quantized(draw: st.DrawFn) -> Tensor:
    """A tensor quantized as a whole or by channel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = draw(st.sampled_from([torch.qint8, torch.quint8, torch.qint32]))
        dense = torch.ones(draw(st.integers(1, 3)), 4)
        if draw(st.booleans()):
            return torch.quantize_per_tensor(dense, 0.5, 0, kind)
        scales, zeros = torch.ones(4), torch.zeros(4, dtype=torch.int64)
        return torch.quantize_per_channel(dense, scales, zeros, 1, kind)


@st.composite
def meta(draw: st.DrawFn) -> Tensor:
    """A tensor that has no bytes."""
    dtype = draw(st.sampled_from([torch.float32, torch.int64, torch.bfloat16]))
    found = torch.empty(draw(st.lists(st.integers(0, 3), max_size=3)), dtype=dtype, device="meta")
    return found.T if found.dim() == 2 else found


def _tied() -> nn.Module:
    first = nn.Linear(2, 2)
    second = nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    return nn.Sequential(first, second, first)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(2, 3),
    "batch norm": lambda: nn.BatchNorm1d(2),
    "lstm": lambda: nn.LSTM(2, 3, num_layers=2),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "tied": _tied,
    "containers": lambda: nn.ModuleDict(
        {"a": nn.ModuleList([nn.Embedding(3, 2), nn.ParameterList([torch.ones(2)])])}
    ),
}


@st.composite
def state_dicts(draw: st.DrawFn) -> dict[str, Tensor]:
    """The state dict of a small module."""
    module = MODULES[draw(st.sampled_from(sorted(MODULES)))]()
    state: dict[str, Tensor] = module.state_dict(keep_vars=draw(st.booleans()))
    return state


# --- objects -------------------------------------------------------------------------------------

_scalars: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
)
_keys = (
    st.text(st.characters(codec="utf-8"), max_size=4)
    | st.sampled_from(["weight", "bias", "state_dict", "a.b", "0"])
    | st.integers(-2, 300)
)


@st.composite
def trees(draw: st.DrawFn, tensors: st.SearchStrategy[object]) -> object:
    """Containers in containers, some of them in two places, with tensors and other values."""
    made: list[object] = []

    def node(depth: int) -> object:
        kind = draw(st.sampled_from(["leaf"] * 3 + ["dict", "ordered", "list", "tuple", "again"]))
        if kind == "again" and made:
            return draw(st.sampled_from(made))
        if kind in ("leaf", "again") or depth > 3:
            found = draw(st.one_of(tensors, tensors, _scalars))
            if isinstance(found, Tensor):
                made.append(found)
            return found
        children = [node(depth + 1) for _ in range(draw(st.integers(0, 4)))]
        if kind == "list":
            result: object = children
        elif kind == "tuple":
            result = tuple(children)
        else:
            pairs = [(draw(_keys), child) for child in children]
            result = dict(pairs) if kind == "dict" else OrderedDict(pairs)
        made.append(result)
        return result

    return {"root": node(0), "more": node(1)}


@st.composite
def objects(draw: st.DrawFn, *, zipped: bool = True) -> object:
    """Anything that torch.save and torch.load carry, and the legacy format if not `zipped`."""
    pool = draw(pools(OLD_DTYPES + NEW_DTYPES if zipped else OLD_DTYPES))
    plain = dressed(views(pool))
    return draw(trees(st.one_of(plain, plain, plain, sparse(), quantized(), meta(), state_dicts())))


def crowd(count: int, seed: int, *, parameters: float = 0.02) -> dict[str, object]:
    """Make a state dict of so many tensors that the memo and the batches of pickle run over.

    Nearly all are plain; here and there stands a parameter, a tensor of no dimension, a second
    name, a view, an empty tensor, a number, a name in other letters, or a long name.
    """
    rng = random.Random(seed)
    found: dict[str, object] = OrderedDict()
    previous: Tensor = torch.zeros(2, 2)
    for index in range(count):
        shape = rng.choice([(), (1,), (3,), (2, 2), (2, 1, 3), (1, 2, 1, 2)])
        dtype = rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.int64])
        tensor = torch.zeros(shape, dtype=dtype)
        name = f"layers.{index}.weight"
        chance = rng.random()
        if chance < parameters:
            found[name] = nn.Parameter(tensor, requires_grad=dtype.is_floating_point)
            continue
        if chance > 0.97:
            tensor = rng.choice([previous, previous.T, previous[:0], torch.zeros(300)[257:]])
        elif chance > 0.96:
            found[f"{index}.steps"] = rng.choice([index, "text", None, [tensor], {"a": tensor}])
        elif chance > 0.95:
            name = rng.choice(["é" * 3, "名前", "x" * 300, "", "\n"]) + str(index)
        found[name] = tensor
        if tensor.dim() == 2:
            previous = tensor
    return found
