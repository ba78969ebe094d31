"""What CI systems read of this repository does what it says: the action, the hook, the driver."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """Make what a runner of GitHub's has, paramcli already installed."""
    program = tmp_path / "paramcli" / "bin" / "paramcli"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m paramcli "$@"\n')
    program.chmod(0o755)
    torch.save({"w": torch.ones(3)}, tmp_path / "a.pt")
    torch.save({"w": torch.ones(3, dtype=torch.float64)}, tmp_path / "b.pt")
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "A": str(tmp_path / "a.pt"),
        "B": str(tmp_path / "b.pt"),
        "OPTIONS": "",
    }


def compare(runner: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    step = loaded("action.yml")["runs"]["steps"][1]
    assert set(step["env"]) == {"A", "B", "OPTIONS"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step["run"]],
        env=runner | more, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_action_annotates_and_sums_up(runner: dict[str, str]) -> None:
    done = compare(runner)
    assert done.returncode == 1
    assert "::error" in done.stdout
    assert "float64" in Path(runner["GITHUB_STEP_SUMMARY"]).read_text()


def test_the_action_takes_options_as_a_shell_would(runner: dict[str, str]) -> None:
    assert compare(runner, OPTIONS="--ignore-dtype --rename 'x y=z'").returncode == 0
    hostile = compare(runner, OPTIONS="--ignore-dtype $(touch hacked) `id`")
    assert hostile.returncode == 2
    assert not Path("hacked").exists()


def test_the_action_fails_where_the_command_does(runner: dict[str, str]) -> None:
    done = compare(runner, B="nowhere.pt")
    assert done.returncode == 2
    assert not Path(runner["GITHUB_STEP_SUMMARY"]).exists()


def test_the_hook_runs_the_command(runner: dict[str, str]) -> None:
    (hook,) = loaded(".pre-commit-hooks.yaml")
    command = [*shlex.split(hook["entry"])[1:], runner["A"], runner["A"]]
    done = subprocess.run(
        [sys.executable, "-m", "paramcli", *command], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0
