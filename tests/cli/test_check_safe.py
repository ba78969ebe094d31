"""`list --check safe`, and the warnings that every command gives of a pickle's globals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from tests.handmade import Call, Name, tensor, torch_zip, written
from tests.sample_files import write_dcp, write_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "sample_models" / "files"
POINTER = "see docs/security.md"


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    root = {"w": tensor(), "x": Call("os.system", ("true",)), "y": Name("my.Net")}
    return written(tmp_path / "hostile.pt", torch_zip(root))


@pytest.mark.parametrize("verb", [["list"], ["show"], ["diff"]], ids=" ".join)
def test_every_command_warns(verb: list[str], hostile: str, run: Run) -> None:
    done = run(*verb, hostile, *([hostile] if verb == ["diff"] else []))
    assert done.code == 0
    about = "A: " if verb == ["diff"] else ""
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    dangerous, unfamiliar = warnings[:2]
    assert dangerous.startswith(f"warning: {about}dangerous: os.system: loading this file with")
    assert unfamiliar.startswith(f"warning: {about}unfamiliar: my.Net: loading this file with")
    assert dangerous.endswith(POINTER)
    assert unfamiliar.endswith(POINTER)


@pytest.mark.parametrize("form", ["tsv", "table", "json", "markdown", "lock"])
def test_the_check_fails(form: str, hostile: str, run: Run) -> None:
    done = run("list", "--check", "safe", "--format", form, hostile)
    assert done.code == 1
    assert "w" in done.out
    lines = done.err.splitlines()
    assert [line.partition(": loading")[0] for line in lines if "not safe" in line] == [
        "not safe: os.system",
        "not safe: my.Net",
    ]
    assert lines[-1] == f"check safe: 2 found; {POINTER}"


def test_json(hostile: str, run: Run) -> None:
    found = json.loads(run("list", "--check", "safe", "--format", "json", hostile).out)["check"]
    assert found["safe"] is False
    assert [(one["kind"], one["name"]) for one in found["findings"]] == [
        ("dangerous", "os.system"),
        ("unfamiliar", "my.Net"),
    ]
    assert "check" not in json.loads(run("list", "--format", "json", hostile).out)
    safe = run("list", "--check", "safe", "--format", "json", str(FILES / "model.pt"))
    assert (safe.code, json.loads(safe.out)["check"]) == (0, {"safe": True, "findings": []})


@pytest.mark.parametrize(
    "name", ["model.pt", "trainer.pt", "legacy.pth", "tied.safetensors", "sharded", "script.pt"]
)
def test_the_check_passes(name: str, run: Run) -> None:
    done = run("list", "--check", "safe", str(FILES / name))
    assert (done.code, done.err.splitlines()[-1]) == (0, "check safe: passed")
    assert "warning" not in done.err


def test_directories(run: Run, tmp_path: Path) -> None:
    assert run("list", "--check", "safe", str(write_index(tmp_path / "sharded"))).code == 0
    assert run("list", "--check", "safe", str(write_dcp(tmp_path / "dcp").parent)).code == 0


def test_a_global_that_only_begins_like_one_of_torchs_own(run: Run, tmp_path: Path) -> None:
    """A dotted name can climb out of any module."""
    metadata = write_dcp(tmp_path / "dcp")
    for path in (b"pathlib\nos.system", b"torch.distributed.checkpoint.metadata\nos.system"):
        metadata.write_bytes(b"\x80\x02c" + path + b"\n0" + _rest(metadata))
        done = run("list", "--check", "safe", str(tmp_path / "dcp"))
        assert done.code == 1
        assert "dangerous: " in done.err


def _rest(metadata: Path, kept: dict[Path, bytes] = {}) -> bytes:  # noqa: B006 - the good file
    return kept.setdefault(metadata, metadata.read_bytes()[2:])


def test_several_targets(hostile: str, run: Run) -> None:
    done = run("list", "--check", "safe", str(FILES / "model.pt"), hostile)
    assert done.code == 1
    assert f"check safe: {FILES / 'model.pt'}: passed" in done.err
    assert f"not safe: {hostile}: os.system: " in done.err


@pytest.mark.parametrize("target", ["sample_models.mlp:MLP", "nowhere.pt"])
def test_trouble_is_2(target: str, run: Run) -> None:
    done = run("list", "--check", "safe", target)
    assert (done.code, done.out) == (2, "")
    assert "lists" not in done.err


@pytest.mark.parametrize("what", ["refusal", "other", "metadata"])
def test_readers_that_disagree(
    what: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reader is put in the place of the reference reader, since the two do agree."""
    target, other = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    save_file({"w": torch.zeros(3)}, target)
    save_file({"w": torch.zeros(3 + (what == "other"))}, other, {"a": "b"})
    if what == "other":
        save_file({"w": torch.zeros(4)}, other)
    if what == "refusal":
        written(Path(other), b"\0")
    real = safetensors.safe_open
    monkeypatch.setattr(safetensors, "safe_open", lambda _, framework: real(other, framework))
    done = run("list", "--check", "safe", target)
    assert done.code == 1
    said = {"refusal": "refuses it", "other": "reads 'w' otherwise", "metadata": "other metadata"}
    assert f"not safe: {target}: the safetensors package" in done.err
    assert said[what] in done.err


def test_the_reference_reader_is_loaded_only_when_asked() -> None:
    code = (
        "import sys; from paramcli.cli import main; main(sys.argv[1:]); "
        "sys.exit('safetensors' in sys.modules)"
    )
    for argv, loaded in (([], 0), (["--check", "safe"], 1)):
        command = [sys.executable, "-c", code, "list", str(FILES / "tied.safetensors"), *argv]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == loaded
