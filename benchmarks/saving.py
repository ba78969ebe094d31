"""The benchmarks of writing: 1 GiB of 1,000 tensors read and written, beside `cp` and scripts.

Ours waits for the disk before it renames, so `cp` is followed by `sync` of the file; the scripts
wait for nothing.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, LONGER, Case
from benchmarks.files import FORMATS, find, size
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS"]

_PEAK = 64
_TENSORS = 1_000
_OURS = """
import sys, paramcli
from paramcli.save import save
save(paramcli.open(sys.argv[1]), sys.argv[2])
"""
_SCRIPTS = {
    "safetensors": """
import sys
from safetensors.torch import load_file, save_file
save_file(load_file(sys.argv[1]), sys.argv[2])
""",
    "zip": """
import sys, torch
from safetensors.torch import load_file
torch.save(load_file(sys.argv[1]), sys.argv[2])
""",
}


def _paths(folder: str, form: str) -> tuple[str, str]:
    source = find(folder, "safetensors", _TENSORS)
    written = os.path.join(folder, "written")
    os.makedirs(written, exist_ok=True)
    return source, os.path.join(written, FORMATS[form])


def _ours(folder: str, form: str) -> Command:
    return Command((sys.executable, "-c", _OURS, *_paths(folder, form)))


def copies(folder: str) -> Iterator[Case]:
    """Time both formats beside a copy of the same bytes that waits for the disk too."""
    for form in _SCRIPTS:
        copy = ("sh", "-c", 'cp "$0" "$1" && sync "$1"', *_paths(folder, form))
        yield Case(
            name="save.copy",
            of=f"{size(4)} safetensors to {form}",
            beside="cp, sync",
            ours=_ours(folder, form),
            theirs=Command(copy),
            measure=LONGER,
            peak=_PEAK,
        )


def scripts(folder: str) -> Iterator[Case]:
    """Time both formats beside what users write."""
    for form, script in _SCRIPTS.items():
        yield Case(
            name="save.script",
            of=f"{size(4)} safetensors to {form}",
            beside={"safetensors": "save_file", "zip": "torch.save"}[form],
            ours=_ours(folder, form),
            theirs=Command((sys.executable, "-c", script, *_paths(folder, form))),
            measure=FASTER,
            peak=_PEAK,
            long=True,
        )


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "save.copy": copies,
    "save.script": scripts,
}
