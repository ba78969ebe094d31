"""Other tools that list and measure checkpoints, where their commands are installed.

`pip install sft-cli safetensors-print ckptkit weightscope` in a venv whose bin is in PATH gives
all of them.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, Case
from benchmarks.files import find, find_changed, find_values, size
from benchmarks.listing import PARAMCLI
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_PEAK = 256
_LISTS = (
    ("safetensors", ("sft", "tree")),
    ("safetensors", ("safetensors-print", "--tensors")),
    ("safetensors", ("ckptkit", "info")),
    ("zip", ("ckptkit", "info")),
)


def _installed(name: str) -> bool:
    if shutil.which(name) is None:
        print(f"left out: {name} is not installed", file=sys.stderr)
        return False
    return True


def lists(folder: str) -> Iterator[Case]:
    """Time lists of 1,000 tensors; ckptkit shows the first fifty."""
    for form, argv in _LISTS:
        if _installed(argv[0]):
            path = find(folder, form, 1_000)
            yield Case(
                name="list.peers",
                of=f"1,000 {form}",
                beside=" ".join(argv),
                ours=Command((*PARAMCLI, "list", path)),
                theirs=Command((*argv, path)),
                measure=FASTER,
            )


def statistics(folder: str) -> Iterator[Case]:
    """Time statistics of every tensor; ours have percentiles and histograms besides."""
    if _installed("sft"):
        path = find_values(folder, "safetensors", "float32")
        yield Case(
            name="show.peers",
            of=f"{size()} float32",
            beside="sft stat",
            ours=Command((*PARAMCLI, "show", path, "*", "--format", "tsv")),
            theirs=Command(("sft", "stat", path)),
            measure=FASTER,
            peak=_PEAK,
            long=True,
        )


def differences(folder: str) -> Iterator[Case]:
    """Time a comparison with all metrics, the answers held against each other.

    weightscope compares directories, and counts changed elements and the largest change alone.
    """
    a = find_values(folder, "safetensors", "float32")
    b = find_changed(folder, "safetensors", "float32", "few")
    homes = os.path.dirname(a), os.path.dirname(b)
    peers: tuple[tuple[str, tuple[str, ...], str, int | None], ...] = (
        ("sft diff --delta", ("sft", "diff", a, b, "--delta"), "peer", 50),
        ("weightscope diff", ("weightscope", "diff", *homes, "--threshold", "0"), "scope", None),
    )
    for beside, argv, same, limit in peers:
        if _installed(argv[0]):
            yield Case(
                name="diff.peers",
                of=f"{size()} float32, 5 % changed",
                beside=beside,
                ours=Command((*PARAMCLI, "diff", a, b, "--format", "json"), code=1),
                theirs=Command(argv),
                measure=FASTER,
                limit=limit,
                peak=_PEAK,
                same=same,
                long=True,
            )


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "list.peers": lists,
    "show.peers": statistics,
    "diff.peers": differences,
}
