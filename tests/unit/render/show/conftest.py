"""Reports of `show` made by hand: plain, broken, complex, hostile, and of files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from paramcli.checkpoint import Pickle, Tree
from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.show import FileReport, Finite, Shown, ShowReport, Stats
from paramcli.verbs.survey import Totals

if TYPE_CHECKING:
    from collections.abc import Callable

PERCENTILES = ("1", "5", "25", "50", "75", "95", "99")
BELL = (1, 3, 9, 24, 55, 106, 172, 233, 264, 250, 197, 130, 74, 35, 14, 5, 2)
NONE: dict[str, float | None] = dict.fromkeys(PERCENTILES)


def shown(name: str, shape: tuple[int, ...] = (), dtype: str = "float32", **changes: Any) -> Shown:
    """Make a contiguous tensor of which no more is known."""
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    storage = Storage("file", name, DTYPES[dtype].nbytes(math.prod(shape)))
    info = TensorInfo(name, DTYPES[dtype], shape, stride, 0, storage)
    plain = Shown(name, info, None, None, None, None, {}, None)
    return plain._replace(**changes)


def stats(scale: float = 1.0, **changes: Any) -> Stats:
    """Make the statistics of something like a bell, this wide."""
    points = [scale * point for point in (-2.31, -1.63, -0.672, 0.00123, 0.681, 1.657, 2.34)]
    plain = Stats(
        mean=0.0012345 * scale, std=0.998 * scale, min=-3.21 * scale, max=3.45678 * scale,
        l2=31.4 * scale, zeros=0, negative_zeros=0, nan=0, positive_inf=0, negative_inf=0,
        percentiles=dict(zip(PERCENTILES, points, strict=True)),
        histogram=BELL, finite=None,
    )  # fmt: skip
    return plain._replace(**changes)


def spoiled() -> Stats:
    """Make the statistics of a tensor with NaN and infinities."""
    return stats(
        mean=math.nan, std=math.nan, min=math.nan, max=math.nan, l2=math.nan, zeros=12,
        negative_zeros=2, nan=1_234, positive_inf=2, negative_inf=1,
        finite=Finite(0.0125, 1.5, -3.25, 3.5),
    )  # fmt: skip


def of_complex(**changes: Any) -> Stats:
    """Make the statistics of a complex tensor, which has no order."""
    return stats(
        mean=(0.123456, -2.5e-9), min=None, max=None, percentiles=NONE, histogram=()
    )._replace(**changes)


def report(*tensors: Shown, **changes: Any) -> ShowReport:
    """Make the report of these tensors."""
    return ShowReport("model.pt", "torch-zip", None, None, tensors, None)._replace(**changes)


def plain() -> ShowReport:
    """Make a small network, the scales of its layers far apart."""
    shapes = {
        "conv.0.weight": (6, 1, 5, 5), "conv.0.bias": (6,), "fc.0.weight": (120, 256),
        "transformer.encoder.layers.11.self_attn.in_proj_weight": (2304, 768), "scale": (),
    }  # fmt: skip
    return report(
        *(
            shown(name, shape, stats=stats(10.0 ** (2 - 2 * order)))
            for order, (name, shape) in enumerate(shapes.items())
        )
    )


def broken() -> ShowReport:
    """Make what is not usual: NaN, complex, empty, without values, shared, and hostile names."""
    empty = stats(mean=None, std=None, min=None, max=None, l2=0.0, percentiles=NONE, histogram=())
    return report(
        shown("embed.weight", (64, 16), group="g1", stats=spoiled(), first_bad=(3, 11)),
        shown("head.weight", (64, 16), group="g1", stats=spoiled()),
        shown("filter", (3, 3), "complex64", stats=of_complex()),
        shown("nothing", (0, 3), stats=empty),
        shown("unknown", (7,), "quint8"),
        shown("\x1b[31mred\u202e", (2,), stats=stats()),
        shown("[bold]注意力.权重[/]", (2,), "int64", stats=stats(1e7)),
        note="unknown: no bytes\nto read",
    )


def card() -> ShowReport:
    """Make one tensor that has all that can be told of a tensor."""
    one = shown(
        "layers.0.weight", (4, 6), "float32", group="g1", stats=spoiled(), first_bad=(0, 2),
        facts={"scale": "0.01", "layers.0.weight.indices\x1b": "int64[2, 5]"},
        values=[[0.5, -0.25, math.nan], [1e-9, -math.inf, 12.0]], sliced=(2, 3),
    )  # fmt: skip
    info = one.info._replace(stride=(1, 4), offset=8, kind="parameter")
    return report(one._replace(info=info, name="weight"), module="layers.0", note="read on cpu")


def module() -> ShowReport:
    """Make a module's own tensors, of every rank, with their values."""
    ranks = {
        "scalar": ((), 3.5),
        "row": ((100,), [number / 8 for number in range(100)]),
        "long": ((100_000,), [*range(100_000)]),
        "matrix": ((30, 40), [[row * 0.001 - column for column in range(40)] for row in range(30)]),
        "kernel": ((16, 6, 2, 2), [[[[1e-5, 2.0], [3.0, -4.25]]] * 6] * 16),
        "mask": ((2, 2), [[True, False], [False, True]]),
        "wave": ((2,), [1.5 - 2j, complex(math.nan, 0)]),
        "empty": ((3, 0), [[], [], []]),
    }  # fmt: skip
    return report(
        *(
            shown(f"net.2.{name}", shape, values=values, sliced=shape, stats=stats())._replace(
                name=name
            )
            for name, (shape, values) in ranks.items()
        ),
        module="net.2",
    )


def file(**changes: Any) -> FileReport:
    """Make a training checkpoint."""
    return FileReport(
        target="trainer.pt", format="torch-zip", size=123_456, producer="torch 2.1",
        byteorder="little", key="state_dict", trees=(Tree("state_dict", 30), Tree("optimizer", 84)),
        values=(("epoch", "3"), ("optimizer.param_groups.0.lr", "0.0003")),
        metadata={"format": "pt"}, totals=Totals(30, 9_152, 35_840, 8_128, 31_744), groups=1,
        pickle=Pickle(("a.B",), ("os.system",), "it asks for os.system"), problems=(),
    )._replace(**changes)  # fmt: skip


def hostile() -> FileReport:
    """Make a file whose texts are long, many, and would paint."""
    return file(
        target="evil\n.pt", size=None, producer="\x1b[2Jtorch", key=None, groups=0, pickle=None,
        trees=(), metadata={"a|b`c": "word " * 1_000, "\u202e[bold]": "注意力" * 60, "": ""},
        values=tuple((f"optimizer.param_groups.{n}.weight_decay", "x") for n in range(55)),
        problems=tuple(f"layers.{n}.weight is\tmissing" for n in range(60)),
    )  # fmt: skip


class Make(NamedTuple):
    """What tests make reports with."""

    shown: Callable[..., Shown] = shown
    stats: Callable[..., Stats] = stats
    report: Callable[..., ShowReport] = report
    file: Callable[..., FileReport] = file


@pytest.fixture(scope="session")
def make() -> Make:
    """Give the makers."""
    return Make()


@pytest.fixture(scope="session")
def shows() -> dict[str, ShowReport | FileReport]:
    """Give the reports of the snapshots, by name."""
    return {
        "plain": plain(),
        "broken": broken(),
        "card": card(),
        "module": module(),
        "complex": report(shown("wave", (3,), "complex128", stats=of_complex())),
        "bare": report(shown("meta", (3, 4))),
        "empty": report(),
        "file": file(),
        "hostile": hostile(),
    }
