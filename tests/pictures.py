"""Pictures of each verb for the README: what it draws on a terminal, as SVG without fonts or links.

`python -m tests.pictures` writes them anew.
"""

from __future__ import annotations

import io
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
FILES = "sample_models/files"
COMMANDS = {
    "list": f"list {FILES}/tied.safetensors",
    "show": f"show {FILES}/model.pt conv.3.weight",
    "init": "init sample_models.lenet:LeNet --scheme kaiming --rule fc.4.weight=normal(std=0.02)",
    "tie": f"tie {FILES}/tied.safetensors",
    "diff": f"diff {FILES}/trainer.pt {FILES}/trainer.pt --key state_dict --key ema "
    "--include blocks*weight",
}
_WIDTH = 80
_THEME = TerminalTheme(
    (24, 26, 32), (222, 226, 233),
    [(60, 64, 74), (240, 113, 120), (126, 200, 140), (230, 190, 110), (122, 162, 247),
     (198, 146, 233), (110, 200, 210), (200, 205, 214)],
    [(110, 116, 130), (255, 140, 146), (150, 220, 165), (245, 208, 135), (150, 182, 255),
     (214, 170, 245), (140, 216, 224), (240, 243, 248)],
)  # fmt: skip
_FORM = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace;
font-size: {char_height}px; line-height: {line_height}px }}
.{unique_id}-title {{ font: 16px system-ui, sans-serif }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def screen(command: str) -> str:
    """Return what a command writes to a terminal, colours included."""
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(
        [sys.executable, "-m", "paramcli", *shlex.split(command)],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, cwd=ROOT,
        env=env | {"COLUMNS": str(_WIDTH), "TERM": "xterm-256color", "COLORTERM": ""},
    ) as process:  # fmt: skip
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 1 << 16):
                written += piece
        except OSError:  # the other end is closed
            pass
        assert process.wait(timeout=100) in (0, 1)
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def svg(name: str, command: str) -> str:
    """Draw a command and what it writes."""
    console = Console(
        record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="256",
        legacy_windows=False, _environ={},
    )  # fmt: skip
    console.print(Text.from_ansi(screen(command)), end="")
    return console.export_svg(
        title=f"paramcli {name}", theme=_THEME, code_format=_FORM, unique_id=name
    )


def words(picture: str) -> list[str]:
    """Return the words that a picture shows, in order."""
    root = ET.fromstring(picture)
    style = "{http://www.w3.org/2000/svg}style"
    texts = [part.text or "" for part in root.iter() if part.tag != style]
    return " ".join(texts).replace("\u00a0", " ").split()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for _name, _command in COMMANDS.items():
        (FOLDER / f"{_name}.svg").write_text(svg(_name, _command), encoding="utf-8")
