"""Under torchrun work is shared over ranks; bytes and reports are those of one process."""

from __future__ import annotations

import filecmp
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
DEVICES = str(Path(__file__).with_name("devices.py"))
SCRIPT = str(ROOT / "tests" / "ranks" / "several.py")
GPT = [
    "sample_models.tiny_gpt:TinyGPT",
    *(part for pair in ("vocab=3000", "d_model=256", "layers=4") for part in ("--arg", pair)),
]


def python(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run with NumPy on one thread, as the installed command does."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT, timeout=200, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **threads, **env},
    )  # fmt: skip


def torchrun(count: int, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return python(
        "-m", "torch.distributed.run", "--nproc-per-node", str(count),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *argv, **env,
    )  # fmt: skip


DCP = "no_dist" in inspect.signature(save_distributed).parameters
"""Whether torch takes the word of one rank that it writes alone."""


def commands(folder: Path) -> list[list[str]]:
    """Write in every format, compare, measure, and meet an error."""
    made = [str(folder / name) for name in ("a.safetensors", "a.pt", "shards", "dcp")]
    other = str(folder / "b.safetensors")
    init = ["init", *GPT, "--scheme", "gpt2", "-o"]
    return [
        [*init, made[0]],
        [*init, made[1]],
        [*init, made[2], "--shard-size", "4MB"],
        *([[*init, made[3], "--to", "dcp"]] if DCP else []),
        [*init, other, "--seed", "1", "--dtype", "bfloat16"],
        ["init", "--verify", made[2]],
        *(["diff", made[0], one] for one in (made[1:] if DCP else made[1:3])),
        ["diff", made[0], other, "--format", "json", "--report", str(folder / "diff.json")],
        ["show", made[0], "blocks.*", "--format", "json"],
        ["show", made[1], "--check", "finite"],
        ["tie", other, "--find-equal"],
        ["diff", made[0], str(folder / "nowhere.pt"), "--report", str(folder / "error.json")],
        ["list", made[2]],
    ]


def plain(found: list[list[Any]], folder: Path) -> list[list[Any]]:
    """What commands gave, whatever the folder is called."""
    told: list[list[Any]] = json.loads(json.dumps(found).replace(str(folder), "FOLDER"))
    return told


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    done = python(SCRIPT, json.dumps(commands(folder)), str(folder / "told"))
    assert done.returncode == 0, done.stderr
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("count", "large"), [(1, True), (2, False), (2, True), (3, True), (4, True)]
)
def test_any_number_of_ranks_gives_the_same(
    count: int, *, large: bool, alone: Path, tmp_path: Path
) -> None:
    """Whether all is dealt out, or some is taken."""
    told, how = tmp_path / "told", {"ALL_IS_LARGE": "1"} if large else {}
    done = torchrun(count, SCRIPT, json.dumps(commands(tmp_path)), str(told), **how)
    assert done.returncode == 0, done.stderr
    wanted = plain(json.loads((alone / "told").read_text()), alone)
    assert plain(json.loads(told.read_text()), tmp_path) == wanted
    assert [code for code, *_ in wanted] == [0] * (9 if DCP else 7) + [1] + [0] * 3 + [2, 0]
    assert names(tmp_path) == names(alone)
    for name in names(tmp_path):
        if name.endswith((".safetensors", ".pt", ".distcp", ".metadata")):
            assert filecmp.cmp(tmp_path / name, alone / name, shallow=False), name
    for name, status in (("diff.json", 1), ("error.json", 2)):
        assert json.loads((tmp_path / name).read_text())["status"] == status


def test_a_rank_that_is_held_up_does_less(tmp_path: Path) -> None:
    """The first waits in its own part until the second has done the last of all."""
    done = torchrun(2, str(Path(__file__).with_name("held_up.py")), str(tmp_path / "last"))
    assert done.returncode == 0, done.stderr
    owners = json.loads(done.stdout)
    assert len(owners) == 64
    assert owners[:48] == [0, 1] * 24
    assert owners[48:] == [1] * 16


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("limited", ["0", "1"])
def test_one_rank_fails_and_all_end(limited: str, *, large: bool, tmp_path: Path) -> None:
    """It may write only a MiB; nothing is left of what was begun, and all know why."""
    told, out = tmp_path / "told", tmp_path / "a.safetensors"
    wanted = [["init", *GPT, "--scheme", "gpt2", "-o", str(out)], ["--version"]]
    how = {"ALL_IS_LARGE": "1"} if large else {}
    done = torchrun(2, SCRIPT, json.dumps(wanted), str(told), LIMITED_RANK=limited, **how)
    assert done.returncode == 0, done.stderr
    (code, printed, talk), (last, *_) = json.loads(told.read_text())
    assert (code, printed, last) == (2, "", 0)
    assert f"{out}: cannot be written: file too large" in talk
    assert f"error: rank {limited}: " in talk
    assert names(tmp_path) == ["told"]


@pytest.mark.parametrize(("devices", "groups"), [(2, 1), (1, 0)])
def test_each_rank_has_a_device(devices: int, groups: int, alone: Path, tmp_path: Path) -> None:
    """Results travel by a group of the devices, unless two ranks share one; they stay the same."""
    made, report = str(tmp_path / "a.safetensors"), tmp_path / "diff.json"
    cuda = ("--device", "cuda")
    commands = [
        ["init", *GPT, "--scheme", "gpt2", "-o", made, *cuda],
        ["diff", made, str(alone / "b.safetensors"), "--report", str(report), *cuda],
        ["show", made, "--check", "finite", *cuda],
        ["diff", made, str(tmp_path / "nowhere.pt"), *cuda],
    ]
    told = tmp_path / "told"
    done = torchrun(2, DEVICES, json.dumps(commands), str(told), str(devices))
    assert done.returncode == 0, done.stderr
    assert [code for code, *_ in json.loads(told.read_text())] == [0, 1, 0, 2]
    notes = [json.loads((tmp_path / f"told.{rank}").read_text()) for rank in (0, 1)]
    assert notes == [
        {"taken": [0], "groups": groups}, {"taken": [devices - 1], "groups": groups},
    ]  # fmt: skip
    assert filecmp.cmp(made, alone / "a.safetensors", shallow=False)
    ours, theirs = (
        json.loads((folder / "diff.json").read_text())["values"] for folder in (tmp_path, alone)
    )
    assert [one["name"] for one in ours] == [one["name"] for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["l2"] == pytest.approx(other["l2"], rel=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_ranks_that_share_a_real_device(alone: Path, tmp_path: Path) -> None:
    """As above, with nothing pretended."""
    made, cuda = str(tmp_path / "a.safetensors"), ("--device", "cuda")
    commands = [
        ["init", *GPT, "--scheme", "gpt2", "-o", made, *cuda],
        ["diff", made, str(alone / "b.safetensors"), *cuda],
        ["show", made, "blocks.*", *cuda],
    ]
    told = tmp_path / "told"
    done = torchrun(2, SCRIPT, json.dumps(commands), str(told))
    assert done.returncode == 0, done.stderr
    assert [code for code, *_ in json.loads(told.read_text())] == [0, 1, 0]
    assert filecmp.cmp(made, alone / "a.safetensors", shallow=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_results_travel_by_nccl() -> None:
    """Which takes as many devices as ranks: one of each will do."""
    done = torchrun(1, str(Path(__file__).with_name("by_nccl.py")))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, "nccl", [{"moments": [1, 2.5]}]]


def test_the_command_itself(tmp_path: Path) -> None:
    """As a user types it; torchrun folds exit codes into 1, so the verdict is in the report."""
    report = tmp_path / "report.json"
    done = torchrun(2, "-m", "paramcli", "list", "nowhere.pt", "--report", str(report))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == ["error: nowhere.pt: no such file or directory"]
    told: Mapping[str, object] = json.loads(report.read_text())
    assert (told["status"], told["error"]) == (2, "nowhere.pt: no such file or directory")
