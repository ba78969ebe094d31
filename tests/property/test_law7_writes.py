"""Law 7: a write that fails or is interrupted leaves the old file as it was, and no litter."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import paramcli
from paramcli.checkpoint import Checkpoint
from paramcli.errors import OutputError, ParamcliError, SourceError, UsageError
from paramcli.save import atomic, output, save
from paramcli.tensors import DTYPES, Storage, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FILES = ["model.safetensors", "model.pt"]
OLD = b"what stood there before"
MIB = 1 << 20


def made(value: int = 1, tensors: int = 4, size: int = MIB, fail_at: int = -1) -> Checkpoint:
    """Return a checkpoint of so many bytes `value`; drawing tensor `fail_at` fails."""

    def draw(storage: Storage, _: int, target: memoryview) -> None:
        if storage.key == fail_at:
            raise ZeroDivisionError
        target[:] = bytes([value]) * len(target)

    entries = tuple(
        TensorInfo(f"t{key}", DTYPES["uint8"], (size,), (1,), 0, Storage("", key, size))
        for key in range(tensors)
    )
    return Checkpoint(origin="made", format="module", entries=entries, draw=draw)


@pytest.fixture(params=FILES)
def target(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a path where something stands, which must stand there alone when the test is done."""
    path = tmp_path / str(request.param)
    path.write_bytes(OLD)
    yield path
    assert os.listdir(tmp_path) == [path.name]


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("fail_at", [0, 2, 3])
def test_what_is_computed_fails(target: Path, workers: int, fail_at: int) -> None:
    with pytest.raises(ZeroDivisionError):
        save(made(fail_at=fail_at), target, workers=workers)
    assert target.read_bytes() == OLD


def test_workers_that_die(target: Path) -> None:
    own, whole = os.getpid(), made()

    def draw(storage: Storage, offset: int, view: memoryview) -> None:
        if os.getpid() != own and storage.key == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        assert whole.draw is not None
        whole.draw(storage, offset, view)

    with pytest.raises(ParamcliError, match="a worker process was killed"):
        save(replace(whole, draw=draw), target, workers=2)
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("calls", range(1, 5))
def test_an_interrupt(target: Path, exception: type[BaseException], calls: int) -> None:
    left = [calls]

    def progress(_: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise exception

    with pytest.raises(exception):
        save(made(), target, progress=progress, workers=2)
    assert target.read_bytes() == OLD


def failure(target: Path) -> OutputError | None:
    try:
        save(made(tensors=2), target, workers=1)
    except OutputError as error:
        return error
    return None


def test_any_call_to_the_system_fails(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call that writes, syncs or renames is made to fail in its turn, until none is left."""
    left = [0]

    def failing(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(5, "Input/output error")
            return real(*args)

        monkeypatch.setattr(os, name, call)

    for name in ("pwrite", "fsync", "replace", "chmod"):
        failing(name)
    failures = 0
    for turn in range(1, 100):
        left[0] = turn
        error = failure(target)
        if error is None:
            break
        assert str(error) == f"{target}: cannot be written: input/output error"
        assert target.read_bytes() == OLD
        failures += 1
    assert failures >= 4
    assert len(paramcli.open(target)) == 2


LIMITED = """
import resource, sys
from paramcli.errors import OutputError
from paramcli.save import save
from tests.property.test_law7_writes import made
limit, reserve = int(sys.argv[2]), sys.argv[3] == "reserve"
if not reserve:
    import os
    del os.fstatvfs
    os.ftruncate = lambda *_: None
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    save(made(), sys.argv[1], workers=2)
except OutputError as error:
    print(error)
    print(error.hint)
    sys.exit(2)
"""


@pytest.mark.parametrize("limit", [0, 100, 300_000, 3_000_000])
@pytest.mark.parametrize("reserve", ["reserve", "grow"])
def test_a_full_disk(target: Path, limit: int, reserve: str) -> None:
    argv = [sys.executable, "-c", LIMITED, str(target), str(limit), reserve]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert done.stdout == (
        f"{target}: cannot be written: file too large\n"
        "files may not be as large here; what stood there before is untouched\n"
    )
    assert target.read_bytes() == OLD


SMALL = """
mount -t tmpfs -o size=1m none "$1" && cp "$2" "$1/$3" || exit 99
"$4" -c "$5" "$1/$3" 100000000 "$6"; code=$?
ls -A "$1"; cat "$1/$3"; exit $code
"""


@pytest.mark.parametrize(("name", "reserve"), [(FILES[0], "reserve"), (FILES[1], "grow")])
def test_a_small_file_system(tmp_path: Path, name: str, reserve: str) -> None:
    """One of a megabyte, mounted for this alone, where the kernel lets users do that."""
    old, there = tmp_path / "old", tmp_path / "there"
    old.write_bytes(OLD)
    there.mkdir()
    argv = ["unshare", "-rm", "bash", "-c", SMALL, "bash", str(there), str(old), name,
            sys.executable, LIMITED, reserve]  # fmt: skip
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare to mount a small file system with")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    problem, hint, *left = done.stdout.splitlines()
    assert problem == f"{there / name}: cannot be written: no space left on device"
    assert "untouched" in hint
    assert left == [name, OLD.decode()]


def test_a_source_that_shrinks(tmp_path: Path) -> None:
    source, out = tmp_path / "source.safetensors", tmp_path / "out.safetensors"
    save(made(), source)
    checkpoint = paramcli.open(source)
    os.truncate(source, MIB)
    for path in (out, tmp_path / "out.pt"):
        with pytest.raises(SourceError, match="shrank"):
            save(checkpoint, path)
    assert os.listdir(tmp_path) == [source.name]


# --- kill ----------------------------------------------------------------------------------------

WRITER = """
import sys
from paramcli.save import save
from tests.property.test_law7_writes import made
value = 2
while True:
    save(made(value, tensors=3), sys.argv[1], workers=2)
    print("saved once", flush=True)
    value = 5 - value
"""


@pytest.mark.parametrize("name", FILES)
def test_a_killed_writer(tmp_path: Path, name: str) -> None:
    """The file is always a whole one, old or new; the next save removes what was left."""
    target = tmp_path / name
    save(made(1, tensors=3), target)
    wholes = [target.read_bytes()]
    for value in (2, 3):
        save(made(value, tensors=3), target)
        wholes.append(target.read_bytes())
    chance = random.Random(0)
    littered = 0
    for _ in range(7):
        argv = [sys.executable, "-c", WRITER, str(target)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while len(os.listdir(tmp_path)) == 1:
                assert process.poll() is None
            time.sleep(chance.random() * 0.03)
            process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        assert target.read_bytes() in wholes
        littered += len(os.listdir(tmp_path)) > 1
    assert littered, "no writer was killed while it wrote"
    save(made(1, tensors=3), target)
    assert target.read_bytes() == wholes[0]
    assert os.listdir(tmp_path) == [name]


# --- drafts of others ----------------------------------------------------------------------------


def test_the_draft_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "model.pt"
    with atomic.Draft(str(target)) as draft:
        draft.output.write(b"first")
        save(made(tensors=1), target)
        assert len(atomic.drafts(str(tmp_path), target.name)) == 1
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == [target.name]


def test_what_only_looks_like_a_draft_is_left_alone(tmp_path: Path) -> None:
    names = [f".other.pt.0123abcd{atomic.DRAFT}", f".model.pt.x{atomic.DRAFT}", ".model.pt.swp"]
    for name in names:
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / f".model.pt.01234567{atomic.DRAFT}")
    (tmp_path / f".model.pt.76543210{atomic.DRAFT}").touch()
    save(made(tensors=1), tmp_path / "model.pt")
    assert sorted(os.listdir(tmp_path)) == sorted(
        [*names, f".model.pt.01234567{atomic.DRAFT}", "model.pt"]
    )


# --- success -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o755])
def test_the_old_files_mode_is_kept(target: Path, mode: int) -> None:
    target.chmod(mode)
    save(made(), target)
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_files_mode_is_that_of_any_new_file(target: Path, umask: int, mode: int) -> None:
    target.unlink()
    before = os.umask(umask)
    try:
        save(made(), target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symbolic_link_is_followed(tmp_path: Path, *, dangling: bool) -> None:
    (tmp_path / "far").mkdir()
    far, link = tmp_path / "far" / "model.pt", tmp_path / "link.pt"
    if not dangling:
        far.write_bytes(OLD)
    link.symlink_to("far/model.pt")
    save(made(), link)
    assert link.is_symlink()
    assert not far.is_symlink()
    assert len(paramcli.open(far)) == 4
    assert os.listdir(tmp_path / "far") == ["model.pt"]


def test_a_long_name(tmp_path: Path) -> None:
    name = "é" * 120 + ".pt"
    save(made(), tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_progress_counts_every_byte(target: Path) -> None:
    told: list[int] = []
    save(made(), target, progress=told.append)
    assert sum(told) == target.stat().st_size


# --- targets that may not be replaced ------------------------------------------------------------


@pytest.mark.parametrize("name", ["same", "symbolic link", "hard link"])
def test_the_file_that_is_read(target: Path, name: str) -> None:
    save(made(), target)
    before = target.read_bytes()
    path = target.with_name(f"other{target.suffix}")
    if name == "symbolic link":
        path.symlink_to(target)
    elif name == "hard link":
        path.hardlink_to(target)
    else:
        path = target
    with pytest.raises(UsageError, match="is what is read"):
        save(paramcli.open(target), path)
    assert target.read_bytes() == before
    if path != target:
        path.unlink()
    save(paramcli.open(target), target, in_place=True)
    assert target.read_bytes() == before


def test_what_would_be_lost(tmp_path: Path) -> None:
    """A file that holds an epoch too is not replaced by its tensors alone."""
    for name, more in (("a", {"epoch": 3}), ("b", {"optimizer": {"m": torch.zeros(2)}})):
        target = tmp_path / f"{name}.pt"
        torch.save({"state_dict": {"w": torch.zeros(2)}, **more}, target)
        before = target.read_bytes()
        with pytest.raises(UsageError, match="holds more"):
            save(paramcli.open(target), target, in_place=True)
        assert target.read_bytes() == before


def test_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    for name, message in (("fifo", "not a regular file"), ("folder", "is a directory")):
        with pytest.raises(UsageError, match=message):
            save(made(), tmp_path / f"{name}.pt")
    with pytest.raises(OutputError, match="symbolic links"):
        save(made(), tmp_path / "loop.pt")
    assert sorted(os.listdir(tmp_path)) == ["fifo.pt", "folder.pt", "loop.pt"]


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such file") as caught:
        save(made(), tmp_path / "nowhere" / "model.pt")
    assert caught.value.hint == "make the directory first"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            save(made(), tmp_path / "model.pt")
    finally:
        tmp_path.chmod(0o700)


# --- shards --------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


WHOLE = [
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
]  # fmt: skip


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("at", range(4))
def test_shards_appear_together(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch, *, fresh: bool
) -> None:
    """Whichever rename fails, nothing is left; the index is the last."""
    folder = tmp_path / "out"
    if not fresh:
        folder.mkdir()
    renamed: list[str] = []
    real = os.replace

    def rename(source: str, to: str) -> None:
        if len(renamed) == at:
            raise KeyboardInterrupt
        renamed.append(os.path.basename(to))
        real(source, to)

    monkeypatch.setattr(os, "replace", rename)
    if at < 3:
        with pytest.raises(KeyboardInterrupt):
            save(made(), folder, shard_size=2 * MIB)
        assert not folder.exists() if fresh else names(folder) == []
    else:
        save(made(), folder, shard_size=2 * MIB)
        assert names(folder) == renamed == WHOLE
        assert len(paramcli.open(folder)) == 4


@pytest.mark.parametrize("at", range(4))
def test_shards_of_a_killed_writer(tmp_path: Path, at: int) -> None:
    folder = tmp_path / "out"
    script = f"""
import os
from paramcli.save import save
from tests.property.test_law7_writes import MIB, made
real, left = os.replace, [{at}]
def replace(*args):
    if not left[0]:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    real(*args)
os.replace = replace
save(made(), {str(folder)!r}, shard_size=2 * MIB)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT)
    if at == 3:
        assert done.returncode == 0
        assert names(folder) == WHOLE
        return
    assert done.returncode == -signal.SIGKILL
    assert WHOLE[-1] not in names(folder)
    save(made(2), folder, shard_size=2 * MIB)
    assert names(folder) == WHOLE


def test_shards_go_into_an_empty_directory_only(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="not empty: it holds notes"):
        save(made(), tmp_path, shard_size=MIB)
    assert names(tmp_path) == ["notes.txt"]
    with pytest.raises(UsageError, match="names a file"):
        save(made(), tmp_path / "model.safetensors", shard_size=MIB)
    with pytest.raises(UsageError, match="no tensors"):
        save(made(tensors=0), tmp_path / "out", shard_size=1)
    with pytest.raises(UsageError, match="shards of 0 bytes"):
        save(made(), tmp_path / "out", shard_size=0)


# --- memory --------------------------------------------------------------------------------------


def test_copies_without_the_kernels_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "source.safetensors", tmp_path / "out.safetensors"
    save(made(), source)
    save(paramcli.open(source), out)
    assert out.read_bytes() == source.read_bytes()
    monkeypatch.delattr(os, "copy_file_range")
    save(paramcli.open(source), out)
    assert out.read_bytes() == source.read_bytes()
    assert output.PIECE == MIB
