"""The console blocks of the README and the documents: run for a test, or written anew.

`python -m tests.documents` puts what each command prints in the place of what a block shows.
`params.lock` in a command is the last block of TOML before it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_COMMAND = "$ paramcli "


class Block(NamedTuple):
    """What a page shows of a command, where its text stands, and the lock that is meant."""

    command: str
    shown: str
    span: tuple[int, int]
    lock: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the console blocks of a page."""
    lock = ""
    for fence in FENCE.finditer(text):
        kind, body = fence.groups()
        if kind == "toml":
            lock = body
        elif kind == "console" and body.startswith(_COMMAND):
            command, _, shown = body.removeprefix("$ ").partition("\n")
            yield Block(command, shown, fence.span(2), lock)


def run(block: Block) -> tuple[int, str]:
    """Run the command of a block at 80 columns; return its exit code and all that it prints."""
    form = [] if "--format" in block.command else ["--format", "table"]
    with tempfile.TemporaryDirectory() as folder:
        place = ROOT
        if "params.lock" in block.command:
            place = Path(folder)
            (place / "params.lock").write_text(block.lock, encoding="utf-8")
            (place / "sample_models").symlink_to(ROOT / "sample_models")
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(block.command), *form],
            capture_output=True, encoding="utf-8", check=False, cwd=place,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def _rewrite(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in reversed([*blocks(text)]):
        start, end = block.span
        text = f"{text[:start]}$ {block.command}\n{run(block)[1]}{text[end:]}"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for _page in PAGES:
        _rewrite(_page)
