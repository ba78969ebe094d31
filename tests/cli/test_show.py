"""`paramcli show` as a user meets it: JSON, messages, progress and exit codes together."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from paramcli import sources, workers
from paramcli.commands import streams
from paramcli.numeric import summary
from sample_models.lenet import LeNet
from tests import sample_files, torch_objects
from tests.test_house import guarded
from tests.unit.numeric.reference import FLOATS, made, numbers_of
from tests.unit.numeric.test_containers import WRITERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.sources import Request
    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "sample_models" / "files"
MODEL, TRAINER = str(FILES / "model.pt"), str(FILES / "trainer.pt")
CUDA = torch.cuda.is_available()


def shown(run: Run, *argv: str) -> dict[str, Any]:
    """Run `show … --format json`, which must succeed, and read its JSON."""
    code, out, err = run("show", *argv, "--format", "json")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    assert report["schema"] == "paramcli.show/1"
    return report


def errors(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]


def saved(path: Path, **tensors: torch.Tensor) -> str:
    return torch_objects.save(tensors, path)


# --- tensors and modules -------------------------------------------------------------------------


@pytest.mark.parametrize("target", [MODEL, "sample_models.lenet:LeNet"])
def test_a_layer_as_the_tutorial_prints_it(run: Run, target: str) -> None:
    if target == MODEL:
        state = torch.load(MODEL, weights_only=True)
    else:
        torch.manual_seed(0)
        state = LeNet().state_dict()
    report = shown(run, target, "fc.4", "--values")
    assert report["module"] == "fc.4"
    assert [row["name"] for row in report["tensors"]] == ["weight", "bias"]
    for row in report["tensors"]:
        tensor = state[f"fc.4.{row['name']}"]
        assert row["path"] == f"fc.4.{row['name']}"
        assert (row["shape"], row["dtype"]) == (list(tensor.shape), "float32")
        assert row["values"] == tensor.tolist()
        assert (row["count"], row["bytes"]) == (tensor.numel(), 4 * tensor.numel())
        assert row["kind"] == ("tensor" if target == MODEL else "parameter")


def test_the_contracts_fields(run: Run) -> None:
    report = shown(run, MODEL, "fc.4.weight")
    assert report["target"] == MODEL
    assert (report["format"], report["key"], report["module"]) == ("torch-zip", None, None)
    (row,) = report["tensors"]
    assert row.keys() >= {"name", "shape", "dtype", "kind", "count", "bytes", "group", "values"}
    assert row["values"] is None
    stats = row["stats"]
    numbers = numbers_of(torch.load(MODEL, weights_only=True)["fc.4.weight"])
    assert stats["mean"] == pytest.approx(numbers.mean(), rel=1e-10)
    assert stats["std"] == pytest.approx(numbers.std(), rel=1e-10)
    assert stats["l2"] == pytest.approx(np.linalg.norm(numbers), rel=1e-10)
    assert (stats["min"], stats["max"]) == (numbers.min(), numbers.max())
    assert (stats["zeros"], stats["nan"], stats["inf"]) == (0, 0, 0)
    for percent, value in stats["percentiles"].items():
        assert value == pytest.approx(np.percentile(numbers, int(percent)), rel=1e-12)
    assert list(stats["percentiles"]) == ["1", "5", "25", "50", "75", "95", "99"]
    assert (stats["percentile_method"], stats["percentile_error"]) == ("exact", 0.0)
    assert sum(stats["histogram"]) == 840


def test_values_in_json_are_exact(run: Run, tmp_path: Path) -> None:
    tensors = {name: made(name, 300, seed=9) for name in FLOATS}
    report = shown(run, saved(tmp_path / "x.pt", **tensors), "*", "--values", "--no-stats")
    for row in report["tensors"]:
        back = np.array([float(value) for value in row["values"]])
        np.testing.assert_array_equal(back, numbers_of(tensors[row["name"]]))


def test_what_json_has_no_number_for(run: Run, tmp_path: Path) -> None:
    tensor = torch.tensor([math.nan, math.inf, -math.inf, 1.5])
    path = saved(tmp_path / "x.pt", w=tensor, c=torch.tensor([1 + 2j]), e=torch.ones(0))
    (w, c, e) = shown(run, path, "*", "--values")["tensors"]
    assert w["values"] == ["nan", "inf", "-inf", 1.5]
    assert (w["stats"]["mean"], w["stats"]["max"], w["stats"]["inf"]) == ("nan", "nan", 2)
    assert (w["stats"]["positive_inf"], w["stats"]["negative_inf"]) == (1, 1)
    assert w["stats"]["finite"] == {"mean": 1.5, "std": 0.0, "min": 1.5, "max": 1.5}
    assert (c["values"], c["stats"]["mean"], c["stats"]["min"]) == ([[1.0, 2.0]], [1.0, 2.0], None)
    assert (e["values"], e["stats"]["mean"], e["stats"]["percentiles"]["50"]) == ([], None, None)


@pytest.mark.parametrize(
    ("part", "of"),
    [
        ("0,:5", np.s_[0, :5]),
        ("-1", np.s_[-1]),
        ("...,::40", np.s_[..., ::40]),
        ("9,83", np.s_[9, 83]),
    ],
)
def test_a_slice_asks_for_values(run: Run, part: str, of: Any) -> None:
    (row,) = shown(run, MODEL, "fc.4.weight", "--slice", part)["tensors"]
    assert row["values"] == torch.load(MODEL, weights_only=True)["fc.4.weight"].numpy()[of].tolist()
    assert row["shape"] == [10, 84]
    assert row["stats"]["zeros"] == 0


@pytest.mark.parametrize(
    ("argv", "says", "hint"),
    [
        (["fc.4.weight", "--slice", "::-1"], "does not run forwards", None),
        (["fc.4.weight", "--slice", "10"], "10 is outside a dimension of 10", None),
        (["fc.4.bias", "--slice", "0,0"], "more parts than 'fc.4.bias' has", None),
        (["fc.4.bias", "--slice", "x"], "is no slice", "--slice '0,:5'"),
        (["fc.4.bias", "--slice", ""], "is no slice", "--slice '0,:5'"),
        (["--values"], "want the name of a tensor or module", "conv.*"),
        (["--slice", "0"], "want the name of a tensor or module", "conv.*"),
        (["fc.4.wieght"], "no tensor or module matches fc.4.wieght", "did you mean fc.4.weight"),
        (["cnov"], "no tensor or module matches cnov", "did you mean conv"),
        (["fc.[a"], "never closed", "^"),
        (["fc.4", "--format", "github"], "show has no --format github", "table, tsv, json"),
        (["--format", "lock"], "show has no --format lock", "table, tsv, json"),
        (["--key", "nowhere"], "nowhere", None),
    ],
)
def test_bad_usage_is_one_line_and_a_hint(
    run: Run, argv: Sequence[str], says: str, hint: str | None
) -> None:
    code, out, err = run("show", MODEL, *argv)
    assert (code, out) == (2, "")
    said = errors(err)
    assert said[0].startswith("error: ")
    assert says in said[0]
    if hint is not None:
        assert hint in err
    assert len(said) <= 2
    assert "Traceback" not in err


def test_more_than_a_million_values(run: Run, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", w=torch.zeros(1_000_001, dtype=torch.uint8))
    code, out, err = run("show", path, "w", "--values", "--format", "json")
    assert (code, out) == (2, "")
    assert "1,000,001 values, too many to print" in err
    assert len(shown(run, path, "w", "--slice", ":1000000", "--no-stats")["tensors"]) == 1


def test_keys_and_all_trees(run: Run) -> None:
    code, out, err = run("show", TRAINER, "ln_f", "--format", "json")
    assert code == 0
    assert json.loads(out)["key"] == "state_dict"
    assert "state_dict" in err
    assert shown(run, TRAINER, "ln_f", "--key", "ema")["key"] == "ema"
    names = [row["name"] for row in shown(run, TRAINER, "*.ln_f.weight", "--all")["tensors"]]
    assert names == ["state_dict.ln_f.weight", "ema.ln_f.weight"]


def test_who_shares(run: Run) -> None:
    rows = shown(run, TRAINER, "embed", "lm_head", "ln_f")["tensors"]
    assert [row["group"] for row in rows] == ["g1", None, None, "g1"]
    assert rows[0]["stats"] == rows[-1]["stats"]


@pytest.mark.parametrize(
    "name",
    ["model.pt", "legacy.pth", "tied.safetensors", "sharded", "whole_module.pt", "script.pt"],
)
def test_every_sample(run: Run, name: str) -> None:
    rows = shown(run, str(FILES / name), "*")["tensors"]
    assert rows
    for row in rows:
        assert row["stats"]["nan"] == 0
        assert row["stats"]["l2"] >= 0


@pytest.mark.parametrize("form", ["table", "tsv", "markdown", "json"])
def test_every_form_of_output(run: Run, form: str) -> None:
    for argv in (["fc"], ["fc.4.bias", "--values"], []):
        code, out, _ = run("show", MODEL, *argv, "--format", form)
        assert code == 0
        assert out.endswith("\n")
        assert "\x1b" not in out


def test_without_a_terminal_it_is_tsv_in_full_precision(run: Run) -> None:
    code, out, _ = run("show", MODEL, "fc.4.bias")
    assert code == 0
    header, row = (line.split("\t") for line in out.splitlines())
    stats = shown(run, MODEL, "fc.4.bias")["tensors"][0]["stats"]
    cells = dict(zip(header, row, strict=True))
    assert float(cells["mean"]) == stats["mean"]
    assert float(cells["p99"]) == stats["percentiles"]["99"]


def test_values_go_into_a_pipe_too(run: Run, tmp_path: Path) -> None:
    """As JSON in a last column: the default form without a terminal leaves nothing out."""
    path = saved(tmp_path / "x.pt", a=torch.tensor([[0.1, math.nan]]), b=torch.tensor(7))
    code, out, _ = run("show", path, "*", "--values")
    assert code == 0
    header, *rows = (line.split("\t") for line in out.splitlines())
    assert header[-1] == "values"
    assert [json.loads(row[-1]) for row in rows] == [[[np.float32(0.1).item(), "nan"]], 7]
    assert "values" not in run("show", path, "*").out


def test_values_that_cannot_be_shown(run: Run, tmp_path: Path) -> None:
    """It is not the file that lacks them."""
    path = saved(tmp_path / "x.pt", w=torch.eye(3).to_sparse(), m=torch.ones(2, device="meta"))
    code, out, err = run("show", path, "w", "--values")
    assert (code, out) == (2, "")
    assert "'w' has values, but those of sparse_coo tensors cannot be shown" in err
    assert "it holds names and shapes, but no values" in run("show", path, "m", "--values").err


def test_without_a_target_the_project_names_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.paramcli]\ntarget = "x.pt"\n')
    saved(tmp_path / "x.pt", w=torch.ones(3))
    monkeypatch.chdir(tmp_path)
    assert shown(run)["file"]["totals"]["count"] == 3


# --- the file itself -----------------------------------------------------------------------------


def test_the_file_of_a_trainer(run: Run) -> None:
    report = shown(run, TRAINER)
    assert (report["tensors"], report["module"], report["key"]) == ([], None, "state_dict")
    file = report["file"]
    assert file["size"] == os.path.getsize(TRAINER)
    assert file["producer"] == "torch.save, archive version 3"
    values = {row["path"]: row["text"] for row in file["values"]}
    assert (values["epoch"], values["lr"]) == ("3", "0.0003")
    assert {"path": "state_dict", "tensors": 30} in file["trees"]
    assert [tree["path"] for tree in file["trees"]].count("ema") == 1
    assert file["totals"]["tensors"] == 30
    assert file["metadata"] == {}


def test_the_file_of_safetensors(run: Run) -> None:
    file = shown(run, str(FILES / "tied.safetensors"))["file"]
    assert file["metadata"] == {"4.bias": "2.bias", "4.weight": "2.weight"}
    assert file["size"] == 932
    assert (file["trees"], file["values"], file["pickle"]) == ([], [], None)
    assert (file["totals"]["tensors"], file["groups"]) == (8, 2)


def test_problems_of_an_index_are_warned_of(run: Run, tmp_path: Path) -> None:
    index = sample_files.write_index(tmp_path / "m")
    index.write_text(index.read_text().replace('"b":', '"c":'))
    code, out, err = run("show", str(index), "--format", "json")
    assert code == 0
    assert "warning: 1 in the index, but in no shard: c" in err
    assert any("in no shard" in problem for problem in json.loads(out)["file"]["problems"])


# --- the check for NaN and infinities ------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("turned", [False, True])
def test_check_finite(run: Run, dtype: str, turned: bool, tmp_path: Path) -> None:  # noqa: FBT001
    good = np.ones((4, 6), np.complex128)
    bad = good.copy()
    bad[2, 3] = bad[1, 5] = math.nan
    tensors = {}
    for name, array in (("good", good), ("bad", bad)):
        wide = torch.from_numpy(array if "complex" in dtype else array.real.copy())
        tensor = wide.to(getattr(torch, dtype))
        tensors[name] = tensor.T[::2] if turned else tensor
    path = saved(tmp_path / "x.pt", **tensors)
    code, out, err = run("show", path, "good", "--check", "finite")
    assert (code, out) == (0, "")
    assert "check finite: 0 of 1 tensors hold a NaN or an infinity" in err
    code, out, err = run("show", path, "--check", "finite")
    want = np.argwhere(~np.isfinite(numbers_of(tensors["bad"]))).tolist()
    if not want:
        assert code == 0
        return
    assert code == 1
    assert f"not finite: bad, first at {want[0]}" in err
    assert "check finite: 1 of 2 tensors hold a NaN or an infinity" in err
    assert "good" not in out + err
    code, out, _ = run("show", path, "--check", "finite", "--format", "json")
    assert code == 1
    (row,) = json.loads(out)["tensors"]
    assert (row["name"], row["first_bad"]) == ("bad", want[0])
    assert row["stats"]["nan"] == len(want)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_check_finite_finds_infinities(run: Run, value: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", w=torch.tensor([0.0, value]))
    code, _, err = run("show", path, "--check", "finite")
    assert code == 1
    assert "not finite: w, first at [1]" in err


def test_check_finite_in_json_where_all_is_well(run: Run) -> None:
    code, out, _ = run("show", MODEL, "--check", "finite", "--format", "json")
    assert code == 0
    assert json.loads(out)["tensors"] == []


def test_check_finite_of_a_class(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checked.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, bad=False):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(2, 2)\n"
        "        self.scale = nn.Parameter(torch.tensor([1.0, 0.0 if bad else 2.0]).log())\n"
    )
    assert run("show", "checked.py:Net", "--check", "finite").code == 0
    code, _, err = run("show", "checked.py:Net", "--arg", "bad=true", "--check", "finite")
    assert code == 1
    assert "not finite: scale, first at [1]" in err


def test_check_finite_meets_trouble_with_2(run: Run) -> None:
    assert run("show", MODEL, "nowhere", "--check", "finite").code == 2
    assert run("show", "nowhere.pt", "--check", "finite").code == 2
    assert run("show", MODEL, "--check", "infinite").code == 2


# --- devices -------------------------------------------------------------------------------------


@pytest.mark.skipif(CUDA, reason="there is a CUDA device here: the next test uses it")
@pytest.mark.parametrize("argv", [["fc"], ["--check", "finite"]])
def test_cuda_where_there_is_none(run: Run, argv: list[str]) -> None:
    code, out, err = run("show", MODEL, *argv, "--device", "cuda")
    assert (code, out) == (2, "")
    assert errors(err) == [
        "error: --device cuda: no CUDA device is available here",
        "hint: leave it out to compute on the CPU",
    ]


@pytest.mark.skipif(not CUDA, reason="there is no CUDA device here")
def test_cuda_gives_the_same_numbers(run: Run) -> None:
    for target in (MODEL, TRAINER, str(FILES / "sharded")):
        one, two = (shown(run, target, "*", *device) for device in ([], ["--device", "cuda"]))
        for row, other in zip(one["tensors"], two["tensors"], strict=True):
            for key in ("mean", "std", "l2"):
                assert other["stats"].pop(key) == pytest.approx(row["stats"].pop(key), rel=1e-12)
            assert other == row
    assert run("show", MODEL, "--check", "finite", "--device", "cuda").code == 0


def test_no_other_device(run: Run) -> None:
    assert run("show", MODEL, "fc", "--device", "tpu").code == 2


# --- what is loaded ------------------------------------------------------------------------------

LIGHT = [
    ["show", "--help"],
    *(["show", str(FILES / name)] for name in (
        "model.pt", "trainer.pt", "legacy.pth", "tied.safetensors", "sharded", "whole_module.pt",
        "script.pt",
    )),
    *(["show", TRAINER, "--format", form] for form in ("table", "tsv", "json", "markdown")),
    ["show", MODEL, "fc", "--no-stats"],
    ["show", TRAINER, "*", "--no-stats", "--format", "table"],
    ["show", TRAINER, "blocks.0", "--no-stats", "--format", "json"],
    ["show", str(FILES / "tied.safetensors"), "2", "--no-stats"],
    ["show", MODEL, "fc.wieght"],
]  # fmt: skip


@pytest.mark.parametrize("argv", LIGHT, ids=lambda argv: " ".join(argv).replace(str(FILES), ""))
def test_metadata_alone_loads_neither_torch_nor_numpy(argv: list[str]) -> None:
    done = guarded("torch,numpy,safetensors", *argv)
    assert "forbidden" not in done.stderr
    assert done.returncode == (2 if argv[-1] == "fc.wieght" else 0), done.stderr


@pytest.mark.parametrize(
    "argv", [["fc"], ["fc.4.bias", "--values"], ["--check", "finite"], ["fc", "--format", "table"]]
)
@pytest.mark.parametrize("name", ["model.pt", "trainer.pt", "sharded"])
def test_numbers_are_found_without_torch(argv: list[str], name: str) -> None:
    argv = [word.replace("fc", "*bias") if name != "model.pt" else word for word in argv]
    argv = [word.replace("*bias.4.bias", "*bias") for word in argv]
    done = guarded("torch,safetensors", "show", str(FILES / name), *argv)
    assert "forbidden" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_guard_can_fail() -> None:
    done = guarded("numpy", "show", MODEL, "fc")
    assert done.returncode != 0
    assert "numpy" in done.stderr


# --- progress ------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show progress at once and always."""
    monkeypatch.setattr(streams, "_PATIENCE", 0.0)
    monkeypatch.setattr(streams, "_OFTEN", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("argv", [["fc"], ["--check", "finite"]])
def test_progress_goes_to_a_terminal(
    run: Run, argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run("show", MODEL, *argv)
    assert code == 0
    assert "\r" not in out
    line = err[err.index("\r") :]
    assert re.match(r"\r[0-9.]+ K?i?B of [0-9.]+ KiB \([0-9]+%\)\x1b\[K\r", line)
    assert line.rpartition("\r")[2].startswith("\x1b[K"), "the line is taken away again"


@pytest.mark.usefixtures("impatient")
def test_progress_counts_what_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last tensor is done, all is: not so many bytes of the whole file."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = run("show", MODEL, "fc.4")
    assert "(100%)" in err
    assert "173.5 KiB" not in err


@pytest.mark.usefixtures("impatient")
def test_and_nowhere_else(run: Run) -> None:
    for argv in (["fc"], ["--check", "finite"]):
        code, out, err = run("show", MODEL, *argv)
        assert code == 0
        assert "\r" not in out + err
        assert "KiB" not in err


def test_and_not_for_work_of_a_moment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    _, _, err = run("show", MODEL, "*")
    assert "\r" not in err


@pytest.mark.usefixtures("impatient")
def test_progress_is_taken_away_before_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "x.pt", a=torch.ones(100), b=torch.ones(100_000))
    spoil(monkeypatch, lambda: os.truncate(path, 2000))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, err = run("show", path, "*")
    assert code == 2
    last = err.rpartition("\r")[2]
    assert last.startswith("\x1b[Kerror: ")


# --- files that change while they are read -------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something to the files when a target has been opened and not yet read."""
    real = sources.open_request

    def then(request: Request) -> Checkpoint:
        checkpoint = real(request)
        act()
        return checkpoint

    monkeypatch.setattr(sources, "open_request", then)


def largest(target: str) -> Path:
    """Return the file that holds most of a target's bytes."""
    path = Path(target)
    inside = path.parent if path.suffix == ".json" else path
    files = [path] if path.is_file() and path == inside else [*inside.iterdir()]
    return max(files, key=lambda file: file.stat().st_size)


READS = [["*"], ["*", "--values"], ["--check", "finite"]]


@pytest.mark.parametrize("argv", READS, ids=" ".join)
@pytest.mark.parametrize("form", WRITERS)
def test_a_file_that_shrinks_is_one_error(
    run: Run, form: str, argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = WRITERS[form](tmp_path, {"a": torch.randn(300, 100), "b": torch.randn(200)})
    victim = largest(target)
    spoil(monkeypatch, lambda: os.truncate(victim, victim.stat().st_size // 3))
    code, _, err = run("show", target, *argv)
    assert code == 2
    (said,) = [line for line in errors(err) if line.startswith("error:")]
    assert victim.name in said
    assert "Traceback" not in err


@pytest.mark.parametrize("argv", READS, ids=" ".join)
@pytest.mark.parametrize("form", WRITERS)
def test_a_file_that_is_gone_is_one_error(
    run: Run, form: str, argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is about what could not be read, not about the output."""
    target = WRITERS[form](tmp_path, {"a": torch.randn(300, 100), "b": torch.randn(200)})
    victim = largest(target)
    spoil(monkeypatch, victim.unlink)
    code, _, err = run("show", target, *argv)
    assert code == 2
    (said,) = [line for line in errors(err) if line.startswith("error:")]
    assert victim.name in said
    assert "output" not in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_file_that_shrinks_under_the_workers(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "x.pt", **{f"w{i}": torch.randn(1000) for i in range(20)})
    monkeypatch.setattr(summary, "SMALL_WORK", 0)
    monkeypatch.setattr(workers, "available", lambda: 2)
    assert run("show", path, "*").code == 0
    spoil(monkeypatch, lambda: os.truncate(path, 30_000))
    code, out, err = run("show", path, "*")
    assert (code, out) == (2, "")
    assert "shrank while it was read" in err


# --- endings -------------------------------------------------------------------------------------


def test_ctrl_c_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(summary, "summarize", interrupted)
    code, out, err = run("show", MODEL, "fc")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_ctrl_c_while_a_command_is_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paramcli.cli.import_module", interrupted)
    assert run("show", MODEL) == (130, "", "")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ZeroDivisionError("by nought"), "paramcli itself failed: ZeroDivisionError: by nought"),
        (KeyError(), "paramcli itself failed: KeyError"),
        (MemoryError(), "there is not enough memory for this"),
    ],
)
def test_no_failure_passes_for_a_failed_check(
    run: Run, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    """Exit code 1 is an answer; whatever goes wrong, a fault of ours included, is 2."""

    def failing(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(summary, "summarize", failing)
    code, out, err = run("show", MODEL, "--check", "finite")
    assert (code, out) == (2, "")
    assert errors(err)[0] == f"error: {said}"
    assert "Traceback" not in err
    code, _, err = run("show", MODEL, "--check", "finite", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert f"error: {said}" in errors(err)


def test_a_reader_that_goes_away_is_no_trouble(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", w=torch.arange(900_000, dtype=torch.int32))
    command = [sys.executable, "-m", "paramcli", "show", path, "w", "--values", "--format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"{\n"
        process.stdout.close()
        said = process.stderr.read()
        process.wait(60)
    assert process.returncode == 0
    assert b"error" not in said
    assert b"Traceback" not in said
