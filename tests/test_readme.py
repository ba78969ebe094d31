"""Every console block of the README is run, and its output held against what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n\$ (paramcli .*)\n((?:.*\n)*?)```", README)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize(("command", "shown"), BLOCKS)
def test_a_block_shows_what_its_command_prints(command: str, shown: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--format", "table"],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout + done.stderr == shown
