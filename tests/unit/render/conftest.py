"""Reports made by hand, so that each renderer is tested without opening anything."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from paramcli.checkpoint import Pickle, Tree
from paramcli.sharing import share
from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.survey import DTypeTotal, ListReport, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paramcli.tensors import Kind

SNAPSHOTS = Path(__file__).parents[2] / "snapshots"


def entry(
    name: str,
    dtype: str = "float32",
    shape: Sequence[int] = (),
    *,
    key: str = "",
    kind: Kind = "tensor",
) -> TensorInfo:
    """Make a contiguous tensor; those of one storage `key` share."""
    shape = tuple(shape)
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    nbytes = DTYPES[dtype].nbytes(math.prod(shape))
    storage = Storage("file", key or name, nbytes)
    return TensorInfo(name, DTYPES[dtype], shape, stride, 0, storage, kind)


def survey(*entries: TensorInfo, **changes: Any) -> ListReport:
    """Make the report of these entries, counting what is shared once by its storage."""
    groups = share(entries)
    unique = {info.storage: info for info in entries}.values()
    by_dtype = [
        DTypeTotal(dtype, len(ours), sum(i.numel for i in ours), sum(i.nbytes for i in ours))
        for dtype in dict.fromkeys(info.dtype.name for info in entries)
        if (ours := [info for info in entries if info.dtype.name == dtype])
    ]
    fields: dict[str, Any] = {
        "target": "model.pt",
        "format": "torch-zip",
        "key": None,
        "tensors": entries,
        "groups": groups,
        "group_of": {name: group.id for group in groups for name in group.names},
        "totals": Totals(
            len(entries),
            sum(info.numel for info in entries),
            sum(info.nbytes for info in entries),
            sum(info.numel for info in unique),
            sum(info.nbytes for info in unique),
        ),
        "by_dtype": tuple(by_dtype),
        "metadata": {},
        "trees": (),
        "pickle": None,
        "problems": (),
    }
    return ListReport(**fields | changes)


def lenet() -> ListReport:
    """Make a small convolutional network, as a file that does not know parameters from buffers."""
    shapes = {
        "conv.0": (6, 1, 5, 5),
        "conv.3": (16, 6, 5, 5),
        "fc.0": (120, 256),
        "fc.2": (84, 120),
        "fc.4": (10, 84),
    }
    return survey(
        *(
            entry(f"{module}.{name}", "float32", size)
            for module, shape in shapes.items()
            for name, size in (("weight", shape), ("bias", shape[:1]))
        )
    )


def transformer(layers: int = 12) -> ListReport:
    """Make a model class with tied embeddings, buffers, two dtypes and long names."""
    prefix = "transformer.encoder.layers"
    blocks = [
        entry(f"{prefix}.{layer}.{name}", "bfloat16", shape, kind="parameter")
        for layer in range(layers)
        for name, shape in (
            ("self_attn.in_proj_weight", (2304, 768)),
            ("self_attn.out_proj.weight", (768, 768)),
            ("norm1.weight", (768,)),
        )
    ]
    return survey(
        entry("embed.weight", "bfloat16", (50257, 768), key="e", kind="parameter"),
        *blocks,
        entry("position_ids", "int64", (1, 1024), kind="buffer"),
        entry("head.weight", "bfloat16", (50257, 768), key="e", kind="parameter"),
        target="gpt.py:Net",
        format="module",
    )


def hostile() -> ListReport:
    """Names that would paint, hide, or be read as markup, and a pickle that asked for too much."""
    return survey(
        entry("\x1b[31mred\x1b[0m", shape=(2, 3)),
        entry("safe\u202egpj.weight", shape=(1,)),
        entry("[bold red]markup[/]", "float64"),
        entry("注意力.权重", shape=(4, 4)),
        entry("emoji.🔥.bias", shape=(0, 3)),
        entry("pipe|tick`s``<b>*_", shape=(8,)),
        entry("tab\tnew\nline", "bool", (3,)),
        entry("\ud800half", "int64", ()),
        target="evil\n::error::.pt",
        metadata={"note": "\u202e"},
        trees=(Tree("state_dict", 8), Tree("ema", 1)),
        pickle=Pickle(
            ("torch._utils._rebuild_tensor_v2",), ("os.system",), "it asks for os.system"
        ),
        problems=tuple(
            f"the index names layers.{number}.weight, 100% missing\nfrom: every shard, as it seems"
            for number in range(12)
        ),
    )


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., TensorInfo]:
    """Give `entry`."""
    return entry


@pytest.fixture(scope="session")
def make_report() -> Callable[..., ListReport]:
    """Give `survey`."""
    return survey


@pytest.fixture(scope="session")
def reports() -> dict[str, ListReport]:
    """Give the reports of the snapshots, by name."""
    return {
        "lenet": lenet(),
        "transformer": transformer(),
        "hostile": hostile(),
        "empty": survey(),
    }


@pytest.fixture(scope="session")
def snapshot() -> Callable[[str, str], None]:
    """Give a check that a drawing is what tests/snapshots holds under this name.

    PARAMCLI_UPDATE_SNAPSHOTS=1 writes it there instead.
    """

    def check(name: str, drawing: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        if os.environ.get("PARAMCLI_UPDATE_SNAPSHOTS") == "1":
            path.parent.mkdir(exist_ok=True)
            path.write_text(drawing, encoding="utf-8")
        assert drawing == path.read_text(encoding="utf-8")

    return check
