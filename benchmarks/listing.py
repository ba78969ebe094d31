"""The benchmarks of `list`: its start, files of three sizes, users' scripts, and the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from benchmarks.compare import FASTER, LATER, LONGER, SLOWER, Case
from benchmarks.files import FORMATS, find, find_shards, shards
from benchmarks.timing import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BENCHMARKS", "PARAMCLI"]

_SCRIPT = os.path.join(os.path.dirname(sys.executable), "paramcli")
PARAMCLI = (_SCRIPT,) if os.path.exists(_SCRIPT) else (sys.executable, "-m", "paramcli")

_NOTHING = Command((*PARAMCLI, "--version"))
_IMPORTS = Command((sys.executable, "-c", "import typer, rich"))

# What a user would write. The loops over safetensors read no values either.
_TORCH_LOAD = """
import sys, torch
state = torch.load(sys.argv[1], mmap={mmap}, weights_only=True, map_location="cpu")
for name, tensor in state.items():
    print(name, list(tensor.shape), tensor.dtype, sep="\\t")
"""
_SAFE_OPEN = """
import sys
from safetensors import safe_open
for path in sys.argv[1:]:
    with safe_open(path, framework="{framework}") as file:
        for name in file.keys():
            tensor = file.get_slice(name)
            print(name, tensor.get_shape(), tensor.get_dtype(), sep="\\t")
"""


def _list(path: str) -> Command:
    return Command((*PARAMCLI, "list", path))


def _table(path: str) -> Command:
    return Command((*PARAMCLI, "list", path, "--format", "table"), terminal=True)


def _user_script(form: str, path: str) -> Command:
    if form in ("zip", "legacy"):
        code = _TORCH_LOAD.format(mmap=form == "zip")  # only a zip can be mapped
        return Command((sys.executable, "-c", code, path))
    return Command((sys.executable, "-c", _SAFE_OPEN.format(framework="pt"), *shards(path)))


def start(_folder: str) -> Iterator[Case]:
    """Time the least that any command takes beside the imports it cannot do without."""
    yield Case(
        name="list.start",
        of="--version",
        beside="import typer, rich",
        ours=_NOTHING,
        theirs=_IMPORTS,
        measure=LONGER,
        limit=1.3,
    )


def pipe(folder: str) -> Iterator[Case]:
    """Time a list of 1,000 tensors in 1 GiB beside a command that does nothing."""
    for form in FORMATS:
        yield Case(
            name="list.pipe",
            of=f"1,000 {form}",
            beside="--version",
            ours=_list(find(folder, form, 1_000)),
            theirs=_NOTHING,
            measure=LONGER,
            limit=1.15,
            peak=45,
        )


def many(folder: str) -> Iterator[Case]:
    """Time long lists beside the imports: what a row costs."""
    for count, limit, peak in ((10_000, 2, None), (100_000, 10, 220)):
        for form in FORMATS:
            yield Case(
                name="list.many",
                of=f"{count:,} {form}",
                beside="import typer, rich",
                ours=_list(find(folder, form, count)),
                theirs=_IMPORTS,
                measure=LONGER,
                limit=limit,
                peak=peak,
            )


def in_shards(folder: str) -> Iterator[Case]:
    """Time a list of 100,000 tensors in 2,000 shards."""
    yield Case(
        name="list.shards",
        of="100,000 in 2,000 shards",
        beside="nothing",
        ours=_list(find_shards(folder)),
        theirs=Command((sys.executable, "-c", "pass")),
        measure=SLOWER,
        limit=2_000,
        peak=220,
    )


def scripts(folder: str) -> Iterator[Case]:
    """Time lists beside scripts that users write; the one without torch has no goal."""
    wanted = [(1_000, form, 15) for form in FORMATS]
    wanted += [(100_000, form, 3) for form in ("zip", "legacy")]
    for count, form, limit in wanted:
        path = find(folder, form, count)
        yield Case(
            name="list.scripts",
            of=f"{count:,} {form}",
            beside="torch.load" if form in ("zip", "legacy") else "safe_open, torch",
            ours=_list(path),
            theirs=_user_script(form, path),
            measure=FASTER,
            limit=limit,
            same="names",
            slow=count == 100_000,
        )
    for count in (1_000, 100_000):
        path = find(folder, "safetensors", count)
        code = _SAFE_OPEN.format(framework="numpy")
        yield Case(
            name="list.scripts",
            of=f"{count:,} safetensors",
            beside="safe_open, numpy",
            ours=_list(path),
            theirs=Command((sys.executable, "-c", code, path)),
            measure=FASTER,
            same="names",
        )


def screen(folder: str) -> Iterator[Case]:
    """Time a table on a terminal beside the same list into a pipe.

    Of 1,000 rows the whole run; of 100,000 how much later the first byte comes, counted on both
    sides from the start of the process: it waits for the width of every cell.
    """
    for count, measure, limit in ((1_000, SLOWER, 20), (100_000, LATER, 500)):
        path = find(folder, "zip", count)
        yield Case(
            name="list.screen",
            of=f"{count:,} zip{', first byte' if measure is LATER else ''}",
            beside="list into a pipe",
            ours=_table(path),
            theirs=_list(path),
            measure=measure,
            limit=limit,
            same="names",
        )


BENCHMARKS: dict[str, Callable[[str], Iterator[Case]]] = {
    "list.start": start,
    "list.pipe": pipe,
    "list.many": many,
    "list.shards": in_shards,
    "list.scripts": scripts,
    "list.screen": screen,
}
