"""The sample models show what they should, and their files load and can be made again."""

import json
import math
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from sample_models import make
from sample_models.lenet import LeNet
from sample_models.make import FILES, SUMS, build, digests, recorded, seeded
from sample_models.mlp import MLP
from sample_models.net3d import Net3d, weight_init
from sample_models.network import Network
from sample_models.shared_mlp import SharedMLP
from sample_models.tiny_gpt import TinyGPT

BUILT_WITH = "2.13.0"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def assert_same(loaded: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Assert that two state dicts have the same names, in order, and the same tensors."""
    assert list(loaded) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def run_check(root: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m sample_models.make --check` with the package found in `root`."""
    command = [sys.executable, "-m", "sample_models.make", "--check"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_network_initialises_itself() -> None:
    """The constructor leaves Kaiming convolutions and an identity batch norm."""
    net = Network()
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 10, 6, 6)
    assert net.conv.weight.std().item() == pytest.approx(math.sqrt(2 / 27), rel=0.1)
    assert net.bn.weight.eq(1).all()
    assert net.bn.bias.eq(0).all()


def test_net3d_forward() -> None:
    """Volumes become two scores."""
    assert Net3d()(torch.zeros(2, 1, 4, 4, 4)).shape == (2, 2)


def test_weight_init_reaches_every_layer_by_apply() -> None:
    """Apply zeroes every bias and resets the batch norm."""
    net = Net3d().apply(weight_init)
    assert net.bn.weight.eq(1).all()
    for layer in (net.conv, net.bn, net.fc):
        assert layer.bias is not None
        assert layer.bias.eq(0).all()


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (nn.Conv3d(8, 32, (3, 3, 5)), math.sqrt(2 / (3 * 3 * 5 * 32))),
        (nn.Conv3d(8, 32, 3, bias=False), math.sqrt(2 / (3 * 3 * 3 * 32))),
        (nn.Linear(100, 100), 0.02),
    ],
)
def test_weight_init_statistics(layer: nn.Conv3d | nn.Linear, std: float) -> None:
    """Weights are drawn with the documented mean and deviation, bias or none."""
    weight_init(layer)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.03 * std)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.03)


def test_lenet_lists_the_tutorial_parameters() -> None:
    """The listing is the tutorial's, in its order."""
    net = LeNet()
    assert [(name, list(param.shape)) for name, param in net.named_parameters()] == [
        ("conv.0.weight", [6, 1, 5, 5]),
        ("conv.0.bias", [6]),
        ("conv.3.weight", [16, 6, 5, 5]),
        ("conv.3.bias", [16]),
        ("fc.0.weight", [120, 256]),
        ("fc.0.bias", [120]),
        ("fc.2.weight", [84, 120]),
        ("fc.2.bias", [84]),
        ("fc.4.weight", [10, 84]),
        ("fc.4.bias", [10]),
    ]
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_mlp_is_indexed() -> None:
    """A layer's own state is reached by its index."""
    net = MLP()
    assert {name: tuple(t.shape) for name, t in net[2].state_dict().items()} == {
        "weight": (1, 8),
        "bias": (1,),
    }
    assert net(torch.zeros(2, 4)).shape == (2, 1)


def test_shared_mlp_has_one_layer_at_two_positions() -> None:
    """The shared layer counts once as parameters, twice as names."""
    net = SharedMLP()
    assert net[2] is net[4]
    assert net[2].weight is net[4].weight
    assert len(list(net.parameters())) == 6
    assert len(net.state_dict()) == 8
    assert net(torch.zeros(2, 4)).shape == (2, 1)


def test_shared_mlp_adds_both_gradients() -> None:
    """The shared weight's gradient is the sum over its two positions."""
    net = SharedMLP()
    apart = SharedMLP()
    apart[4] = nn.Linear(8, 8)
    apart.load_state_dict(net.state_dict())
    x = torch.rand(16, 4)
    (both,) = torch.autograd.grad(net(x).sum(), net.get_parameter("2.weight"))
    places = apart.get_parameter("2.weight"), apart.get_parameter("4.weight")
    first, second = torch.autograd.grad(apart(x).sum(), places)
    torch.testing.assert_close(both, first + second)


def test_tiny_gpt_structure() -> None:
    """Names, tie and buffers are as documented."""
    net = TinyGPT()
    assert net.lm_head.weight is net.embed.weight
    assert len(net.blocks) == 4
    assert [name for name, _ in net.blocks[0].named_parameters()] == [
        f"{layer}.{kind}"
        for layer in ("ln1", "attn.qkv", "attn.proj", "ln2", "mlp.fc", "mlp.proj")
        for kind in ("weight", "bias")
    ]
    assert dict(net.named_buffers()).keys() == {"mask", "positions"}
    assert "mask" in net.state_dict()
    assert "positions" not in net.state_dict()


@pytest.mark.parametrize("length", [1, 16])
def test_tiny_gpt_is_causal(length: int) -> None:
    """Changing the last token changes the last logits only."""
    net = TinyGPT()
    tokens = torch.randint(128, (2, length))
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 128
    logits = net(tokens)
    assert logits.shape == (2, length, 128)
    torch.testing.assert_close(net(changed)[:, :-1], logits[:, :-1])
    assert not torch.allclose(net(changed)[:, -1], logits[:, -1])


def test_tiny_gpt_is_built_on_meta() -> None:
    """Construction and forward need no memory on the meta device."""
    with torch.device("meta"):
        net = TinyGPT(vocab=50_000, d_model=1024, layers=2, heads=8, context=64)
        assert net(torch.zeros(1, 64, dtype=torch.int64)).shape == (1, 64, 50_000)
    assert {t.device.type for t in (*net.parameters(), *net.buffers())} == {"meta"}
    assert net.lm_head.weight is net.embed.weight


def test_model_file() -> None:
    """model.pt is LeNet's state dict."""
    assert_same(torch.load(FILES / "model.pt", weights_only=True), seeded(LeNet()).state_dict())


def test_trainer_file() -> None:
    """trainer.pt resumes a model and its optimizer, ties kept."""
    saved = torch.load(FILES / "trainer.pt", weights_only=True)
    assert (saved["epoch"], saved["lr"]) == (3, 3e-4)
    net = TinyGPT(**saved["hyper_parameters"])
    net.load_state_dict(saved["state_dict"])
    for weights in (saved["state_dict"], saved["ema"]):
        assert weights.keys() == net.state_dict().keys()
        assert weights["lm_head.weight"].data_ptr() == weights["embed.weight"].data_ptr()
    assert not torch.equal(saved["ema"]["embed.weight"], saved["state_dict"]["embed.weight"])
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.load_state_dict(saved["optimizer"])
    assert all(optimizer.state[param]["step"] == 1 for param in net.parameters())


def test_legacy_file() -> None:
    """legacy.pth is MLP's state dict outside any zip."""
    assert not zipfile.is_zipfile(FILES / "legacy.pth")
    assert_same(torch.load(FILES / "legacy.pth", weights_only=True), seeded(MLP()).state_dict())


def test_tied_file_is_what_save_model_writes(tmp_path: Path) -> None:
    """tied.safetensors agrees with the reference writer and loads whole."""
    reference = tmp_path / "tied.safetensors"
    expected = seeded(SharedMLP())
    save_model(expected, str(reference))
    with safe_open(FILES / "tied.safetensors", "pt") as ours, safe_open(reference, "pt") as theirs:
        assert ours.metadata() == theirs.metadata() == {"4.weight": "2.weight", "4.bias": "2.bias"}
        assert ours.keys() == theirs.keys()
    net = SharedMLP()
    load_model(net, FILES / "tied.safetensors")
    assert_same(net.state_dict(), expected.state_dict())


def test_sharded_files() -> None:
    """The index maps every weight to its shard and the tie stands beside the kept weight."""
    folder = FILES / "sharded"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    assert len(shards) == 2
    assert index["weight_map"] == {name: file for file, shard in shards.items() for name in shard}
    tensors = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    with safe_open(folder / index["weight_map"]["embed.weight"], "pt") as shard:
        assert shard.metadata() == {"format": "pt", "lm_head.weight": "embed.weight"}
    expected = seeded(TinyGPT(d_model=16)).state_dict()
    del expected["lm_head.weight"]
    assert_same({name: tensors[name] for name in expected}, expected)
    assert tensors.keys() == expected.keys()


def test_whole_module_file(tmp_path: Path) -> None:
    """whole_module.pt, made again here, is a Network."""
    build(tmp_path)
    # A whole module unpickles as code, so only the copy just made is loaded.
    net = torch.load(tmp_path / "whole_module.pt", weights_only=False)
    assert isinstance(net, Network)
    assert_same(net.state_dict(), seeded(Network()).state_dict())


def test_script_file() -> None:
    """script.pt computes what MLP does."""
    script = torch.jit.load(FILES / "script.pt")  # type: ignore[no-untyped-call]
    net = seeded(MLP())
    assert_same(script.state_dict(), net.state_dict())
    x = torch.rand(5, 4)
    torch.testing.assert_close(script(x), net(x))


def test_files_are_as_recorded_and_small() -> None:
    """The shipped files match SHA256SUMS."""
    assert digests(FILES) == recorded()
    assert sum(path.stat().st_size for path in FILES.rglob("*") if path.is_file()) < 500_000


def test_files_hold_no_machine_path() -> None:
    """No file tells where it was built."""
    machine_path = re.compile(
        rb"/(Users|home|root|tmp|usr|var)/|site-packages|(?<!__torch__)/sample_models/"
    )
    for name in recorded():
        path = FILES / name
        if zipfile.is_zipfile(path):
            # Compression would hide a path from the search below.
            members = zipfile.ZipFile(path).infolist()
            assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
        assert not machine_path.search(path.read_bytes()), name


def test_check_rebuilds_the_same_bytes() -> None:
    """A fresh process builds the shipped bytes."""
    if torch.__version__.split("+")[0] != BUILT_WITH:
        pytest.skip(f"the files' bytes are those of torch {BUILT_WITH}, not {torch.__version__}")
    result = run_check(FILES.parents[1])
    assert (result.returncode, result.stderr) == (0, "")


def test_first_step_is_that_of_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step whose bytes no processor changes is the optimizer's own, but for rounding."""
    ours = make.trainer_checkpoint()
    monkeypatch.setattr(make, "first_step", torch.optim.AdamW.step)
    theirs = make.trainer_checkpoint()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours["optimizer"], theirs["optimizer"], rtol=1e-6, atol=0)


def test_check_names_a_file_that_differs(tmp_path: Path) -> None:
    """--check fails on a changed file and names it."""
    shutil.copytree(FILES.parent, tmp_path / "sample_models")
    (tmp_path / "sample_models" / "files" / "model.pt").write_bytes(b"other")
    result = run_check(tmp_path)
    assert result.returncode == 1
    assert f"model.pt: differs from a fresh build or from {SUMS}" in result.stderr
