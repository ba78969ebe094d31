"""Twice as many tensors take twice the work, whatever is asked: lines that are run are counted."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from paramcli import workers
from paramcli.cli import main
from paramcli.content import equal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

SIZES = 100, 200, 400
PARTS = (
    *("attn.q.weight", "attn.k.weight", "attn.v.weight", "attn.o.weight", "mlp.up.weight"),
    *("mlp.down.weight", "mlp.gate.weight", "norm1.weight", "norm2.weight", "norm1.bias"),
)
COMMANDS = """
list base.safetensors --tree
list base.safetensors --format json
list base.safetensors --format lock
list base.safetensors --format table --width 80
list tied.lock
list overlap.pt --format lock
list trainer.pt --all --tree
list base.safetensors tuned.safetensors --include *attn* --sort name
list base.safetensors --report OUT.html
show base.safetensors model.layers.3
show overlap.pt *
show base.safetensors * --check finite
diff base.safetensors tuned.safetensors
diff base.safetensors tuned.safetensors --format table --width 80
diff base.safetensors tuned.safetensors --format github
diff base.safetensors prefixed.safetensors
diff base.safetensors renamed.safetensors
diff tuned.safetensors renamed.safetensors
diff base.safetensors apart.safetensors
diff base.safetensors less.safetensors
diff zeros.safetensors renamed.safetensors
diff overlap.pt base.safetensors
diff tied.pt apart.safetensors
diff base.lock renamed.safetensors
diff tied.lock tied.pt
diff tied.lock base.safetensors
tie overlap.pt
tie zeros.safetensors --find-equal
tie base.safetensors --like tied.pt -o OUT.safetensors --force
tie tied.pt --untie * -o OUT.safetensors
init base.safetensors --scheme gpt2 --dry-run --format table --width 80
init tied.pt --scheme kaiming -o OUT.pt
init base.safetensors --scheme kaiming --missing-only less.safetensors -o OUT.safetensors
init base.safetensors --scheme kaiming -o OUT --shard-size 4KB
init base.safetensors --rule *=zeros --rule *.weight=normal --dry-run
""".strip().splitlines()


class Folder(NamedTuple):
    path: Path
    size: int


def made(path: Path, count: int) -> Folder:
    """Make models of so many small tensors, and such as are one of them but for something."""
    path.mkdir()
    torch.manual_seed(0)
    names = [f"model.layers.{layer}.{part}" for layer in range(count // 10) for part in PARTS]
    base = {name: torch.randn(8, 8) for name in names}
    values = list(base.values())
    kinds = {
        "base": base,
        "tuned": {name: weight + 1e-3 for name, weight in base.items()},
        "prefixed": {f"module.{name}": weight for name, weight in base.items()},
        "renamed": {name.replace("model.layers", "h"): weight for name, weight in base.items()},
        "apart": {f"other.{name}.kernel": torch.randn(8, 8) for name in names},
        "less": {name: weight for at, (name, weight) in enumerate(base.items()) if at % 3},
        "zeros": {
            name: torch.zeros(8, 8) if at % 2 else weight
            for at, (name, weight) in enumerate(base.items())
        },
    }
    for kind, state in kinds.items():
        save_file(state, path / f"{kind}.safetensors")
    storage = torch.randn(count * 64)
    torch.save({n: values[at // 2 * 2] for at, n in enumerate(names)}, path / "tied.pt")
    views = {n: storage[at * 32 :][:64].view(8, 8) for at, n in enumerate(names)}
    torch.save(views, path / "overlap.pt")
    moments = {at: {"exp_avg": one, "step": torch.tensor(1.0)} for at, one in enumerate(values)}
    torch.save({"model": base, "optimizer": {"state": moments}}, path / "trainer.pt")
    for lock, of in (("base.lock", "base.safetensors"), ("tied.lock", "tied.pt")):
        (path / lock).write_text(said(["list", str(path / of), "--format", "lock"]))
    return Folder(path, count)


def said(argv: list[str]) -> str:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main(argv)
    assert code in (0, 1), argv
    return out.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Folder]:
    return [made(tmp_path_factory.mktemp("scaling") / str(size), size) for size in SIZES]


def lines_run(act: Callable[[], object]) -> int:
    """Count the lines of paramcli that are run, each round of a loop within a line as well."""
    count = 0

    def traced(_: FrameType, event: str, __: object) -> object:
        nonlocal count
        count += event == "line"
        return traced

    def called(frame: FrameType, *_: object) -> object:
        return traced if "/paramcli/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(called)  # type: ignore[arg-type]
    try:
        act()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("command", COMMANDS)
def test_work_grows_with_names(
    command: str, folders: list[Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "available", lambda: 1)
    monkeypatch.setattr(equal, "_SMALL_WORK", 1 << 40)  # what workers run is not counted
    monkeypatch.chdir(tmp_path)
    counts: list[int] = []
    for folder in folders:
        monkeypatch.chdir(folder.path)
        out = str(tmp_path / str(folder.size))
        argv = command.replace("OUT", out).split()
        if not counts:
            said(command.replace("OUT", f"{out}-first").split())  # which imports and compiles
        counts.append(lines_run(lambda argv=argv: said(argv)))  # type: ignore[misc]
    few, many = counts[1] - counts[0], counts[2] - counts[1]
    assert many < 2.7 * few, f"{counts} lines for {SIZES} tensors"
