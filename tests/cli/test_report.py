"""`--report`: the JSON of the verb with its exit code, and a page that runs and fetches nothing."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from paramcli.cli import main

FILES = Path(__file__).parents[2] / "sample_models" / "files"
MODEL = str(FILES / "model.pt")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=y>\x1b[31m\u202e&amp;"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    a, b = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    save_file({HOSTILE: torch.ones(3), "w": torch.arange(6.0)}, a, {HOSTILE: HOSTILE})
    save_file({HOSTILE: torch.zeros(3), "w": torch.arange(6.0), "x": torch.ones(2)}, b)
    return a, b


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["list", MODEL], 0),
        (["list", MODEL, "--check", "safe"], 0),
        (["show", MODEL], 0),
        (["show", MODEL, "*"], 0),
        (["show", MODEL, "--check", "finite"], 0),
        (["init", "sample_models.lenet:LeNet", "--scheme", "zeros"], 0),
        (["tie", MODEL], 0),
        (["diff", MODEL, MODEL], 0),
        (["diff", MODEL, str(FILES / "trainer.pt")], 1),
    ],
)
def test_json_says_what_json_says_and_how_it_ended(
    argv: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    assert main([*argv, "--format", "json", "--report", str(path)]) == code
    printed = json.loads(capsys.readouterr().out)
    told = json.loads(path.read_text())
    assert told.pop("status") == code
    assert told == printed


def test_trouble_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert main(["diff", MODEL, str(FILES / "modle.pt"), "--report", str(path)]) == 2
    told = json.loads(path.read_text())
    assert (told["schema"], told["status"]) == ("paramcli.diff/1", 2)
    assert "no such file" in told["error"]
    assert "did you mean" in told["hint"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["list", MODEL, "--report", "x.txt"], "a report is JSON or HTML"),
        (["init", "sample_models.lenet:LeNet", "--report", "x.html"], "init has no page"),
        (["list", MODEL, MODEL, "--report", "x.json"], "--report is of one target"),
    ],
)
def test_what_cannot_be_filed(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(FILES.parents[1]))
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_where_it_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", MODEL, "--report", "/nowhere/at/all.json"]) == 2
    assert "cannot be written" in capsys.readouterr().err


# --- HTML ----------------------------------------------------------------------------------------

VOID = {"meta", "br", "rect"}


class Strict(HTMLParser):
    """Refuses what is not balanced, what runs, and what comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "img", "iframe", "object", "link", "a")
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "href", "style")
            assert "http" not in (value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(path: Path) -> str:
    """Return the words of a page that is as it should be."""
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    strict = Strict()
    strict.feed(text)
    strict.close()
    assert not strict.open
    return " ".join(strict.words)


@pytest.mark.parametrize("verb", ["list", "show", "file", "diff"])
def test_pages_are_inert_and_say_what_there_is(
    verb: str, pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.html"
    argv = {
        "list": ["list", pair[0]],
        "show": ["show", pair[0], "*"],
        "file": ["show", pair[0]],
        "diff": ["diff", *pair],
    }[verb]
    assert main([*argv, "--report", str(path)]) == (1 if verb == "diff" else 0)
    capsys.readouterr()
    words = parsed(path)
    assert "<script>alert(1)</script>" in words
    assert {
        "list": "2 tensors", "show": "Percentiles", "file": "Metadata", "diff": "differs: ",
    }[verb] in words  # fmt: skip


def test_a_large_page_leaves_out_and_says_so(tmp_path: Path) -> None:
    state = {f"layers.{number}.weight": torch.ones(1) for number in range(6000)}
    save_file(state, tmp_path / "a.safetensors")
    path = tmp_path / "x.html"
    assert main(["list", str(tmp_path / "a.safetensors"), "--report", str(path)]) == 0
    assert "… and 1,000 more" in parsed(path)


# --- in a browser --------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


def pixels(path: Path) -> list[list[tuple[int, ...]]]:
    """Decode a PNG of 8-bit colour, filters and all; rows of (r, g, b) or (r, g, b, a)."""
    data, at = path.read_bytes(), 8
    packed = b""
    width = height = depth = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", body[:10])
            depth = {2: 3, 6: 4}[colour]
            assert bits == 8
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    raw, stride = zlib.decompress(packed), width * depth
    rows, before = [], bytearray(stride)
    for line in range(height):
        kind, row = raw[line * (stride + 1)], bytearray(raw[line * (stride + 1) + 1 :][:stride])
        for i in range(stride):
            left = row[i - depth] if i >= depth else 0
            up, corner = before[i], before[i - depth] if i >= depth else 0
            near = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            row[i] = (row[i] + (0, left, up, (left + up) // 2, near)[kind]) & 255
        rows.append([tuple(row[i : i + depth]) for i in range(0, stride, depth)])
        before = row
    return rows


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to draw a page")
@pytest.mark.parametrize("verb", ["list", "show", "diff"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_draws_it(
    pair: tuple[str, str], verb: str, width: int, *, dark: bool, tmp_path: Path
) -> None:
    """On a page of its scheme's colour stands something, and nothing sticks out at the right.

    A window is never narrower than 500 pixels, so the page stands in a frame as wide as a phone.
    """
    page, picture, frame = (tmp_path / name for name in ("x.html", "x.png", "frame.html"))
    argv = {"list": [pair[0]], "show": [pair[0], "*"], "diff": [*pair]}[verb]
    assert main([verb, *argv, "--report", str(page)]) == (1 if verb == "diff" else 0)
    frame.write_text(
        f'<body style="margin:0"><iframe src="x.html" width="{width}" height="400" frameborder="0">'
    )
    assert CHROMIUM is not None
    subprocess.run(
        [
            CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={max(width, 500)},400", f"--screenshot={picture}", frame.as_uri(),
        ],
        check=True, timeout=100, capture_output=True,
    )  # fmt: skip
    rows = [row[:width] for row in pixels(picture)]
    assert len(rows[0]) == width
    ground = (20, 22, 27) if dark else (251, 251, 250)
    assert rows[0][0][:3] == ground
    assert {row[-1][:3] for row in rows} == {ground}
    assert len({one for row in rows for one in row}) > 20
