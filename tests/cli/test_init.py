"""`paramcli init` as a user meets it: the tutorial's three ways, files, checks and messages."""

from __future__ import annotations

import filecmp
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file

from paramcli.commands.sizes import parse_size
from paramcli.errors import UsageError
from sample_models.lenet import LeNet
from sample_models.mlp import MLP
from sample_models.net3d import Net3d
from sample_models.network import Network
from sample_models.shared_mlp import SharedMLP
from sample_models.tiny_gpt import TinyGPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "sample_models" / "files"
LENET, GPT, NETWORK, NET3D = (
    f"sample_models.{name}"
    for name in ("lenet:LeNet", "tiny_gpt:TinyGPT", "network:Network", "net3d:Net3d")
)
APPLY = "sample_models.net3d:weight_init"
MODELS = {
    "lenet:LeNet": LeNet, "mlp:MLP": MLP, "net3d:Net3d": Net3d, "network:Network": Network,
    "shared_mlp:SharedMLP": SharedMLP, "tiny_gpt:TinyGPT": TinyGPT,
}  # fmt: skip


def done(run: Run, *argv: str) -> dict[str, Any]:
    """Run `init … --format json`, which must succeed, and read its JSON."""
    code, out, err = run("init", *argv, "--format", "json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == "paramcli.init/1"
    return found


def trouble(run: Run, *argv: str) -> list[str]:
    """Run `init`, which must fail without a word on stdout; return error and hint."""
    code, out, err = run("init", *argv)
    assert (code, out) == (2, ""), err
    return [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]


def rows(found: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in found["tensors"]}


# --- the tutorial's three ways -------------------------------------------------------------------


def test_what_the_constructor_does(run: Run, tmp_path: Path) -> None:
    """`Network` ends its constructor with a loop over self.modules()."""
    out = tmp_path / "net.safetensors"
    found = done(run, NETWORK, "--scheme", "model", "--seed", "3", "-o", str(out))
    assert {row["scheme"] for row in found["tensors"]} == {"model"}
    torch.manual_seed(3)
    expected = Network().state_dict()
    state = load_file(out)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_a_function_applied(run: Run, tmp_path: Path) -> None:
    """`net.apply(weight_init)`: each module draws by its own name, whatever came before it."""
    out = tmp_path / "net.pt"
    found = rows(done(run, NET3D, "--apply", APPLY, "-o", str(out)))
    assert found["conv.weight"]["scheme"] == found["bn.weight"]["scheme"] == "weight_init"
    assert found["bn.running_var"]["scheme"] == "model"
    state = torch.load(out, weights_only=True)
    net = Net3d()
    net.load_state_dict(state)
    assert torch.equal(net.bn.weight, torch.ones(4))
    assert net.conv.bias is not None
    assert torch.equal(net.conv.bias, torch.zeros(4))
    assert 0.05 < net.conv.weight.std() < 0.25  # sqrt(2 / (27 * 4)) = 0.136
    again = tmp_path / "again.pt"
    done(run, NET3D, "--apply", APPLY, "-o", str(again))
    assert out.read_bytes() == again.read_bytes()
    done(run, NET3D, "--apply", APPLY, "-o", str(again), "--seed", "1")
    assert not torch.equal(torch.load(again, weights_only=True)["fc.weight"], state["fc.weight"])


def test_a_tied_parameter_is_visited_once_per_owner(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def fill(m):\n"
        "    if hasattr(m, 'weight'):\n"
        "        m.weight.data.fill_(len(m._parameters))\n"
    )
    found = rows(done(run, GPT, "--apply", f"{tmp_path}/own.py:fill"))
    assert found["embed.weight"]["scheme"] == "fill(embed, then lm_head)"
    assert found["lm_head.weight"]["tied_to"] == "embed.weight"
    assert found["embed.weight"]["actual"] == {"mean": 2.0, "std": 0.0}
    assert found["pos.weight"]["scheme"] == "fill"


def test_a_scheme_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a target, in a project: `paramcli init --scheme kaiming`."""
    monkeypatch.chdir(ROOT / "docs")
    found = done(run, "--scheme", "kaiming")
    assert found["target"].endswith(LENET)
    one = rows(found)["conv.0.weight"]
    assert one["expected"] == {"mean": 0.0, "std": pytest.approx((2 / 25) ** 0.5)}
    assert abs(one["actual"]["std"] - one["expected"]["std"]) < 0.06
    assert (one["rule"], one["fan_in"]) == ("@weight=kaiming_normal", 25)
    assert not found["flagged"]
    assert found["output"] is None


def test_the_projects_scheme_and_seed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f'[tool.paramcli]\ntarget = "{ROOT}/sample_models/lenet.py:LeNet"\n'
    project = tmp_path / "pyproject.toml"
    project.write_text(table + 'scheme = "xavier_uniform"\nseed = 9\n')
    monkeypatch.chdir(tmp_path)
    found = done(run)
    assert found["seed"] == 9
    assert rows(found)["fc.0.weight"]["rule"] == "@weight=xavier_uniform"
    assert done(run, "--seed", "2")["seed"] == 2
    assert rows(done(run, "--scheme", "ones"))["fc.0.weight"]["scheme"] == "ones"
    project.write_text(table + "scheme = 3\n")
    assert "scheme in [tool.paramcli]" in trouble(run)[0]
    project.write_text(table + "seed = 'x'\n")
    assert "seed in [tool.paramcli]" in trouble(run)[0]


# --- loading back --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_loads_back(run: Run, name: str, tmp_path: Path) -> None:
    target = f"sample_models.{name}"
    paths = [str(tmp_path / file) for file in ("a.pt", "a.safetensors")]
    for path in paths:
        done(run, target, "--scheme", "gpt2" if "gpt" in name else "torch", "-o", path)
    one, other = MODELS[name](), MODELS[name]()
    one.load_state_dict(torch.load(paths[0], weights_only=True), strict=True)
    assert not any(load_model(other, paths[1], strict=True))
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key])
        assert tensor.isfinite().all()


def test_shards(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    found = done(run, GPT, "--scheme", "gpt2", "-o", str(out), "--shard-size", "64KiB")
    assert found["output"] == str(out)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    whole = tmp_path / "a.safetensors"
    done(run, GPT, "--scheme", "gpt2", "-o", str(whole))
    state = load_file(whole)
    for name, shard in index["weight_map"].items():
        assert torch.equal(load_file(out / shard)[name], state[name])


def test_an_output_is_replaced_and_keeps_its_mode(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    out.write_bytes(b"old")
    out.chmod(0o640)
    done(run, LENET, "--scheme", "torch", "-o", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert len(load_file(out)) == 10


def test_in_place(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"fc.weight": torch.full((4, 4), 7.0)}, path)
    before = path.read_bytes()
    assert "is what is read" in trouble(run, str(path), "--scheme", "zeros", "-o", str(path))[0]
    assert path.read_bytes() == before
    done(run, str(path), "--scheme", "zeros", "-o", str(path), "--in-place")
    assert torch.equal(load_file(path)["fc.weight"], torch.zeros(4, 4))


def test_missing_only(run: Run, tmp_path: Path) -> None:
    base, out = tmp_path / "base.safetensors", tmp_path / "out.safetensors"
    state = LeNet().state_dict()
    save_file({name: state[name] for name in state if name.startswith("conv")}, base)
    argv = [LENET, "--scheme", "kaiming", "--missing-only", str(base)]
    found = done(run, *argv, "-o", str(out))
    assert found["kept"] == 4
    assert rows(found)["conv.0.weight"]["scheme"] == f"kept from {base}"
    fresh = tmp_path / "fresh.safetensors"
    done(run, LENET, "--scheme", "kaiming", "-o", str(fresh))
    for name, tensor in load_file(out).items():
        wanted = state[name] if name.startswith("conv") else load_file(fresh)[name]
        assert torch.equal(tensor, wanted)
    assert "is what is read" in trouble(run, *argv, "-o", str(base))[0]
    code, _, err = run("init", "--verify", str(out))
    assert code == 0, err


# --- plans and recipes ---------------------------------------------------------------------------


def test_dry_run_draws_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from paramcli.schemes.draws import Filler

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Filler, "fill", forbidden)
    found = done(run, GPT, "--scheme", "gpt2", "--dry-run")
    assert rows(found)["blocks.3.mlp.proj.weight"]["expected"]["std"] == pytest.approx(0.0070710678)
    code, out, _ = run("init", GPT, "--scheme", "gpt2", "--dry-run", "--format", "table")
    assert code == 0
    assert "seed 0" in out
    assert "g1  same  embed.weight = lm_head.weight" in out


def test_a_recipe_reproduces_its_run(run: Run, tmp_path: Path) -> None:
    argv = [GPT, "--scheme", "gpt2", "--rule", "blocks.0=normal(std=0.3)", "--rule",
            "/ln.*bias/=ones", "--seed", "77", "--dtype", "bfloat16"]  # fmt: skip
    code, text, err = run("init", *argv, "--print-recipe")
    assert code == 0, err
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    done(run, *argv, "-o", str(one))
    done(run, GPT, "--recipe", str(recipe), "-o", str(other))
    assert one.read_bytes() == other.read_bytes()
    found = rows(done(run, GPT, "--recipe", str(recipe), "--dry-run"))
    assert found["blocks.0.ln1.bias"]["scheme"] == "ones"
    assert found["blocks.0.attn.qkv.weight"]["expected"]["std"] == 0.3


def test_the_same_file_in_another_process(run: Run, tmp_path: Path) -> None:
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    done(run, LENET, "--scheme", "torch", "-o", str(one))
    argv = [sys.executable, "-m", "paramcli", "init", LENET, "--scheme", "torch", "-o", str(other)]
    subprocess.run(argv, check=True, capture_output=True, cwd=ROOT)
    assert one.read_bytes() == other.read_bytes()


# --- checks --------------------------------------------------------------------------------------


@pytest.fixture
def net(run: Run, tmp_path: Path) -> Path:
    out = tmp_path / "net.safetensors"
    done(run, LENET, "--scheme", "kaiming", "--seed", "5", "-o", str(out))
    return out


def test_verify(run: Run, net: Path) -> None:
    code, out, err = run("init", "--verify", str(net), "--format", "table")
    assert (code, out.splitlines()[-1]) == (0, "as it was initialized"), err
    assert "seed 5" in out


def test_verify_what_was_trained(run: Run, net: Path) -> None:
    from safetensors import safe_open

    state = load_file(net)
    with safe_open(net, "pt") as file:
        metadata = file.metadata()
    state["fc.0.bias"][0] = 1.0
    save_file(state, net, metadata)
    code, out, _ = run("init", "--verify", str(net), "--format", "json")
    assert code == 1
    assert json.loads(out)["verify"]["changed"] == ["fc.0.bias"]
    code, out, err = run("init", "--verify", str(net))
    assert (code, "changed\tfc.0.bias\n" in out) == (1, True)
    assert "changed since" in err


def test_verify_against_another_recipe(run: Run, net: Path) -> None:
    code, _, err = run("init", LENET, "--verify", str(net), "--scheme", "kaiming", "--seed", "5")
    assert code == 0, err
    code, _, _ = run("init", LENET, "--verify", str(net), "--scheme", "kaiming")
    assert code == 1
    code, _, _ = run("init", LENET, "--verify", str(net))
    assert code == 0
    assert "holds" in trouble(run, "--verify", str(net), "--scheme", "kaiming")[0]


def test_a_recipe_made_to_hang_is_given_up(run: Run, tmp_path: Path) -> None:
    """Its pattern would take longer than the world has lasted."""
    rules = '{ match = "@weight", scheme = "zeros" }, { match = "/(a|aa)+$/", scheme = "ones" }'
    recipe = f'name = "x"\nstream = "paramcli-1"\nseed = 0\nrules = [{rules}]\n'
    path = tmp_path / "x.safetensors"
    save_file({"a" * 200 + "b.weight": torch.zeros(3, 3)}, path, {"paramcli.recipe": recipe})
    assert "takes too long to apply" in trouble(run, "--verify", str(path))[0]


def test_code_that_a_file_names_is_not_run(run: Run, tmp_path: Path) -> None:
    out, mark = tmp_path / "net.safetensors", tmp_path / "ran"
    ran = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\ndef fill(m): pass\n"
    (tmp_path / "own.py").write_text(ran)
    function = f"{tmp_path}/own.py:fill"
    done(run, NET3D, "--apply", function, "-o", str(out))
    assert mark.exists()
    mark.unlink()
    sys.modules.pop("own", None)
    code, _, _ = run("init", "--verify", str(out))
    assert (code, mark.exists()) == (0, False)
    assert "was made by applying" in trouble(run, NET3D, "--verify", str(out))[0]
    assert not mark.exists()
    code, _, err = run("init", NET3D, "--verify", str(out), "--apply", function)
    assert code == 0, err


# --- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (["--scheme", "kaimin"], "no scheme is called 'kaimin'", "did you mean kaiming?"),
        (["--rule", "fc.9=zeros"], "matches no tensor", "did you mean"),
        (["--scheme", "torch", "--rule", "fc"], "PATTERN=SCHEME", "in the pattern"),
        (["--scheme", "torch", "--rule", "fc=zeros("], "no scheme stands", "in the pattern"),
        (["--rule", "conv=zeros"], "no rule matches 6 tensors", "--scheme for the rest"),
        (["--scheme", "torch", "--dtype", "int8"], "int8 cannot be drawn", "there are"),
        (["--scheme", "torch", "-o", "x.npz"], ".npz is no format", ".safetensors"),
        (["--scheme", "torch", "--format", "lock"], "no --format lock", "table"),
        (["--scheme", "torch", "--in-place"], "wants -o OUT", ""),
        (["--scheme", "torch", "--to", "dcp"], "wants -o OUT", ""),
        (["--scheme", "zeros", "--shard-size", "5XB", "-o", "x"], "'5XB' is no number", "5GB"),
        (["--scheme", "gpt2", "--apply", APPLY], "--apply starts from", "--scheme out"),
        (["--apply", "nothing"], "names no function", "pkg.mod:fn"),
        (["--apply", "sample_models.net3d:FLAG"], "no attribute", ""),
        (["--scheme", "mup"], "no counterpart", "--base"),
        (["--verify", "nowhere.pt"], "no such file", ""),
        (["--verify", str(FILES / "model.pt")], "no recipe", "saved again"),
        (["--recipe", "nowhere.toml"], "no such file", ""),
    ],
)  # fmt: skip
def test_trouble(run: Run, argv: list[str], error: str, hint: str) -> None:
    lines = trouble(run, LENET, *argv) if "--verify" not in argv else trouble(run, *argv)
    assert error in lines[0]
    assert not hint or hint in "\n".join(lines[1:])


def test_trouble_with_a_function_of_the_users(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def fill(m):\n    1 / 0\n")
    lines = trouble(run, NET3D, "--apply", f"{tmp_path}/own.py:fill")
    assert "applied to conv raised ZeroDivisionError" in lines[0]
    assert "wants a model class" in trouble(
        run, str(FILES / "model.pt"), "--apply", APPLY
    )[0]  # fmt: skip


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_cuda_writes_the_same_file(run: Run, tmp_path: Path, dtype: str) -> None:
    files = [tmp_path / f"{device}.safetensors" for device in ("cpu", "cuda")]
    sizes = [part for one in ("d_model=256", "vocab=20000") for part in ("--arg", one)]
    for file in files:
        how = ("--scheme", "vit", "--dtype", dtype, "--device", file.stem, "-o", str(file))
        assert run("init", GPT, *sizes, *how).code == 0
    assert filecmp.cmp(files[0], files[1], shallow=False)
    assert run("init", "--verify", str(files[1])).code == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "a.pt"
    lines = trouble(run, LENET, "--scheme", "torch", "--device", "cuda", "-o", str(out))
    assert "no CUDA device is available" in lines[0]
    assert not out.exists()


def test_what_is_said(run: Run) -> None:
    """Without a scheme; and what a pipe's lines do not say goes to stderr."""
    code, out, err = run("init", LENET)
    assert code == 0
    assert len(out.splitlines()) == 11
    assert "note: no --scheme" in err
    assert "seed 0 · stream paramcli-1" in err


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("5GiB", 5 << 30), ("1.5k", 1500), ("700", 700), ("2 MiB", 2 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "5iB", "-1GB", "5 GBps"])
def test_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of bytes"):
        parse_size(text)
