"""Every console block of the documents is run, and its output held against what it shows.

`params.lock` in a command is the last block of TOML before it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"```(toml|console)\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return command, output, and the lock that is meant, for each block."""
    found, lock = [], ""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "toml":
            lock = text
        else:
            command, _, shown = text.removeprefix("$ ").partition("\n")
            found.append((command, shown, lock))
    return found


BLOCKS = [(page.name, *block) for page in PAGES for block in blocks(page)]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(("page", "command", "shown", "lock"), BLOCKS)
def test_a_block_shows_what_its_command_prints(
    page: str, command: str, shown: str, lock: str, tmp_path: Path
) -> None:
    assert page
    place = ROOT
    if "params.lock" in command:
        place = tmp_path
        (place / "params.lock").write_text(lock, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "--format", "table"],
        capture_output=True, encoding="utf-8", check=False, cwd=place,
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == (2 if shown.startswith("error: ") else 0)
    assert done.stdout + done.stderr == shown
