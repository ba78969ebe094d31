"""`paramcli tie` as a user meets it: screen, JSON, files and exit codes."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file

import paramcli
from tests import torch_objects
from tests.tied_modules import Embedded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "sample_models" / "files"
SHARED = "sample_models.shared_mlp:SharedMLP"
GPT = "sample_models.tiny_gpt:TinyGPT"


def document(run: Run, *argv: str, code: int = 0) -> dict[str, Any]:
    done = run("tie", *argv, "--format", "json")
    assert done.code == code, done.err
    found: dict[str, Any] = json.loads(done.out)
    assert found["schema"] == "paramcli.tie/1"
    return found


def trouble(run: Run, *argv: str) -> str:
    """Run `tie`, which must fail without a word on stdout; return error and hint."""
    code, out, err = run("tie", *argv)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    return "\n".join(line for line in err.splitlines() if line.startswith(("error:", "hint:")))


@pytest.fixture
def lost(tmp_path: Path) -> str:
    """Weights of a model whose tie its save lost."""
    torch.manual_seed(0)
    state = {name: tensor.clone() for name, tensor in Embedded().state_dict().items()}
    save_file(state, tmp_path / "lost.safetensors", {"format": "pt"})
    return str(tmp_path / "lost.safetensors")


# --- report --------------------------------------------------------------------------------------


def test_a_class(run: Run) -> None:
    found = document(run, SHARED)
    assert [one["names"] for one in found["groups"]] == [
        ["2.weight", "4.weight"], ["2.bias", "4.bias"],
    ]  # fmt: skip
    assert found["groups"][0]["bytes"] == found["groups"][0]["saved"] == 256
    assert found["groups"][0]["evidence"] == [
        {"kind": "module", "text": "4 is the module 2 (Linear)"}
    ]
    assert (found["saved"], found["totals"]["count"], found["totals"]["unique_count"]) == (
        288, 193, 121,
    )  # fmt: skip
    assert (found["output"], found["asked"], found["config"]) == (None, [], None)


@pytest.mark.parametrize("name", ["trainer.pt", "tied.safetensors", "whole_module.pt", "script.pt"])
def test_groups_are_those_of_list(run: Run, name: str) -> None:
    target = str(FILES / name)
    listed = json.loads(run("list", target, "--format", "json").out)
    shown = document(run, target)
    keys = ("id", "names", "relation", "bytes")
    assert [{key: one[key] for key in keys} for one in shown["groups"]] == listed["groups"]
    assert shown["totals"] == listed["totals"]


def test_the_project_gives_a_target(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert document(run)["target"].endswith("sample_models.lenet:LeNet")


def test_equal_bytes(run: Run, lost: str) -> None:
    found = document(run, lost, "--find-equal")
    assert [(one["names"], one["saved"]) for one in found["equal"]] == [
        (["embed.weight", "head.weight"], 160)
    ]
    assert found["asked"] == ["equal"]
    screen = run("tie", lost, "--find-equal", "--format", "table")
    assert "Equal, but not tied\n160 B  embed.weight = head.weight  float32[10, 4]\n" in screen.out


def test_a_class_has_no_equal_bytes_but_its_own(run: Run) -> None:
    found = document(run, "sample_models.lenet:LeNet", "--find-equal")
    assert found["equal"] == []


def test_a_lock_holds_no_values(run: Run) -> None:
    done = run("tie", str(ROOT / "sample_models/tiny_gpt.lock"), "--find-equal")
    assert done.code == 0
    assert "holds no values, so none can be equal" in done.err


def test_a_config_that_disagrees_is_a_warning(run: Run, lost: str) -> None:
    path = Path(lost).parent / "config.json"
    path.write_text('{"tie_word_embeddings": true}')
    done = run("tie", lost)
    assert done.code == 0
    assert (
        f"warning: {path}: tie_word_embeddings is true, but head.weight does not share the bytes "
        "of embed.weight" in done.err
    )


# --- change --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_a_lost_tie_is_mended(run: Run, lost: str, tmp_path: Path, form: str) -> None:
    out = str(tmp_path / f"tied.{form}")
    found = document(run, lost, "embed.weight", "head.weight", "-o", out)
    assert found["output"] == out
    assert found["changes"] == [{"kind": "tied", "names": ["head.weight"], "kept": "embed.weight"}]
    again = document(run, out)
    assert [one["names"] for one in again["groups"]] == [["embed.weight", "head.weight"]]
    assert again["saved"] == 160
    if form == "safetensors":
        assert not any(load_model(Embedded(), out))


def test_a_preview_writes_nothing(run: Run, lost: str, tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    done = run("tie", lost, "embed.weight", "head.weight", "--format", "table")
    assert done.code == 0
    assert done.out.endswith("nothing is written without -o\n")
    assert sorted(os.listdir(tmp_path)) == before


def test_untie_and_like(run: Run, lost: str, tmp_path: Path) -> None:
    tied, apart = str(tmp_path / "tied.safetensors"), str(tmp_path / "apart.safetensors")
    document(run, lost, "--like", "tests.tied_modules:Embedded", "-o", tied)
    assert list(load_file(tied)) == ["embed.weight"]
    document(run, tied, "--untie", "head", "-o", apart)
    assert Path(apart).read_bytes() == rewritten(Path(lost), tmp_path)
    third = str(tmp_path / "third.safetensors")
    document(run, apart, "--like", tied, "-o", third)
    assert Path(third).read_bytes() == Path(tied).read_bytes()


def rewritten(path: Path, folder: Path) -> bytes:
    """A file as this program writes it."""
    from paramcli.save import save

    save(paramcli.open(path), folder / "plain.safetensors")
    return (folder / "plain.safetensors").read_bytes()


def test_shards(run: Run, lost: str, tmp_path: Path) -> None:
    out = str(tmp_path / "shards")
    document(run, lost, "embed.weight", "head.weight", "-o", out, "--shard-size", "100")
    assert [one["names"] for one in document(run, out)["groups"]] == [
        ["embed.weight", "head.weight"]
    ]


def test_in_place_keeps_the_mode(run: Run, lost: str) -> None:
    os.chmod(lost, 0o640)
    assert "is what is read" in trouble(run, lost, "embed.weight", "head.weight", "-o", lost)
    found = document(run, lost, "embed.weight", "head.weight", "--in-place")
    assert found["output"] == lost
    assert stat.S_IMODE(os.stat(lost).st_mode) == 0o640
    assert list(load_file(lost)) == ["embed.weight"]


def test_a_training_checkpoint(run: Run, tmp_path: Path) -> None:
    weight = torch.randn(20)
    state = {"a": weight, "b": weight.clone()}
    whole = {"state_dict": state, "epoch": 3, "optimizer": {"m": weight}}
    path = torch_objects.save(whole, tmp_path / "train.pt")
    out = str(tmp_path / "out.pt")
    done = run("tie", path, "a", "b", "-o", out)
    assert done.code == 0
    assert "note: not written: epoch, optimizer\n" in done.err
    assert list(torch.load(out, weights_only=True)) == ["a", "b"]
    assert "holds more than these tensors" in trouble(run, path, "a", "b", "--in-place")
    assert torch.load(path, weights_only=True)["epoch"] == 3


def test_metadata_is_kept(run: Run, tmp_path: Path) -> None:
    weight = torch.randn(20)
    source = tmp_path / "a.safetensors"
    save_file({"a": weight, "b": weight.clone()}, source, {"author": "someone"})
    out = str(tmp_path / "b.safetensors")
    document(run, str(source), "b", "a", "-o", out)
    assert paramcli.open(out).metadata["author"] == "someone"


def test_tied_already(run: Run, lost: str, tmp_path: Path) -> None:
    out = str(tmp_path / "tied.pt")
    document(run, lost, "embed.weight", "head.weight", "-o", out)
    done = run("tie", out, "embed.weight", "head.weight", "-o", str(tmp_path / "again.pt"))
    assert (done.code, "note: they are tied so already" in done.err) == (0, True)
    assert Path(out).read_bytes() == (tmp_path / "again.pt").read_bytes()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["embed.weight", "--untie", "*"], "NAME and --untie change ties in two ways"),
        (["--untie", "*", "--find-equal"], "--untie changes ties; --find-equal and --probe only"),
        (["-o", "x.pt"], "there is nothing to write: no tie is asked for"),
        (["embed.weight", "-o", "x.pt"], "one name cannot be tied alone"),
        (["--winner", "a"], "--winner and --force are for ties that are made"),
        (["--force", "--untie", "*"], "--winner and --force are for ties that are made"),
        (
            ["--like", "x.pt", "--winner", "a"],
            "--winner is for names that are tied, not for --like",
        ),
        (["--probe"], "--probe runs the model, so it needs --input"),
        (["--input", "2"], "--input is for --probe"),
        (["--probe", "--input", "2"], "--probe runs a model, so it needs a class"),
        (["--format", "github"], "tie has no --format github"),
        (["--format", "lock"], "tie has no --format lock"),
        (["embed", "hed.weight", "-o", "x.pt"], "did you mean embed.weight?"),
        (["embed.weight", "hed.weight", "-o", "x.pt"], "did you mean head.weight"),
        (["embed.weight", "head.weight", "-o", "x.txt"], ".txt is no format to write"),
        (["embed.weight", "head.weight", "-o", "x", "--shard-size", "big"], "no number of bytes"),
        (["--untie", "*"], "--untie * picks no name that shares bytes"),
    ],
)
def test_what_cannot_be(
    run: Run, lost: str, argv: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(lost).parent
    monkeypatch.chdir(folder)
    before = sorted(os.listdir(folder))
    assert message in trouble(run, lost, *argv)
    assert sorted(os.listdir(folder)) == before


# --- probe ---------------------------------------------------------------------------------------


def test_a_probe_that_holds(run: Run) -> None:
    found = document(run, GPT, "--probe", "--input", "int64[2,16]<100")
    (one,) = found["probe"]
    assert (one["group"], one["write_visible"], one["gradient_is_sum"]) == ("g1", True, True)
    assert one["max_error"] <= 1e-12
    assert {each["operation"] for each in one["survival"]} >= {"to(dtype)", "deepcopy"}


def test_a_probe_that_does_not(run: Run) -> None:
    done = run(
        "tie", "tests.tied_modules:DataTie", "--probe", "--input", "2,4", "--format", "table"
    )
    assert done.code == 1
    assert done.out.endswith("the probe holds for 0 of 1 group\n")


def test_a_probe_of_nothing(run: Run) -> None:
    found = document(run, "sample_models.mlp:MLP", "--probe", "--input", "2,4")
    assert (found["groups"], found["probe"], found["asked"]) == ([], [], ["probe"])


def test_user_code_that_prints_or_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        l = nn.Linear(2, 2); super().__init__(l, l)\n"
        "    def forward(self, x):\n"
        "        print('noise')\n"
        "        return super().forward(x)\n"
    )
    target = f"{tmp_path}/net.py:Net"
    done = run("tie", target, "--probe", "--input", "2,2", "--format", "json")
    assert done.code == 0
    assert json.loads(done.out)["probe"][0]["gradient_is_sum"] is True
    assert "running it raised RuntimeError" in trouble(run, target, "--probe", "--input", "3,3")
