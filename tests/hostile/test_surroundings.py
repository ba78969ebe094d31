"""What is around a file may be hostile too: directories, devices, closed streams, a crowd."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import paramcli
from paramcli.errors import SourceError
from paramcli.files import File
from tests import sample_files
from tests.handmade import safetensors, tensor, torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "sample_models" / "files" / "model.pt")
START = [sys.executable, "-m", "paramcli"]


def one_line(done: Outcome) -> str:
    """Assert that a command was refused in one line and at most a hint; return the line."""
    lines = done.err.splitlines()
    assert (done.code, done.out, lines[0][:7]) == (2, "", "error: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    return lines[0]


# --- indexes and directories ---------------------------------------------------------------------

SHARDS: dict[str, tuple[object, str]] = {
    "missing": ({"a": "absent.safetensors"}, "not there"),
    "absolute": ({"a": "/etc/passwd"}, "plain file"),
    "above": ({"a": "../x.safetensors"}, "plain file"),
    "backslash": ({"a": "..\\x"}, "plain file"),
    "nothing": ({"a": ""}, "plain file"),
    "itself": ({"a": sample_files.INDEX}, "an index itself"),
    "number": ({"a": 1}, "no file"),
    "list": (["a"], "weight_map"),
    "none at all": ({}, "weight_map"),
    "LFS pointer": ({"a": "lfs.safetensors"}, "Git LFS"),
    "truncated": ({"a": "cut.safetensors"}, "past the end"),
    "FIFO": ({"a": "fifo.safetensors"}, "regular file"),
    "loop": ({"a": "loop.safetensors"}, "circle"),
    "directory": ({"a": "folder.safetensors"}, "regular file"),
    "NUL": ({"a": "a\0b"}, "plain file"),
    "surrogate": ({"a": "\ud800"}, "not there"),
    "long": ({"a": "x" * 5_000}, ""),
}


@pytest.mark.parametrize("case", SHARDS)
def test_shards(case: str, tmp_path: Path, run: Run) -> None:
    weight_map, reason = SHARDS[case]
    index = tmp_path / sample_files.INDEX
    index.write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "cut.safetensors").write_bytes(safetensors('{"a":1}')[:-3])
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for target in (index, tmp_path):
        assert reason in one_line(run("list", str(target)))


def test_an_index_that_names_absent_keys(tmp_path: Path, run: Run) -> None:
    index = sample_files.write_index(tmp_path / "model")
    told = json.loads(index.read_text())
    told["weight_map"]["absent"] = told["weight_map"]["a"]
    index.write_text(json.dumps(told))
    done = run("list", str(index))
    assert done.code == 1
    assert "warning: 1 in the index, but in no shard: absent" in done.err


@pytest.mark.parametrize(
    "name", ["empty", "loop", "fifo", "zero", "null", "unreadable", "long", "nul"]
)
def test_what_is_no_file(name: str, tmp_path: Path, run: Run) -> None:
    target = tmp_path / name
    if name == "empty":
        target.mkdir()
    elif name == "loop":
        target.symlink_to("loop")
    elif name == "fifo":
        os.mkfifo(target)
    elif name in ("zero", "null"):
        target = Path("/dev") / name
    elif name == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root may read every file")
        target.touch(0)
    elif name == "long":
        target = tmp_path / ("x" * 5_000)
    else:
        target = tmp_path / "a\0b"
    for verb in (["list"], ["show"], ["diff", MODEL]):
        assert one_line(run(*verb, str(target)))


# --- files that shrink ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sample_files.files()])
def test_a_file_that_shrinks_at_any_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each read in turn the file is cut: an error, or what was read is enough."""
    target = tmp_path / "model"
    content = sample_files.files()[name]
    real = File.up_to
    said: list[str] = []
    for turn in range(12):
        target.write_bytes(content)
        left = [turn]

        def cut(self: File, offset: int, size: int, left: list[int] = left) -> bytes:
            if left[0] == 0:
                os.truncate(target, len(content) // 3)
            left[0] -= 1
            return real(self, offset, size)

        monkeypatch.setattr(File, "up_to", cut)
        try:
            paramcli.open(target, everything=True)
        except SourceError as error:
            said.append(str(error))
        monkeypatch.undo()
        if left[0] >= 0:
            break
    assert said
    assert all(one.startswith(str(target)) for one in said)


# --- streams, surroundings, crowds ---------------------------------------------------------------


def shell(line: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which "$@" is paramcli."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    return subprocess.run(
        ["sh", "-c", line, "sh", *START], capture_output=True, text=True, check=False, env=env,
        cwd=ROOT,
    )  # fmt: skip


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_stdout() -> None:
    done = shell(f'"$@" list {MODEL} >/dev/full; echo $? >&2; "$@" --help >/dev/full; echo $? >&2')
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert lines == ["error: cannot write the output: No space left on device", "2"] * 2


def test_closed_streams() -> None:
    done = shell(f'"$@" list {MODEL} <&-; echo $?')
    assert done.stdout.splitlines()[-1] == "0"
    assert "weight" in done.stdout
    done = shell(f'"$@" list {MODEL} >&-; echo $? >&2')
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert lines == ["error: cannot write the output: stdout is closed", "2"]
    done = shell(f'"$@" list {MODEL} 2>&-; echo $?')
    assert done.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in done.stdout


def test_poor_surroundings(tmp_path: Path) -> None:
    """Locale C, no home, a home that may not be written, nothing in the environment."""
    target = tmp_path / "model.pt"
    target.write_bytes(torch_zip({"é\u202e🔥": tensor()}))
    home = tmp_path / "home"
    home.mkdir(0o500)
    for line in (
        'LC_ALL=C LANG=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@" list',
        'env -u HOME "$@" list',
        f'HOME={home} "$@" list',
        f'env -i PYTHONPATH={ROOT} "$@" list',
    ):
        done = shell(f"{line} {target}")
        assert done.returncode == 0, done.stderr
        assert "\\u202e" in done.stdout
        assert "Traceback" not in done.stderr
    assert not list(home.iterdir())


def test_a_crowd(tmp_path: Path) -> None:
    """Sixty-four processes list and compare the same files at once, and all say the same."""
    for name, value in (("a", 0.0), ("b", 1.0)):
        torch.save({"w": torch.full((2_000,), value)}, tmp_path / f"{name}.pt")
    code = (
        "import os, sys\n"
        "from paramcli.cli import main\n"
        "import paramcli.commands.list, paramcli.commands.diff, paramcli.verbs.diff.values\n"
        "pids = []\n"
        "for turn in range(64):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        sys.stdout = sys.stderr = open(f'{turn}.out', 'w')\n"
        "        code = main(['list', 'a.pt'] if turn % 2 else ['diff', 'a.pt', 'b.pt'])\n"
        "        sys.stdout.flush()\n"
        "        os._exit(code)\n"
        "    pids.append(pid)\n"
        "codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]\n"
        "assert codes == [1, 0] * 32, codes\n"
    )
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [(tmp_path / f"{turn}.out").read_text() for turn in range(64)]
    assert len(set(said)) == 2


def test_threads(tmp_path: Path) -> None:
    """As a library it is used by many threads at once."""
    (tmp_path / "a.pt").write_bytes(sample_files.files()["zip"])
    expected = paramcli.open(tmp_path / "a.pt").entries
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(paramcli.open(tmp_path / "a.pt").entries))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 16


LIMITED = """
import gc, resource, sys
gc.disable()
from paramcli.cli import main
import paramcli.sources.torchzip, paramcli.sources.safetensors, paramcli.sources.legacy
import paramcli.sources.lock, paramcli.sources.sharded, tomllib, difflib
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for target in sys.argv[1:]:
    import os
    limit = used + (200 << 20) + os.path.getsize(target)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    code = main(["list", "--format", "tsv", target])
    print("code", code, file=sys.stderr)
"""
UNTIL_MEMORY = {
    "dictionaries": torch_zip(b"\x80\x02" + b"}\x94" * 550_000 + b"."),
    "texts": torch_zip(b"\x80\x02(" + b"\x8c\2ab" * 1_000_000 + b"t."),
    "text 2 GB": torch_zip(b"\x80\x02X" + struct.pack("<I", 1 << 31) + b"x."),
    "memo": torch_zip(b"\x80\x02" + b"N\x940" * 1_000_000 + b"N."),
    "deep header": safetensors('{"a":' + "[" * 2_000_000),
}


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="there is no /proc here")
def test_little_address_space(tmp_path: Path) -> None:
    """Two hundred MiB over the file's size are enough for all of them, one after another."""
    targets = []
    for name, content in UNTIL_MEMORY.items():
        targets.append(str(tmp_path / name.replace(" ", "-")))
        Path(targets[-1]).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *targets], capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes = [line for line in done.stderr.splitlines() if line.startswith("code")]
    assert len(codes) == len(targets)
    assert "not enough memory" not in done.stderr
    assert "itself failed" not in done.stderr


# Of getrusage a process has its parent's peak too.
PEAK = """
import re, sys
from paramcli.cli import main
code = main(["list", sys.argv[1]])
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1]
sys.stderr.write(f"{code} {int(peak) >> 10}")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="there is no /proc here")
def test_a_header_of_a_million_tensors(tmp_path: Path) -> None:
    """It is listed whole, in memory of some times the header."""
    count, path = 1_000_000, tmp_path / "million.safetensors"
    entries = ",".join(
        f'"t{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{n + 1}]}}' for n in range(count)
    )
    header = f"{{{entries}}}".encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(count))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)],
        capture_output=True, check=False, timeout=200, cwd=ROOT,
    )  # fmt: skip
    code, peak = map(int, done.stderr.split())
    assert code == 0
    assert done.stdout.count(b"\n") == count + 1
    assert done.stdout.endswith(b"t999999\t[1]\tuint8\t1\t1\ttensor\t\n")
    assert peak < 12 * (len(header) >> 20)
