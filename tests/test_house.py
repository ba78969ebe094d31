"""The house keeps its own rules: layers, lightness, names, sizes."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sample_files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "paramcli"
FILES = ROOT / "sample_models" / "files"
SOURCES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    "paramcli.errors",
    "paramcli.ranks",
    "paramcli.files",
    "paramcli.workers",
    "paramcli.lock",
    "paramcli.owners",
    "paramcli.tensors",
    "paramcli.sharing",
    "paramcli.checkpoint",
    "paramcli.select",
    "paramcli.sources",
    "paramcli.content",
    "paramcli.numeric",
    "paramcli.save",
    "paramcli.schemes",
    "paramcli.verbs",
    "paramcli.api",
    "paramcli.render",
    "paramcli.project",
    "paramcli.commands",
    "paramcli.cli",
    "paramcli.__main__",
]
"""From the ground up: a room imports only from its own and from those above it in this list."""


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int | None:
    found = [i for i, name in enumerate(LAYERS) if module == name or module.startswith(f"{name}.")]
    return found[0] if found else None


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, typing included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_no_arrow_points_up(path: Path) -> None:
    own = layer(dotted(path))
    for module in imports(path):
        other = layer(module)
        if own is not None and other is not None:
            assert other <= own, f"{dotted(path)} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_rooms_are_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a room says in one sentence what lives in it"
    assert len(text.splitlines()) <= 500


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_exports_are_sorted(path: Path) -> None:
    module = importlib.import_module(dotted(path)) if path.name != "__main__.py" else None
    exported = getattr(module, "__all__", None)
    if exported is not None:
        # Constants first, then classes, then the rest, as isort has it.
        assert len(set(exported)) == len(exported)
        assert all(hasattr(module, name) for name in exported)


def test_click_and_rich_stay_where_they_belong() -> None:
    for path in SOURCES:
        named = {module.partition(".")[0] for module in imports(path)}
        assert "click" not in named, path
        if "rich" in named:
            assert dotted(path) == "paramcli.render.terminal"


# Runs the command with imports watched: heavy ones are forbidden, whether installed or not.
GUARD = """
import sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"forbidden import of {name}")

FORBIDDEN = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Guard())
from paramcli.cli import main
sys.exit(main(sys.argv[2:]))
"""


def guarded(forbidden: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GUARD, forbidden, *argv],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip


LIGHT = [
    ["--help"],
    ["--version"],
    ["list", "--help"],
    *(["list", str(FILES / name)] for name in (
        "model.pt", "trainer.pt", "legacy.pth", "tied.safetensors", "sharded", "whole_module.pt",
        "script.pt",
    )),
    *(["list", str(FILES / "trainer.pt"), "--format", form] for form in (
        "table", "tsv", "json", "markdown", "github", "lock",
    )),
    *(["list", str(ROOT / "sample_models" / "tiny_gpt.lock"), "--format", form] for form in (
        "table", "tsv", "json", "markdown", "github", "lock",
    )),
    ["show", str(ROOT / "sample_models" / "tiny_gpt.lock")],
    ["list", str(FILES / "trainer.pt"), "--tree", "--sort", "name", "--include", "*.weight"],
    ["list", "nowhere.pt"],
    ["init", "--help"],
    ["tie", "--help"],
    *(["tie", str(FILES / name), *options] for options in ([], ["--find-equal"]) for name in (
        "model.pt", "trainer.pt", "legacy.pth", "tied.safetensors", "sharded", "whole_module.pt",
        "script.pt",
    )),
    *(["tie", str(FILES / "trainer.pt"), "--format", form] for form in (
        "table", "tsv", "json", "markdown",
    )),
    ["tie", str(ROOT / "sample_models" / "tiny_gpt.lock")],
    ["tie", str(FILES / "trainer.pt"), "--untie", "*"],
    ["diff", "--help"],
    *(["diff", str(FILES / name), str(FILES / name)] for name in (
        "model.pt", "legacy.pth", "tied.safetensors", "sharded",
    )),
    *(["diff", "--shapes", str(FILES / name), str(FILES / "model.pt")] for name in (
        "trainer.pt", "legacy.pth", "tied.safetensors", "sharded", "model.pt",
    )),
    *(["diff", str(FILES / "model.pt"), str(FILES / "model.pt"), "--format", form] for form in (
        "table", "tsv", "json", "markdown", "github",
    )),
]  # fmt: skip


@pytest.mark.parametrize("argv", LIGHT, ids=" ".join)
def test_nothing_heavy_is_imported(argv: list[str]) -> None:
    done = guarded("torch,numpy,safetensors,fsspec,aiohttp,huggingface_hub", *argv)
    assert "forbidden" not in done.stderr
    differs = argv[0] == "diff" and len(set(argv)) == len(argv) and "--help" not in argv
    assert done.returncode == (2 if "nowhere.pt" in argv else int(differs)), done.stderr


def test_no_format_needs_anything_heavy(tmp_path: Path) -> None:
    formats = sample_files.files()
    targets = [str(tmp_path / name.replace(" ", "-")) for name in formats]
    for target, content in zip(targets, formats.values(), strict=True):
        Path(target).write_bytes(content)
    targets.append(str(sample_files.write_index(tmp_path / "sharded")))
    targets.append(str(sample_files.write_dcp(tmp_path / "distributed").parent))
    done = guarded("torch,numpy,safetensors,rich", "list", *targets)
    assert (done.returncode, "forbidden" in done.stderr) == (0, False), done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("# ")] == [
        f"# {target}" for target in targets
    ]


def test_rich_is_loaded_only_to_draw() -> None:
    done = guarded("rich", "list", str(FILES / "model.pt"))
    assert done.returncode == 0, done.stderr


def test_the_guard_can_fail() -> None:
    """A class target does need torch, and then the guard must be seen to bite."""
    done = guarded("torch", "list", "sample_models.lenet:LeNet")
    assert done.returncode == 2
    assert "torch" in done.stderr


def test_the_guard_bites_where_values_differ(tmp_path: Path) -> None:
    """How far two tensors lie apart does need NumPy, and there too it must be seen to bite."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for name, content in (("a", b"\0\0\x80?"), ("b", b"\0\0\0@")):
        (tmp_path / name).write_bytes(len(header).to_bytes(8, "little") + header + content)
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert guarded("torch,safetensors", "diff", *both).returncode == 1
    done = guarded("numpy", "diff", *both)
    assert "forbidden import of numpy" in done.stderr
    assert guarded("torch,numpy,safetensors", "diff", "--shapes", *both).returncode == 0


def test_nothing_here_names_this_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so what belongs to the project is not known")
    own = str(ROOT)
    if own.count(os.sep) < 2:
        pytest.skip("the checkout lies at the root, whose path is too short to look for")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            assert own.encode() not in path.read_bytes(), name


def test_only_the_command_that_is_named_is_loaded() -> None:
    code = (
        "import sys; from paramcli.cli import main; "
        "main(['list', sys.argv[1], '--format', 'github']); "
        "print(*sorted(name for name in sys.modules if name.startswith('paramcli.commands.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(FILES / "model.pt")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    loaded = done.stdout.splitlines()[-1].split()
    assert "paramcli.commands.list" in loaded
    assert not {f"paramcli.commands.{name}" for name in ("show", "init", "tie", "diff")} & {*loaded}


def test_the_whole_app_is_there_for_those_who_ask(capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from paramcli import cli

    shown = CliRunner().invoke(cli.app, ["--help"]).output
    assert cli.main([]) == 0
    assert capsys.readouterr().out == shown
    assert all(f"\n{name} " in shown for name in ("list", "show", "init", "tie", "diff"))
    with pytest.raises(AttributeError):
        _ = cli.nothing


def test_the_architecture_is_as_it_is_drawn() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `paramcli.")]
    assert drawn == [name for name in LAYERS if name != "paramcli.__main__"]
    for name in drawn:
        importlib.import_module(name)


def test_every_document_is_in_the_index() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" in text} == pages
