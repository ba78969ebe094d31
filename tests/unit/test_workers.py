"""Work spread over processes or threads comes back in order, and is the same for any number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paramcli import workers
from paramcli.errors import ParamcliError, SourceError
from paramcli.files import File
from paramcli.files.mapped import mapped
from paramcli.numeric import summary
from paramcli.numeric.summary import Summary, summarize
from paramcli.workers import available, spread
from tests.unit.numeric.reference import (
    COMPLEX,
    ORDINARY,
    QUANTIZED,
    assert_summary,
    cut_small,
    made,
    numbers_of,
    saved,
)

if TYPE_CHECKING:
    from torch import Tensor

    from paramcli.checkpoint import Checkpoint

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
VERY_FEW = settings(max_examples=max(3, settings().max_examples // 20))


def squared(number: int) -> tuple[int, int, int]:
    """Return the square, and who computed it."""
    return number * number, os.getpid(), threading.get_ident()


def failing(number: int) -> int:
    if number == 3:
        raise SourceError("the third", path="x", offset=3, hint="try the fourth")
    return number


@pytest.fixture
def no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a system without fork."""
    monkeypatch.delattr(os, "fork", raising=False)


# --- spread --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [None, 0, 1, 2, 3, 50])
@pytest.mark.parametrize("jobs", [0, 1, 2, 7, 100])
def test_results_come_in_the_order_of_the_jobs(count: int | None, jobs: int) -> None:
    found = [result[0] for result in spread(squared, range(jobs), count)]
    assert found == [number * number for number in range(jobs)]


def test_one_worker_is_this_process() -> None:
    for jobs, count in ((range(9), 1), (range(1), 5)):
        assert {result[1] for result in spread(squared, jobs, count)} == {os.getpid()}


@needs_fork
def test_more_are_other_processes() -> None:
    assert os.getpid() not in {result[1] for result in spread(squared, range(20), 2)}


@pytest.mark.usefixtures("no_fork")
def test_without_fork_they_are_threads() -> None:
    found = list(spread(squared, range(20), 3))
    assert [result[0] for result in found] == [number * number for number in range(20)]
    assert {result[1] for result in found} == {os.getpid()}
    assert threading.get_ident() not in {result[2] for result in found}


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=needs_fork)])
def test_an_error_comes_back_whole(count: int) -> None:
    results = spread(failing, range(9), count)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError) as caught:
        list(results)
    error = caught.value
    assert (str(error), error.path, error.offset) == ("x: the third (at byte 3)", "x", 3)
    assert error.hint == "try the fourth"


@needs_fork
def test_results_of_a_batch_come_before_its_error() -> None:
    """Of 100 jobs a worker takes three at a time."""
    results = spread(failing, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError, match="the third") as caught:
        next(results)
    assert "in failing" in caught.value.__notes__[0], "where in the worker it was raised"


@needs_fork
def test_more_jobs_than_numbers_in_a_page() -> None:
    """The pipe of numbers is filled before there is a reader."""
    assert list(spread(abs, range(100_000), 3)) == [*range(100_000)]
    assert list(spread(abs, range(3_000), 70)) == [*range(3_000)]


@pytest.mark.usefixtures("no_fork")
def test_an_error_in_a_thread_comes_back() -> None:
    with pytest.raises(SourceError, match="the third"):
        list(spread(failing, range(9), 2))


def test_leaving_early_leaves_nobody_behind() -> None:
    results = spread(squared, range(1000), 2)
    assert next(results)[0] == 0
    results.close()  # type: ignore[attr-defined]
    from multiprocessing import active_children

    assert active_children() == []


def killed(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@needs_fork
def test_a_worker_that_is_killed_is_one_error() -> None:
    """As the kernel does when memory runs out."""
    with pytest.raises(ParamcliError, match="a worker process was killed") as caught:
        list(spread(killed, range(9), 2))
    assert caught.value.hint is not None
    from multiprocessing import active_children

    assert active_children() == []


def shared_again() -> None:
    """Be a worker of somebody else's pool, which may have no children."""
    found = list(spread(squared, range(9), 2))
    same = [number * number for number in range(9)] == [result[0] for result in found]
    sys.exit(0 if same and {result[1] for result in found} == {os.getpid()} else 1)


@needs_fork
def test_a_process_that_may_have_no_children_has_threads() -> None:
    from multiprocessing import get_context

    worker = get_context("fork").Process(target=shared_again, daemon=True)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0


def looked_at(path: Path) -> int:
    """Look at a file that shrinks after it was mapped."""
    with File(str(path)) as file:
        view = mapped(file, 0, file.size)
        assert view is not None
        os.truncate(path, 0)
        return view[-1]


@needs_fork
def test_a_worker_that_a_file_kills_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(bytes(1 << 20))
    with pytest.raises(SourceError, match="a file cannot be read to its end") as caught:
        list(spread(looked_at, paths, 2))
    assert caught.value.hint is not None
    assert capfd.readouterr() == ("", "")


def left(number: int) -> int:
    sys.exit(number)


@needs_fork
def test_workers_that_leave_are_missed() -> None:
    """One that ends well has done what it took: else somebody would wait for ever."""
    with pytest.raises(ParamcliError, match="a worker process was killed"):
        list(spread(left, [0, 0], 2))


def interrupted(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


@needs_fork
def test_workers_are_deaf_to_interrupts() -> None:
    """Else each of them would leave a traceback on the screen."""
    try:
        assert list(spread(interrupted, range(9), 2)) == [*range(9)]
    except KeyboardInterrupt:
        pytest.fail("a worker was interrupted")


# One of two workers is done and waits, the other acts and would then work without end.
ENDLESS = """
import os, signal, sys
from paramcli.workers import spread

def work(number):
    if number:
        {act}
        while True:
            signal.pause()

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
results = spread(work, range(2), 2)
try:
    next(results)
    {then}
except KeyboardInterrupt:
    sys.exit(130)
"""


def endless(act: str, then: str = "next(results)") -> subprocess.CompletedProcess[str]:
    """Run it to its end, and that of whoever else holds its streams: nobody may stay behind."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS.format(act=act, then=then)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=Path(__file__).parents[3],
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@needs_fork
@pytest.mark.parametrize("whom", ["os.killpg(0, {})", "os.kill(os.getppid(), {})"])
@pytest.mark.parametrize("then", ["next(results)", "signal.pause()"])  # it waits, or uses what came
def test_an_interrupt_ends_all_at_once_and_without_a_word(whom: str, then: str) -> None:
    """Ctrl-C reaches every process of a terminal: one of them answers."""
    done = endless(whom.format("signal.SIGINT"), then)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@needs_fork
def test_work_that_is_given_up_ends_at_once() -> None:
    done = endless("pass", then="results.close()")
    assert (done.returncode, done.stderr) == (0, "")


@needs_fork
def test_a_handler_of_signals_is_not_run_in_workers(tmp_path: Path) -> None:
    """A server that removes its files when it is told to end still needs them afterwards."""
    run = tmp_path / "run"
    handler = f"lambda *_: open({str(run)!r}, 'w').close() or os._exit(0)"
    done = endless(f"signal.signal(signal.SIGTERM, {handler})", then="results.close()")
    assert (done.returncode, done.stderr) == (0, "")
    assert not run.exists()


@needs_fork
def test_no_worker_outlives_whom_it_works_for() -> None:
    done = endless("os.kill(os.getppid(), signal.SIGKILL)")
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")


def test_available_processors() -> None:
    assert 1 <= available() <= (os.cpu_count() or 1)


def test_available_processors_where_nothing_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert available() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available() == 1


# --- statistics by any number of them ------------------------------------------------------------


def crowd(seed: int = 0) -> dict[str, Tensor]:
    """Make a tensor of each type, of one block, of several, and views."""
    rng = np.random.default_rng(seed)
    tensors = {
        dtype: made(dtype, int(rng.integers(1, 100)), seed)
        for dtype in (*ORDINARY, *COMPLEX, *QUANTIZED)
    }
    tensors["large"] = made("float32", 3000, seed)
    tensors["wide"] = made("float64", 1500, seed)
    tensors["whole"] = torch.from_numpy(rng.integers(-9, 9, 1000))
    tensors["view"] = made("float32", 999, seed).reshape(37, 27)[:, 1::2]
    tensors["nothing"] = torch.ones(0)
    return tensors


def measured(checkpoint: Checkpoint, count: int | None) -> list[Summary]:
    return summarize(checkpoint, checkpoint.entries, workers=count)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@VERY_FEW
@given(seed=st.integers(0, 1000), per_block=st.integers(1, 4), chunk=st.sampled_from([960, 4800]))
def test_the_number_of_processes_changes_nothing(
    seed: int, per_block: int, chunk: int, folder: Path
) -> None:
    tensors = crowd(seed)
    checkpoint = saved(folder / "x.pt", **tensors)
    with pytest.MonkeyPatch.context() as patched:
        cut_small(patched, chunk, per_block)
        one = measured(checkpoint, 1)
        assert measured(checkpoint, 2) == one
        assert measured(checkpoint, 3) == one
    for info, found in zip(checkpoint, one, strict=True):
        assert_summary(found, numbers_of(tensors[info.name]))


@pytest.mark.usefixtures("no_fork")
def test_nor_do_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved(tmp_path / "x.pt", **crowd())
    cut_small(monkeypatch, 96, 3)
    one = measured(checkpoint, 1)
    for count in (2, 3, 8):
        assert measured(checkpoint, count) == one


def test_large_work_is_shared_and_small_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = saved(tmp_path / "x.pt", **crowd())
    asked: list[int | None] = []
    real = workers.spread

    def spread(work: Any, jobs: Any, count: int | None = None, *more: Any, **how: Any) -> object:
        asked.append(count)
        return real(work, jobs, count, *more, **how)

    monkeypatch.setattr(summary, "spread", spread)
    monkeypatch.setattr(workers, "available", lambda: 2)
    one = measured(checkpoint, None)
    assert set(asked) == {1}
    asked.clear()
    monkeypatch.setattr(summary, "SMALL_WORK", 0)
    assert measured(checkpoint, None) == one
    assert asked[0] == 2


def test_many_small_jobs_are_worth_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available", lambda: 8)
    assert workers.worth(1 << 20, 10, 1 << 25) == 1
    assert workers.worth(1 << 26, 1, 1 << 25) == 8
    assert workers.worth(1 << 20, 10_000, 1 << 25) == 8


@needs_fork
def test_a_file_that_shrinks_under_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    checkpoint = saved(path, **crowd())
    cut_small(monkeypatch, 96, 1)
    os.truncate(path, path.stat().st_size // 3)
    with pytest.raises(SourceError, match="shrank") as caught:
        measured(checkpoint, 3)
    assert caught.value.path == str(path)
