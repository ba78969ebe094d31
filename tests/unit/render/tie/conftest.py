"""Reports of `tie` made by hand: shared, changed, probed, hostile and empty."""

from __future__ import annotations

from typing import Any

import pytest

from paramcli.verbs.survey import Totals
from paramcli.verbs.tie.report import (
    Change,
    Equal,
    Evidence,
    LeftOut,
    Probed,
    Stated,
    Survival,
    Tie,
    TieReport,
)

SEEN, UNSUMMED = (True, True), (True, False)
UNKNOWN = None, None, None, None


def report(**changes: Any) -> TieReport:
    """Make the report of a file in which nothing is shared."""
    totals = Totals(4, 1_000, 4_000, 1_000, 4_000)
    return TieReport("model.pt", "torch-zip", None, (), totals)._replace(**changes)


def group(number: int, *names: str, **changes: Any) -> Tie:
    """Make a group of names that are one view."""
    evidence = (Evidence("storage", f"storage data/{number}"),)
    shared = Tie(f"g{number}", names, "same", "same", 4096, 4096, "float32", (32, 32), evidence)
    return shared._replace(**changes)


def shared() -> TieReport:
    """Make groups of every form, equal bytes, and a config that disagrees."""
    lying = {"encoder.weight": "[64, 32] with steps [32, 1]",
             "decoder.weight": "[32, 64] with steps [1, 32]"}  # fmt: skip
    groups = [
        group(1, "embed.weight", "lm_head.weight"),
        group(2, *(f"blocks.{n}.attn.shared.relative_position.weight" for n in range(12))),
        group(3, "encoder.weight", "decoder.weight", relation="overlap", form="transposed",
              evidence=tuple(Evidence("view", f"{name}: float32{rest}, bytes 0 to 8,192")
                             for name, rest in lying.items())),
        *(group(n, f"a.{n}", f"b.{n}") for n in range(4, 30)),
    ]  # fmt: skip
    return report(
        groups=tuple(groups), totals=Totals(90, 9_000_000, 36_000_000, 8_000_000, 32_000_000),
        config=Stated("dir/config.json", tied=False, input="embed.weight", output="lm_head.weight",
                      agrees=False, text="lm_head.weight shares the bytes of embed.weight"),
        equal=(Equal(("wte.weight", "head.weight"), "same", "bfloat16", (50_257, 768), 77_194_752),
               Equal(("up.weight", "down.weight"), "transposed", "float32", (9, 3072), 110_592)),
        left_out=LeftOut(3, 12),
    )  # fmt: skip


def probed() -> TieReport:
    """Make what a probe sees of a tie that holds, of one that does not, and of a buffer."""
    kept = (
        Survival("to(dtype)", "kept"),
        Survival("load_state_dict(assign=True)", "weakened"),
        Survival("safetensors save_file", "failed", "RuntimeError: Some tensors share memory"),
    )
    lost = (Survival("to(dtype)", "lost"), Survival("to_empty()", "lost", "values are gone"))
    return report(
        target="net.py:Net", format="module",
        groups=(group(1, "2.weight", "4.weight"), group(2, "a", "b"), group(3, "m", "n")),
        totals=Totals(8, 193, 772, 121, 484),
        probe=(
            Probed("g1", ("2.weight", "4.weight"), *SEEN, 3.6e-15, 7.5, "float64",
                   "2 of 2 names take part", kept),
            Probed("g2", ("a", "b"), *UNSUMMED, 1.25, 2.5, "float64",
                   "2 Parameters on one storage, each with a gradient of its own", lost),
            Probed("g3", ("m", "n"), *UNKNOWN, "float64", "no gradient reached it",
                   kept),
        ),
    )  # fmt: skip


def changed() -> TieReport:
    """Make what was tied and written."""
    return report(
        groups=(group(1, "embed.weight", "lm_head.weight"),), output="out.safetensors",
        changes=(Change("tied", ("lm_head.weight",), "embed.weight"),
                 Change("added", ("decoder.weight",), "embed.weight"),
                 Change("untied", ("x", "y"))),
    )  # fmt: skip


HOSTILE = (
    "\x1b[31mred\u202e", "[bold]注意力.权重[/]", "a|b`c``d", "::error::x%0A", "new\nline\ttab",
    "</details><script>", "\ud800", "layers." * 40,
)  # fmt: skip


def hostile() -> TieReport:
    """Make a report all whose texts would paint, break out or hide."""
    odd = tuple(Evidence("metadata", name) for name in HOSTILE)
    survival = tuple(Survival(name, "lost", name) for name in HOSTILE)
    return report(
        target="evil\n::error::.pt", groups=(group(1, *HOSTILE, evidence=odd),
        group(2, *HOSTILE, relation="overlap", form="overlap", evidence=odd)),
        config=Stated(HOSTILE[0], tied=True, input=HOSTILE[1], output=HOSTILE[2], agrees=False,
                      text=HOSTILE[4]),
        equal=(Equal(HOSTILE, "same", "float32", (3,), 12),), left_out=LeftOut(),
        probe=(Probed("g1", HOSTILE, *UNKNOWN, "float64", HOSTILE[4], survival),),
        changes=(Change("tied", HOSTILE, HOSTILE[0]),), output="\x1b[2J.pt",
    )  # fmt: skip


@pytest.fixture(scope="session")
def ties() -> dict[str, TieReport]:
    """Give the reports of the snapshots, by name."""
    return {
        "shared": shared(),
        "probed": probed(),
        "changed": changed(),
        "hostile": hostile(),
        "empty": report(equal=(), left_out=LeftOut()),
    }
