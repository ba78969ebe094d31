"""The shell completes verbs, and names and trees of a target that is on this disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "sample_models" / "files"
MODEL, TRAINER = str(FILES / "model.pt"), str(FILES / "trainer.pt")
FORBIDDEN = "import sys; sys.modules.update(torch=None, numpy=None); from paramcli.cli import run; "


def completed(*words: str, shell: str = "bash") -> list[str]:
    """Ask as the shell does, with torch and NumPy made unimportable."""
    line = " ".join(("paramcli", *words))
    env = {
        "_PARAMCLI_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN + "run()"],
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["sh"], ["show"]),
        (["show", MODEL, "conv.3"], ["conv.3.weight", "conv.3.bias"]),
        (["tie", MODEL, "fc.0.bias", "fc.2."], ["fc.2.weight", "fc.2.bias"]),
        (["list", MODEL, "--include", "fc.4."], ["fc.4.weight", "fc.4.bias"]),
        (["list", TRAINER, "--key", "op"], ["optimizer"]),
        (["list", MODEL, "--format", "j"], ["json"]),
        (["list", TRAINER, "--all", "--exclude", ""], ["ema.", "optimizer.", "state_dict."]),
        (["init", MODEL, "--scheme", "kaiming_"], ["kaiming_normal", "kaiming_uniform"]),
        (["init", MODEL, "--scheme", "nano"], ["nanogpt"]),
        (["init", MODEL, "--rule", "fc.4.w"], ["fc.4.weight"]),
        (["init", MODEL, "--rule", "fc.4.weight=zeros"], ["fc.4.weight=zeros"]),
        (["show", "nowhere.pt", "x"], []),
        (["show", str(Path(__file__)), "x"], []),
        (["show", f"{FILES.parent / 'lenet.py'}:LeNet", "conv"], []),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else value,
)
def test_what_is_offered(words: list[str], found: list[str]) -> None:
    assert sorted(completed(*words)) == sorted(found)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell: str) -> None:
    assert any(
        "conv.0.weight" in word for word in completed("show", MODEL, "conv.0.w", shell=shell)
    )


def test_it_can_be_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paramcli", "--help"],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert "--install-completion" in done.stdout
