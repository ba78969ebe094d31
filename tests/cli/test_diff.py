"""`paramcli diff` as a user meets it: screen, JSON and exit code together, on real files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from paramcli.commands import streams
from paramcli.verbs import diff as verb
from tests import torch_objects
from tests.unit.numeric.test_containers import WRITERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "sample_models" / "files"
MODEL, TIED = str(FILES / "model.pt"), str(FILES / "tied.safetensors")
COMMANDS = ("::notice", "::error")
CUDA = torch.cuda.is_available()
LENET = "sample_models.lenet:LeNet"


class Compared(NamedTuple):
    """What one comparison says on a screen, in JSON, on stderr, and by its exit code."""

    code: int
    screen: str
    report: dict[str, Any]
    err: str

    @property
    def verdict(self) -> str:
        return self.screen.splitlines()[-1]


@pytest.fixture
def compare(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Compared]:
    """Run `diff` on a screen and as JSON; both must come to one verdict."""
    monkeypatch.setenv("COLUMNS", "120")

    def call(*argv: str) -> Compared:
        table = run("diff", *argv, "--format", "table")
        found = run("diff", *argv, "--format", "json")
        assert found.code == table.code, table.err + found.err
        assert found.code in (0, 1), table.err
        assert found.err == table.err
        report: dict[str, Any] = json.loads(found.out)
        assert report["schema"] == "paramcli.diff/1"
        assert report["same"] is (table.code == 0)
        return Compared(table.code, table.out, report, table.err)

    return call


def trouble(run: Run, *argv: str) -> list[str]:
    """Run `diff`, which must fail without a word on stdout; return error and hint."""
    code, out, err = run("diff", *argv)
    assert (code, out) == (2, "")
    return [line for line in err.splitlines() if line.startswith(("error:", "hint:"))]


def state() -> dict[str, torch.Tensor]:
    """Make the weights of four blocks and a head."""
    torch.manual_seed(0)
    shapes = {f"blocks.{n}.fc.{part}": (8, 4)[: 2 - (part == "bias")]
              for n in range(4) for part in ("weight", "bias")}  # fmt: skip
    return {name: torch.randn(shape) for name, shape in shapes.items()} | {
        "head.weight": torch.randn(3, 8)
    }


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    return torch_objects.save(tensors, path)


@pytest.fixture
def base(tmp_path: Path) -> str:
    return saved(tmp_path / "base.pt", state())


# --- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITERS)
def test_same_in_any_form(compare: Callable[..., Compared], form: str, tmp_path: Path) -> None:
    """The same values are the same, whatever holds them."""
    tensors = {name.replace(".", "_"): tensor for name, tensor in state().items()}
    base = saved(tmp_path / "base.pt", tensors)
    (tmp_path / form).mkdir()
    found = compare(base, WRITERS[form](tmp_path / form, tensors))
    assert found.code == 0, found.screen
    assert found.report["equal"] == 9
    assert found.report["not_compared"] == 0
    assert found.verdict == "same"
    assert "equal  9\n" in found.screen


def test_changed(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    tensors = state()
    tensors["blocks.3.fc.weight"][0, 0] += 1.0
    tensors["blocks.2.fc.bias"] *= 1 + 1e-6
    found = compare(base, saved(tmp_path / "tuned.pt", tensors))
    assert found.code == 1
    assert found.verdict == "differs: 2 values"
    assert found.report["equal"] == 7
    first, second = found.report["values"]
    assert (first["name"], second["name"]) == ("blocks.2.fc.bias", "blocks.3.fc.weight")
    before, after = state()["blocks.3.fc.weight"].double(), tensors["blocks.3.fc.weight"].double()
    assert second["max_abs"] == (after - before).abs().max().item()
    assert second["rel_l2"] == pytest.approx(
        ((after - before).norm() / before.norm()).item(), rel=1e-12
    )
    assert (second["changed"], second["changed_fraction"]) == (1, 1 / 32)
    assert second["shape"] == [8, 4]
    lines = found.screen.splitlines()
    assert lines.index("blocks.*  0 1 2 3") + 1 == lines.index("fc        · · ░ █")
    worst = [line for line in lines if line.startswith("blocks.") and "[8" in line]
    assert [line.split()[0] for line in worst] == ["blocks.3.fc.weight", "blocks.2.fc.bias"]


def test_nan(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    """What a NaN has spoiled is never the same; equal NaN are."""
    tensors = state()
    tensors["head.weight"][1, 1] = float("nan")
    broken = saved(tmp_path / "broken.pt", tensors)
    found = compare(base, broken)
    assert found.code == 1
    assert "changed  1  NaN in head.weight\n" in found.screen
    assert found.report["values"][0]["rel_l2"] == "nan"
    assert compare(broken, broken).code == 0


def test_tolerance(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    near = saved(tmp_path / "near.pt", {name: t * (1 + 1e-6) for name, t in state().items()})
    assert compare(base, near).code == 1
    assert compare(base, near, "--rtol", "1e-5").code == 0
    assert compare(base, near, "--atol", "1e-9").code == 1
    assert compare(base, near, "--atol", "1e-3").report["equal"] == 9


@pytest.mark.skipif(CUDA, reason="there is a CUDA device here")
def test_cuda_where_there_is_none(run: Run, base: str, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.pt", {name: t + 1 for name, t in state().items()})
    assert trouble(run, base, other, "--device", "cuda") == [
        "error: --device cuda: no CUDA device is available here",
        "hint: leave it out to compute on the CPU",
    ]


@pytest.mark.skipif(not CUDA, reason="there is no CUDA device here")
def test_cuda_gives_the_same_numbers(
    compare: Callable[..., Compared], base: str, tmp_path: Path
) -> None:
    other = saved(tmp_path / "other.pt", {name: t * 1.01 for name, t in state().items()})
    on_cpu, on_gpu = (compare(base, other, "--device", device) for device in ("cpu", "cuda"))
    for one, two in zip(on_cpu.report["values"], on_gpu.report["values"], strict=True):
        for metric in ("max_abs", "l2", "rel_l2", "cosine", "changed"):
            assert two[metric] == pytest.approx(one[metric], rel=1e-9)


def test_without_metrics(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    tensors = state()
    tensors["head.weight"] += 1
    found = compare(base, saved(tmp_path / "x.pt", tensors), "--metrics", "none")
    assert (found.code, found.verdict) == (1, "differs: 1 value")
    assert found.report["values"][0]["rel_l2"] is None


def test_names_shapes_and_subset(
    compare: Callable[..., Compared], base: str, tmp_path: Path
) -> None:
    tensors = state()
    more = saved(tmp_path / "more.pt", tensors | {"extra.a": torch.ones(1), "x.b": torch.ones(2)})
    found = compare(base, more)
    assert (found.code, found.verdict) == (1, "differs: 2 only in B")
    assert found.report["only_b"] == ["extra.a", "x.b"]
    assert "\nOnly in B\nextra.a\nx.b\n" in found.screen
    found = compare(base, more, "--subset")
    assert (found.code, found.verdict) == (0, "same; ignored: 2 only in B")
    assert compare(more, base, "--subset").code == 1
    tensors["head.weight"] = torch.zeros(4, 8)
    found = compare(base, saved(tmp_path / "other.pt", tensors))
    assert found.report["shape"][0]["a"] == [3, 8]
    assert "head.weight  [3, 8] → [4, 8]\n" in found.screen


def test_shapes_read_no_values(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.pt", {name: t + 1 for name, t in state().items()})
    found = compare(base, other, "--shapes")
    assert (found.code, found.verdict) == (0, "same, 9 not compared")
    assert (found.report["equal"], found.report["not_compared"]) == (0, 9)
    assert "equal" not in found.screen
    assert "not compared  9  values were not read\n" in found.screen


def test_dtype(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    exact = {name: t.bfloat16().float() for name, t in state().items()}
    full = saved(tmp_path / "full.pt", exact)
    half = saved(tmp_path / "half.pt", {name: t.bfloat16() for name, t in exact.items()})
    found = compare(full, half)
    assert (found.code, found.verdict) == (1, "differs: 9 dtypes")
    assert "\nlikely: 9 tensors are float32 in A and bfloat16 in B  (--ignore-dtype)\nequal " in (
        found.screen
    )
    found = compare(full, half, "--ignore-dtype")
    assert (found.code, found.verdict) == (0, "same; ignored: 9 dtypes")
    assert found.report["equal"] == 9
    assert compare(base, half, "--ignore-dtype").code == 1


def test_prefix(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    """The likely cause comes first, and the option that it names does set it aside."""
    wrapped = {f"_orig_mod.module.{name}": t for name, t in state().items()}
    target = saved(tmp_path / "wrapped.pt", wrapped)
    found = compare(target, base)
    assert (found.code, found.verdict) == (1, "differs: 9 renamed")
    assert (
        "\nlikely: all 9 names match after stripping _orig_mod.module."
        "  (--rename '_orig_mod.module.=')\nequal "
    ) in found.screen
    assert {one["by"] for one in found.report["renamed"]} == {"prefix"}
    found = compare(target, base, "--rename", "_orig_mod.module.=")
    assert (found.code, found.report["renamed"]) == (0, [])


def test_ties(compare: Callable[..., Compared], tmp_path: Path) -> None:
    tensor = torch.randn(4, 3)
    tied = saved(tmp_path / "tied.pt", {"a": tensor, "b": tensor})
    loose = saved(tmp_path / "loose.pt", {"a": tensor, "b": tensor.clone()})
    found = compare(tied, loose)
    assert (found.code, found.verdict) == (1, "differs: 1 tie lost")
    assert found.report["ties"] == {"only_a": [["a", "b"]], "only_b": []}
    assert "a = b  only in A\n" in found.screen
    assert compare(loose, tied).verdict == "differs: 1 tie gained"
    found = compare(tied, loose, "--ignore-ties")
    assert (found.code, found.verdict) == (0, "same; ignored: 1 tie lost")


def test_include_and_exclude(
    compare: Callable[..., Compared], run: Run, base: str, tmp_path: Path
) -> None:
    tensors = state()
    tensors["head.weight"] += 1
    other = saved(tmp_path / "other.pt", tensors)
    found = compare(base, other, "--exclude", "head")
    assert (found.code, found.verdict) == (0, "same, 1 not compared")
    assert compare(base, other, "--include", "head").report["equal"] == 0
    assert trouble(run, base, other, "--include", "heat") == [
        "error: no name matches heat", "hint: did you mean head?",
    ]  # fmt: skip
    assert trouble(run, base, other, "--exclude", "*") == ["error: --exclude * leaves nothing"]


# --- classes, keys, the project ------------------------------------------------------------------


@pytest.mark.parametrize("argv", [[LENET, MODEL], [MODEL, LENET]])
def test_a_class_against_a_checkpoint(compare: Callable[..., Compared], argv: list[str]) -> None:
    """Names, shapes and types are compared; a class has no values, and that is said."""
    found = compare(*argv)
    assert (found.code, found.verdict) == (0, "same, 10 not compared")
    side = "AB"[argv.index(LENET)]
    assert f"note: values were not compared: there are none in {side} ({LENET})\n" in found.err
    assert "values were not compared" not in compare(*argv, "--shapes").err


def test_arguments_go_to_the_class(
    compare: Callable[..., Compared], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, hidden):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(hidden, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    target = saved(
        tmp_path / "x.pt", {"fc.weight": torch.zeros(2, 5), "fc.bias": torch.zeros(2)}
    )  # fmt: skip
    for pair in ((target, "net.py:Net"), ("net.py:Net", target)):
        assert compare(*pair, "--arg", "hidden=5").code == 0
        found = compare(*pair, "--arg", "hidden=6")
        assert (found.code, found.verdict) == (1, "differs: 1 shape")
    assert "hidden" in trouble(run, target, "net.py:Net")[0]


def test_a_lock(
    compare: Callable[..., Compared], run: Run, base: str, tmp_path: Path
) -> None:  # fmt: skip
    """A lock is true of what it was written from; what breaks it is named with its line."""
    lock = tmp_path / "params.lock"
    lock.write_text(run("list", base, "--format", "lock").out)
    assert compare(str(lock), base).code == 0
    wrong = lock.read_text().replace("[3, 8]", "[4, 8]")
    number = 1 + next(n for n, line in enumerate(wrong.splitlines()) if "[4, 8]" in line)
    lock.write_text(wrong)
    found = compare(str(lock), base)
    assert (found.code, found.verdict) == (1, "differs: 1 shape")
    assert f"{lock}:{number}\n" in found.screen
    out = run("diff", str(lock), base, "--format", "github").out
    assert f"::error file={lock},line={number},title=" in out
    out = run("diff", str(lock), base, "--format", "tsv").out
    assert out.splitlines()[1].endswith(f"\t{lock}:{number}")


def test_the_project_is_b(
    compare: Callable[..., Compared], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.paramcli]\ntarget = "own.pt"\n')
    saved(tmp_path / "own.pt", state())
    (tmp_path / "below").mkdir()
    other = saved(tmp_path / "below" / "other.pt", state())
    monkeypatch.chdir(tmp_path / "below")
    found = compare(other)
    assert found.code == 0
    assert (found.report["a"], found.report["b"]) == (other, str(tmp_path / "own.pt"))
    (tmp_path / "pyproject.toml").write_text("")
    error, hint = trouble(run, other)
    assert error.startswith("error: diff wants two targets: no target is named, and ")
    assert hint == "hint: for example: paramcli diff base.pt tuned.pt"


def test_keys(compare: Callable[..., Compared], run: Run, tmp_path: Path) -> None:
    """One key is for both sides, two are one for each, and an empty one for neither."""
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    ones, zeros = {"w": torch.ones(3)}, {"w": torch.zeros(3)}
    torch.save({"model": ones, "ema": zeros}, first)
    torch.save({"model": zeros, "ema": zeros}, second)
    pair = str(first), str(second)
    assert compare(*pair, "--key", "ema").code == 0
    assert compare(*pair, "--key", "model").code == 1
    assert compare(*pair, "--key", "ema", "--key", "model").code == 0
    assert compare(*pair, "--key", "model", "--key", "ema").code == 1
    plain = saved(tmp_path / "plain.pt", zeros)
    found = compare(plain, str(first), "--key", "", "--key", "ema")
    assert found.code == 0
    assert compare(*pair, "--all").report["equal"] == 1
    assert trouble(run, *pair, *["--key", "ema"] * 3)[0] == (
        "error: --key is given 3 times, for two targets"
    )
    assert trouble(run, *pair, "--key", "ema", "--all")


def test_notes_name_their_side(run: Run, tmp_path: Path) -> None:
    torch.save({"state_dict": state(), "epoch": 3, "ema": state()}, tmp_path / "trainer.pt")
    _, _, err = run("diff", str(tmp_path / "trainer.pt"), TIED)
    assert "note: A: picked 'state_dict'; also here: ema (9)" in err
    assert "note: A: pickle: nothing run" in err
    assert "note: B:" not in err


# --- checksums -----------------------------------------------------------------------------------


def test_quick(compare: Callable[..., Compared], base: str, tmp_path: Path) -> None:
    """Zips are compared by the checksums that they state, and the verdict says so."""
    found = compare(base, saved(tmp_path / "copy.pt", state()), "--quick")
    assert (found.code, found.verdict) == (0, "same (crc32)")
    assert "equal (crc32)  9\n" in found.screen
    assert found.report["compared_by"] == "crc32"
    tensors = state()
    tensors["head.weight"][0, 0] += 1
    found = compare(base, saved(tmp_path / "other.pt", tensors), "--quick")
    assert (found.code, found.verdict) == (1, "differs: 1 value")


def test_quick_is_for_zips_alone(run: Run, base: str, tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    save_file(state(), path)
    for pair in ((path, path), (base, path), (path, base)):
        error, hint = trouble(run, *pair, "--quick")
        assert error.startswith("error: --quick compares checksums, and only zips")
        assert hint.startswith("hint: leave it out")


@pytest.mark.parametrize("other", [["--shapes"], ["--atol", "0"], ["--rtol", "1"]])
def test_quick_knows_no_values(run: Run, base: str, other: list[str]) -> None:
    assert trouble(run, base, base, "--quick", *other) == [
        "error: --quick compares checksums, so it goes with neither --shapes nor a tolerance"
    ]


# --- forms ---------------------------------------------------------------------------------------


def test_a_pipe_gets_tsv_and_the_verdict_is_talk(run: Run, base: str, tmp_path: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in state().items()}
    code, out, err = run("diff", base, saved(tmp_path / "wrapped.pt", wrapped))
    assert code == 1
    titles, *lines = out.splitlines()
    assert titles.startswith("category\tname_a\tname_b\t")
    assert len(lines) == 9
    assert lines[0].split("\t")[:5] == [
        "renamed", "blocks.0.fc.weight", "module.blocks.0.fc.weight", "by prefix", "module. added",
    ]  # fmt: skip
    assert err.splitlines()[-2:] == [
        "likely: all 9 names match after adding module.  (--rename '=module.')",
        "differs: 9 renamed",
    ]
    assert "differs" not in run("diff", base, base, "--format", "json").err


def test_every_form_comes_to_one_verdict(run: Run, base: str, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.pt", {name: t + 1 for name, t in state().items()})
    for form in ("table", "tsv", "json", "markdown", "github"):
        assert run("diff", base, base, "--format", form).code == 0
        assert run("diff", base, other, "--format", form).code == 1
        assert run("diff", base, other, "--format", form, "--shapes").code == 0


def test_annotations(run: Run, base: str, tmp_path: Path) -> None:
    tensors = state() | {"::error::x": torch.ones(1)}
    code, out, _ = run("diff", base, saved(tmp_path / "x.pt", tensors), "--format", "github")
    assert code == 1
    notice, error = out.splitlines()
    assert notice.startswith("::notice title=")
    assert notice.endswith("::differs: 1 only in B")
    assert error.endswith("%3A only in B::::error::x")


def test_details_and_width(run: Run, base: str, tmp_path: Path) -> None:
    more = state() | {f"adapters.{n}.down.projection.weight": torch.ones(1) for n in range(12)}
    target = saved(tmp_path / "more.pt", more)
    out = run("diff", base, target, "--format", "table").out
    assert "… and 2 more (--details shows all)\n" in out
    out = run("diff", base, target, "--format", "table", "--details", "--width", "40").out
    assert "--details" not in out
    assert out.count("down.projection.weight") == 12
    for line in out.splitlines():
        assert len(line) <= 40


def test_hostile_names_stay_text(run: Run, tmp_path: Path) -> None:
    names = ["\x1b[31mred", "[bold]x[/]", "new\nline", "::error::y"]
    one = saved(tmp_path / "one.pt", {name: torch.ones(2) for name in names})
    two = saved(tmp_path / "two.pt", {name + "!": torch.zeros(2) for name in names})
    for form in ("table", "tsv", "markdown", "github"):
        code, out, err = run("diff", one, two, "--format", form)
        assert code == 1
        assert "\x1b" not in out + err
        assert "[bold]x[/]" in out
        if form == "github":
            assert all(line.split(" title=")[0] in COMMANDS for line in out.splitlines())


# --- trouble -------------------------------------------------------------------------------------


def test_bad_usage(run: Run, base: str) -> None:
    assert trouble(run, base, base, "--format", "lock")[0] == "error: diff has no --format lock"
    assert trouble(run, base, base, "--rename", "x") == [
        "error: --rename 'x' is not OLD=NEW", "hint: for example --rename 'module.='",
    ]  # fmt: skip
    assert trouble(run, base, base, "--rename", "/(/=x")
    assert "nothing to rename" not in run("diff", base, base, "--rename", "a=b").err
    assert trouble(run, base, base, "--rtol", "nan")[0].endswith("makes all things unequal")
    assert trouble(run, base, base, "--atol", "-1")
    assert trouble(run, base, base, base)
    assert trouble(run)


def test_a_missing_file(run: Run, base: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "bases.pt")
    for pair in ((base, missing), (missing, base)):
        error, hint = trouble(run, *pair)
        assert error == f"error: {missing}: no such file or directory"
        assert hint == f"hint: did you mean {base}?"


def test_a_renaming_that_makes_two_one(run: Run, base: str) -> None:
    [error] = trouble(run, base, base, "--rename", "/blocks.[0-9]/=blocks.0")
    assert "makes one name of" in error


def test_a_fault_is_no_difference(
    run: Run, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Whatever goes wrong, 1 is for "differs" alone."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(verb, "diff", broken)
    assert trouble(run, base, base)[0] == "error: paramcli itself failed: ZeroDivisionError"


# --- the way there -------------------------------------------------------------------------------


def test_progress_goes_to_a_terminal(
    run: Run, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PATIENCE", 0.0)
    monkeypatch.setattr(streams, "_OFTEN", 0.0)
    other = saved(tmp_path / "copy.pt", state())
    assert "\r" not in run("diff", base, other).err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = run("diff", base, other)
    assert code == 0
    assert "\r" not in out
    assert "(100%)" in err
    assert "\r\x1b[K" in err


def many(path: Path, prefix: str) -> str:
    """Write so many tensors that no pipe holds what is said of them."""
    entries = {
        f"{prefix}.{n}.weight": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]}
        for n in range(20_000)
    }
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(20_000))
    return str(path)


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    """A reader that goes away has seen what it wanted; the verdict is still the exit code's."""
    one, two = (many(tmp_path / f"{side}.safetensors", side) for side in ("left", "right"))
    script = (
        f"'{sys.executable}' -m paramcli diff '{one}' '{two}' --shapes --format json | head -1; "
        "exit ${PIPESTATUS[0]}"
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr
    assert done.returncode == 1
