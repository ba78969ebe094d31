"""What ranks of torch wrote together, each its part, is read as the tensors that they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import paramcli
from paramcli.cli import main

pytest.importorskip(
    "torch.distributed.checkpoint.hf_storage", reason="this torch writes no distributed safetensors"
)
from tests.ranks.sharded import CUT

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4",
            "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
            "-m", "tests.ranks.sharded", str(folder),
        ],
        timeout=200, check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_all_pieces_come_together(form: str, written: Path) -> None:
    found, whole = paramcli.open(written / form), paramcli.open(written / "whole.pt")
    assert found.format == "dcp"
    assert {info.name: (info.dtype, info.shape) for info in found} == {
        info.name: (info.dtype, info.shape) for info in whole
    }
    assert len(found) == len(CUT) + 4
    assert main(["diff", str(written / form), str(written / "whole.pt")]) == 0


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_any_part_is_that_of_the_whole(form: str, written: Path) -> None:
    found, whole = paramcli.open(written / form), paramcli.open(written / "whole.pt")
    for info in found:
        expected = whole.read(whole[info.name].storage)
        for start in range(0, info.nbytes, 5):
            for size in (1, 7, info.nbytes):
                part = memoryview(bytearray(min(size, info.nbytes - start)))
                found.fill(info.storage, start, part)
                assert part == expected[start : start + size], (info.name, start, size)
