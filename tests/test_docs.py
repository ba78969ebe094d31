"""What the README and the documents show is what happens: every block of them is run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
import yaml

from tests.documents import FENCE, PAGES, ROOT, Block, blocks, run

if TYPE_CHECKING:
    from pathlib import Path


def fenced(kind: str) -> list[str]:
    """Return the blocks of one kind of the page about CI. The README shows them all too."""
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/ci.md", "README.md")]
    found, shown = ([body for one, body in FENCE.findall(text) if one == kind] for text in pages)
    assert set(found) <= set(shown)
    return found


BLOCKS = [
    (page.name, block) for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))
]


def test_there_are_blocks() -> None:
    assert {page for page, _ in BLOCKS} >= {"README.md", "locks.md", "diff.md"}


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_a_block_shows_what_its_command_prints(page: str, block: Block) -> None:
    assert page
    code, printed = run(block)
    failed = "\ndiffers: " in block.shown or "not finite: " in block.shown
    assert code == (2 if block.shown.startswith("error: ") else int(failed))
    assert printed == block.shown


def test_the_action_is_used_as_it_is() -> None:
    workflow, hooks = (yaml.safe_load(text) for text in fenced("yaml"))
    (step,) = [step for step in workflow["jobs"]["shapes"]["steps"] if "with" in step]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    assert step["with"].keys() <= inputs.keys()
    needed = {name for name, spec in inputs.items() if spec.get("required")}
    assert needed <= step["with"].keys()
    (known,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks["repos"][0]["hooks"]] == [known["id"]]


def test_git_shows_shapes(tmp_path: Path) -> None:
    """The three lines for git's textconv are run as they stand."""
    (lines,) = fenced("sh")
    program = tmp_path / "bin" / "paramcli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m paramcli "$@"\n')
    program.chmod(0o755)
    env = {
        **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "config"), "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(tmp_path),
        "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@y",
        "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@y",
    }  # fmt: skip
    folder = tmp_path / "repository"
    folder.mkdir()

    def call(*command: str) -> str:
        return subprocess.run(
            command, cwd=folder, env=env, check=True, capture_output=True, text=True
        ).stdout

    call("git", "init", "-q")
    call("bash", "-euc", lines)
    torch.save({"w": torch.zeros(3, 4)}, folder / "model.pt")
    call("git", "add", ".")
    call("git", "commit", "-qm", "x")
    torch.save({"w": torch.zeros(3, 5)}, folder / "model.pt")
    shown = call("git", "diff")
    assert "-w\t[3,4]\tfloat32" in shown
    assert "+w\t[3,5]\tfloat32" in shown


def test_the_test_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of a user's own test passes, and fails where it should."""
    (code,) = fenced("python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    (tmp_path / "params.lock").write_text(
        '[tensors]\n"0.weight" = "float32[8, 4]"\n[rules]\nextra = "allow"\n'
    )
    scope: dict[str, object] = {}
    exec(compile(code, "docs/ci.md", "exec"), scope)
    (test,) = [value for name, value in scope.items() if name.startswith("test_")]
    assert callable(test)
    test()
    (tmp_path / "params.lock").write_text('[tensors]\n"0.weight" = "float32[8, 5]"\n')
    with pytest.raises(AssertionError, match=r"0\.weight \[8, 5\]"):
        test()
