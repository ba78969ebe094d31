"""`paramcli list` as a user meets it: screen, JSON, messages and exit codes together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

FILES = Path(__file__).parents[2] / "sample_models" / "files"
LENET = [
    ("conv.0.weight", [6, 1, 5, 5]), ("conv.0.bias", [6]),
    ("conv.3.weight", [16, 6, 5, 5]), ("conv.3.bias", [16]),
    ("fc.0.weight", [120, 256]), ("fc.0.bias", [120]),
    ("fc.2.weight", [84, 120]), ("fc.2.bias", [84]),
    ("fc.4.weight", [10, 84]), ("fc.4.bias", [10]),
]  # fmt: skip


def test_a_file_gives_the_tutorials_listing(run: Callable[..., Outcome]) -> None:
    code, out, err = run("list", str(FILES / "model.pt"), "--format", "json")
    report = json.loads(out)
    assert code == 0
    assert report["schema"] == "paramcli.list/1"
    assert report["format"] == "torch-zip"
    assert [(row["name"], row["shape"]) for row in report["tensors"]] == LENET
    assert report["totals"] == {
        "tensors": 10, "count": 44426, "bytes": 177704,
        "unique_count": 44426, "unique_bytes": 177704,
    }  # fmt: skip
    assert "nothing run; 3 globals seen, all understood" in err


@pytest.mark.parametrize(
    ("name", "form", "tensors", "groups"),
    [
        ("model.pt", "torch-zip", 10, []),
        ("trainer.pt", "torch-zip", 30, [["embed.weight", "lm_head.weight"]]),
        ("legacy.pth", "torch-legacy", 4, []),
        ("tied.safetensors", "safetensors", 8,
         [["2.bias", "4.bias"], ["2.weight", "4.weight"]]),
        ("sharded", "sharded-safetensors", 54, [["embed.weight", "lm_head.weight"]]),
        ("sharded/model.safetensors.index.json", "sharded-safetensors", 54,
         [["embed.weight", "lm_head.weight"]]),
        ("whole_module.pt", "torch-zip", 7, []),
        ("script.pt", "torchscript", 4, []),
    ],
)  # fmt: skip
def test_every_sample(
    run: Callable[..., Outcome], name: str, form: str, tensors: int, groups: list[list[str]]
) -> None:
    code, out, _ = run("list", str(FILES / name), "--format", "json")
    report = json.loads(out)
    assert (code, report["format"], len(report["tensors"])) == (0, form, tensors)
    assert sorted(group["names"] for group in report["groups"]) == groups


def test_a_class_lists_as_its_checkpoint_does(run: Callable[..., Outcome]) -> None:
    code, out, err = run("list", "sample_models.lenet:LeNet", "--format", "json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["tensors"]
    assert [(row["name"], row["shape"]) for row in rows] == LENET
    assert {row["kind"] for row in rows} == {"parameter"}


def test_arguments_reach_the_constructor(run: Callable[..., Outcome], tmp_path: Path) -> None:
    target = "sample_models.tiny_gpt:TinyGPT"
    _, out, _ = run("list", target, "--arg", "layers=1", "--format", "json")
    assert (
        len(
            {
                row["name"].split(".")[1]
                for row in json.loads(out)["tensors"]
                if "blocks" in row["name"]
            }
        )
        == 1
    )
    (tmp_path / "args.toml").write_text("layers = 3\n")
    _, out, _ = run("list", target, "--args-file", str(tmp_path / "args.toml"), "--format", "json")
    assert "blocks.2.ln1.weight" in out
    assert "blocks.3.ln1.weight" not in out


def test_without_a_target_the_project_names_one(
    run: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.paramcli]\ntarget = "model.pt"\n')
    (tmp_path / "model.pt").write_bytes((FILES / "model.pt").read_bytes())
    monkeypatch.chdir(tmp_path / "deep" / "down")
    code, out, _ = run("list")
    assert code == 0
    assert out.splitlines()[1].startswith("conv.0.weight\t[6,1,5,5]\tfloat32\t150\t600")
    monkeypatch.chdir("/")
    code, out, err = run("list")
    assert (code, out) == (2, "")
    assert err.startswith("error: no target is named")


def test_several_targets_have_headings(run: Callable[..., Outcome]) -> None:
    one, two = str(FILES / "model.pt"), str(FILES / "legacy.pth")
    code, out, _ = run("list", one, two, "--format", "table", "--width", "200")
    assert code == 0
    assert out.startswith(f"{one}\n")
    assert f"\n{two}\n" in out
    _, out, err = run("list", one, two)
    assert [line for line in out.splitlines() if "\t" not in line] == [f"# {one}", f"# {two}"]
    assert [line.split(": ")[1] for line in err.splitlines()] == [one, two]
    _, out, _ = run("list", one, two, "--format", "json")
    decoder, documents = json.JSONDecoder(), []
    while out:
        document, end = decoder.raw_decode(out)
        documents.append(document["target"])
        out = out[end:].lstrip()
    assert documents == [one, two]
    code, out, err = run("list", one, two, "--format", "lock")
    assert (code, out) == (2, "")
    assert err == "error: a lock is of one target\nhint: write one for each\n"


def test_keys_of_a_trainers_checkpoint(run: Callable[..., Outcome]) -> None:
    trainer = str(FILES / "trainer.pt")
    code, out, err = run("list", trainer)
    assert code == 0
    assert "picked 'state_dict'; also here: optimizer (84), ema (30)" in err
    assert "\nembed.weight\t" in out
    _, out, err = run("list", trainer, "--key", "ema")
    assert "picked" not in err
    assert "\nembed.weight\t" in out
    _, out, _ = run("list", trainer, "--key", "optimizer.state.0")
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == [
        "step",
        "exp_avg",
        "exp_avg_sq",
    ]
    _, out, _ = run("list", trainer, "--all")
    assert "\nstate_dict.embed.weight\t" in out
    assert "\noptimizer.state.0.exp_avg\t" in out
    code, out, err = run("list", trainer, "--key", "emma")
    assert (code, out) == (2, "")
    assert "error: no tree 'emma'" in err
    assert "hint: " in err
    code, _, err = run("list", trainer, "--key", "ema", "--all")
    assert code == 2
    assert "contradict" in err


def test_patterns_and_orders(run: Callable[..., Outcome]) -> None:
    def names(*options: str) -> list[str]:
        code, out, _ = run("list", str(FILES / "model.pt"), *options)
        assert code == 0
        return [line.split("\t")[0] for line in out.splitlines()[1:]]

    assert names("--include", "*.bias") == [name for name, _ in LENET if name.endswith("bias")]
    assert names("--include", "conv", "--exclude", "/bias$/") == ["conv.0.weight", "conv.3.weight"]
    assert names("--sort", "bytes")[:2] == ["fc.0.weight", "fc.2.weight"]
    assert names("--sort", "count")[-1] == "conv.0.bias"
    assert names("--sort", "name")[0] == "conv.0.bias"
    code, out, err = run("list", str(FILES / "model.pt"), "--include", "conv.0.wieght")
    assert (code, out) == (2, "")
    assert "no name matches conv.0.wieght" in err
    assert "hint: did you mean conv.0.weight" in err
    code, _, err = run("list", str(FILES / "model.pt"), "--include", "conv.[0")
    assert code == 2
    assert err.splitlines()[-1].endswith("     ^")


@pytest.mark.parametrize("form", ["tsv", "markdown", "github", "lock", "table"])
def test_every_form_holds_every_name(run: Callable[..., Outcome], form: str) -> None:
    code, out, _ = run("list", str(FILES / "model.pt"), "--format", form)
    assert code == 0
    if form == "github":
        assert out.startswith("::notice ")
    else:
        assert all(name in out for name, _ in LENET if form != "lock" or "weight" in name)


def test_the_tree_has_subtotals(run: Callable[..., Outcome]) -> None:
    code, out, _ = run("list", "sample_models.tiny_gpt:TinyGPT", "--tree", "--depth", "2")
    assert code == 0
    assert "0-3" in out
    assert "ln1" not in out


@pytest.mark.parametrize(
    ("target", "said", "hint"),
    [
        ("nowhere.pt", "nowhere.pt: no such file or directory", ""),
        (str(FILES / "modle.pt"), "no such file or directory", "did you mean"),
        (__file__, "a text file, no checkpoint", "file.py:Class"),
        ("", "an empty target", "name a file"),
        ("a\0b", "NUL", ""),
        ("ftp://host/x.pt", "ftp:// targets cannot be opened", "download"),
        ("no_such_module:Net", "no_such_module", ""),
        ("sample_models.lenet:LeNte", "LeNte", "did you mean"),
        (str(FILES.parent), "a directory without a checkpoint", ""),
    ],
)
def test_what_cannot_be_opened(
    run: Callable[..., Outcome], target: str, said: str, hint: str
) -> None:
    code, out, err = run("list", target)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert len(lines) <= 2
    if hint:
        assert lines[1].startswith("hint: ")
        assert hint in lines[1]


def test_a_constructor_that_raises(run: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        raise ValueError('no such width')\n"
    )
    code, out, err = run("list", f"{tmp_path / 'net.py'}:Net")
    assert (code, out) == (2, "")
    assert "ValueError: no such width" in err
    assert "net.py:5" in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run: Callable[..., Outcome]) -> None:
    code, out, err = run("list", "nowhere.pt", "--debug")
    assert (code, out) == (2, "")
    assert "Traceback" in err
    assert "open_elsewhere" in err
    assert err.endswith("error: nowhere.pt: no such file or directory\n")


def test_an_index_that_disagrees_with_its_shards(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    for file in (FILES / "sharded").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    first, second = sorted(set(content["weight_map"].values()))
    name = next(key for key, shard in content["weight_map"].items() if shard == first)
    content["weight_map"] |= {name: second, "ghost": first}
    del content["weight_map"]["ln_f.weight"]
    index.write_text(json.dumps(content))
    (tmp_path / "model-00003-of-00003.safetensors").write_bytes((tmp_path / first).read_bytes())
    code, out, err = run("list", str(tmp_path))
    assert code == 1
    assert "ln_f.weight" in out
    assert "warning: 1 in the index, but in no shard: ghost" in err
    assert f"warning: 1 in another shard than the index says: {name}" in err
    assert "warning: 1 in a shard, but not in the index: ln_f.weight" in err
    assert "shards that the index does not name: model-00003-of-00003.safetensors" in err


def test_hostile_names_are_shown_escaped(run: Callable[..., Outcome], tmp_path: Path) -> None:
    names = ["\x1b[31mred", "[bold]x[/bold]", "\u202egnp.exe", "tab\tnew\nline", ":smile:"]
    entries = {
        name: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]}
        for i, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    path = tmp_path / "names.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(len(names)))
    for form in ("table", "tsv", "markdown", "github"):
        _, out, _ = run("list", str(path), "--format", form)
        assert "\x1b" not in out
        assert "\u202e" not in out
    _, out, _ = run("list", str(path))
    assert out.splitlines()[1].startswith("\\x1b[31mred\t")
    assert out.splitlines()[2].startswith("[bold]x[/bold]\t")
    assert out.splitlines()[4].startswith("tab\\tnew\\nline\t")
    _, out, _ = run("list", str(path), "--format", "json")
    assert [row["name"] for row in json.loads(out)["tensors"]] == names


def test_usage_errors_are_one_line(run: Callable[..., Outcome]) -> None:
    for argv in (
        ["lst"],
        ["list", "--frmat", "json"],
        ["list", "--format", "xml"],
        ["list", "--depth", "0"],
    ):
        code, out, err = run(*argv)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        asked = "paramcli list" if argv[0] == "list" else "paramcli"
        assert err.splitlines()[1:] == [f"hint: run: {asked} --help"]
    code, _, err = run("list", "x", "--arg", "a b")
    assert code == 2
    assert "NAME=VALUE" in err


def test_version(run: Callable[..., Outcome]) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("paramcli 0.")


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "paramcli", *argv]


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    entries = {
        f"layer.{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]}
        for i in range(50_000)
    }
    header = json.dumps(entries).encode()
    path = tmp_path / "many.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(50_000))
    script = f"'{sys.executable}' -m paramcli list '{path}' | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("name\tshape")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_trouble() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("list", str(FILES / "model.pt")),
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "error: cannot write the output: No space left on device" in done.stderr


def test_the_module_runs_and_stdin_may_be_closed() -> None:
    done = subprocess.run(
        command("list", str(FILES / "model.pt")),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "LC_ALL": "C", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 11


def test_a_terminal_gets_a_table_with_colour_unless_asked_not_to() -> None:
    def on_a_terminal(**environment: str) -> str:
        parent, child = os.openpty()
        import termios

        termios.tcsetwinsize(child, (24, 80))
        base = {
            key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")
        }
        with subprocess.Popen(
            command("list", str(FILES / "tied.safetensors")),
            stdout=child, stderr=subprocess.DEVNULL, env={**base, "TERM": "xterm", **environment},
        ) as process:  # fmt: skip
            os.close(child)
            seen = b""
            while True:
                try:
                    piece = os.read(parent, 65536)
                except OSError:  # Linux says so where the other end is closed
                    break
                if not piece:
                    break
                seen += piece
            os.close(parent)
        assert process.returncode == 0
        return seen.decode()

    colored = on_a_terminal()
    assert "Name" in colored
    assert "\x1b[" in colored
    plain = on_a_terminal(NO_COLOR="1")
    assert "Name" in plain
    assert "\x1b[" not in plain
    assert all(len(line) <= 80 for line in plain.replace("\r", "").split("\n"))


def test_a_width_that_is_too_small(run: Callable[..., Outcome]) -> None:
    done = run("list", str(FILES / "model.pt"), "--width", "39")
    assert (done.code, done.out) == (2, "")
    assert "'--width': 39 is less than 40" in done.err
