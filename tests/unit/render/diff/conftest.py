"""Reports of `diff` made by hand: tuned, renamed, wide, of a lock, hostile, and the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from paramcli.verbs.diff.report import (
    Ambiguous,
    Cause,
    DiffReport,
    DTypeChange,
    FactChange,
    Fused,
    Metrics,
    Module,
    Renamed,
    ShapeChange,
    TieChange,
    Transposed,
    ValueChange,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def report(**changes: Any) -> DiffReport:
    """Make the report of two that are the same."""
    return DiffReport(
        a="base.pt", b="tuned.pt", same=True, equal=38, not_compared=0, compared_by="bytes",
        only_a=(), only_b=(), shape=(), dtype=(), facts=(), renamed=(), fused=(), transposed=(),
        ambiguous=(), values=(), ties=TieChange(), rules=(), modules=(), cause=None, ignored=(),
        lines={}, lock=None,
    )._replace(**changes)  # fmt: skip


def change(name: str, relative: float | None, **changes: Any) -> ValueChange:
    """Make a change of this relative size; None is for one of no known amount."""
    if relative is None:
        return ValueChange(name, None)._replace(**changes)
    cosine = math.nan if math.isnan(relative) else max(-1.0, 1 - relative * relative / 2)
    metrics = Metrics(relative / 3, relative * 5, relative * 30, relative, cosine, 1234, 0.125)
    return ValueChange(name, metrics, shape=(64, 128))._replace(**changes)


def tuned() -> DiffReport:
    """Make what fine-tuning the last blocks leaves, with one of every kind of difference."""
    values = [
        change(f"blocks.{layer}.mlp.{part}.weight", 0.003 * layer)
        for layer in (10, 11)
        for part in ("fc", "proj")
    ]
    values += [
        change("blocks.3.attn.qkv.weight", 2e-7),
        change("blocks.11.attn.qkv.weight", math.nan, nan=3, infinite=1,
               finite=Metrics(0.1, 0.2, 0.3, 0.04, 0.999, 120, 0.1)),
        change("embed.position", math.inf, infinite=2, finite=Metrics(0, 0, 0, 0, None, 0, 0)),
        change("mask", None),
    ]  # fmt: skip
    moved = {(10, "mlp.fc"): 0.03, (11, "mlp.fc"): 0.033, (3, "attn.qkv"): 2e-7,
             (11, "attn.qkv"): math.nan, (10, "mlp.proj"): 0.2, (9, "norm"): 0.004}  # fmt: skip
    modules = [
        Module(layer, f"blocks.*.{part}", 2, (layer, part) in moved, moved.get((layer, part), 0.0))
        for layer in range(12)
        for part in ("attn.qkv", "mlp.fc", "mlp.proj", "norm")
        if (layer, part) != (0, "norm")
    ]
    modules += [Module(None, "embed", 1, 1, math.inf), Module(None, "head", 2, 0, 0.0)]
    return report(
        same=False, equal=1_030, not_compared=2,
        only_a=("head.bias",), only_b=tuple(f"adapters.{number}.weight" for number in range(14)),
        shape=(ShapeChange("head.weight", (50_257, 768), (768, 50_257), transposed=True),
               ShapeChange("pos", (None, 64), (512, 64))),
        dtype=(DTypeChange("scale", "float32", "bfloat16"),
               *(DTypeChange(f"w.{n}", "float32", "float16") for n in range(3))),
        facts=(FactChange("norm.mean", "kind", "buffer", "parameter"),),
        renamed=(*(Renamed(f"h.{n}.w", f"layers.{n}.w", "rewrite", (("h", "layers"),))
                   for n in range(36)),
                 Renamed("module.wte", "wte", "prefix", (("module.", ""),)),
                 Renamed("old.name", "new.name", "bytes")),
        fused=(Fused("blocks.0.qkv", ("blocks.0.q", "blocks.0.k", "blocks.0.v"), 0, "b"),),
        transposed=(Transposed("proj", "proj"), Transposed("left", "right")),
        ambiguous=(Ambiguous(("a.0", "a.1"), ("b.0", "b.1"), "one shape, and no rule"),),
        values=tuple(values),
        ties=TieChange((("head.weight", "embed.weight"),), (("a", "b", "c", "d", "e"),)),
        modules=tuple(modules),
    )  # fmt: skip


def renamed() -> DiffReport:
    """Make what a wrapper's prefix leaves."""
    rules = (("_orig_mod.module.", ""),)
    return report(
        same=False,
        renamed=tuple(Renamed(f"_orig_mod.module.{n}", str(n), "prefix", rules) for n in range(38)),
        cause=Cause(
            "all 38 names match after stripping _orig_mod.module.",
            "--rename '_orig_mod.module.='",
        ),
    )


def wide() -> DiffReport:
    """Make a model of 200 layers, of which the last ten moved, and of 30 modules each."""
    modules = [
        Module(layer, f"model.layers.*.experts.w{part}", 1, layer >= 190, (layer >= 190) * 0.01)
        for layer in range(200)
        for part in range(30)
    ]
    return report(same=False, values=(change("x", 0.01),), modules=tuple(modules))


def locked() -> DiffReport:
    """Make a lock held against a model that breaks it."""
    return report(
        a="params.lock", b="net.py:Net", same=False, equal=0, not_compared=12,
        only_a=("fc.bias",),
        shape=(ShapeChange("fc.weight", (None, 64), (10,), why="2 sizes, not 1"),),
        rules=(Violation("count_max", "9,000,000 parameters, at most 8,000,000", 12),
               Violation("tied", "head and embed are not tied", None)),
        lines={"fc.weight": 7, "fc.bias": 8}, lock="params.lock",
    )  # fmt: skip


HOSTILE = (
    "\x1b[31mred\u202e", "[bold]注意力.权重[/]", "a|b`c``d", "::error::x%0A", "new\nline\ttab",
    "</details><script>", "\ud800", "", "layers." * 40,
)  # fmt: skip


def hostile() -> DiffReport:
    """Make a report all whose texts would paint, break out or hide."""
    names, first = HOSTILE, HOSTILE[0]
    return report(
        a="evil\n::error::.pt", b="\x1b[2J.pt", same=False, only_a=names, only_b=names,
        shape=tuple(ShapeChange(name, (1, 2), (2, 1)) for name in names),
        dtype=tuple(DTypeChange(name, name, name) for name in names),
        facts=tuple(FactChange(name, name, name, name) for name in names),
        renamed=tuple(Renamed(name, name, "prefix", ((name, name),)) for name in names),
        fused=(Fused(first, names, 0, "a"),),
        transposed=tuple(Transposed(name, name) for name in names),
        ambiguous=(Ambiguous(names, names, "\x1b]0;"),),
        values=tuple(change(name, 0.5) for name in names),
        ties=TieChange((names,), (names,)),
        rules=tuple(Violation(name, name, 3) for name in names),
        modules=tuple(Module(n, f"{name}.*.x", 1, 1, 0.5) for n, name in enumerate(names))
        + tuple(Module(None, name, 1, 1, math.nan) for name in names),
        cause=Cause(first, first), lines=dict.fromkeys(names, 5), lock="x\n,::.lock",
    )  # fmt: skip


class Make(NamedTuple):
    """What tests make reports with."""

    report: Callable[..., DiffReport] = report
    change: Callable[..., ValueChange] = change


@pytest.fixture(scope="session")
def make() -> Make:
    """Give the makers."""
    return Make()


@pytest.fixture(scope="session")
def diffs() -> dict[str, DiffReport]:
    """Give the reports of the snapshots, by name."""
    return {
        "tuned": tuned(),
        "renamed": renamed(),
        "wide": wide(),
        "locked": locked(),
        "hostile": hostile(),
        "same": report(),
    }
