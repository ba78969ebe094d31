"""Every hostile file ends with the right exit code, one line, and little work."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests import sample_files
from tests.hostile import files
from tests.property.test_law4_arbitrary_bytes import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]

MEMORY = 200 << 20
CALLS = 3_000_000
LARGE = 250_000
"""Larger files take longer to count the calls of than to read; their memory is measured."""

refused_files = cache(files.refused_files)
fine_files = cache(files.fine_files)


@pytest.fixture(autouse=True)
def _as_the_command_does() -> Iterator[None]:
    """Collect no garbage meanwhile: metadata is trees without cycles."""
    gc.disable()
    yield
    gc.enable()


def counted(act: Callable[[], Outcome]) -> tuple[Outcome, int]:
    """Return what happened and how many calls it took: work that no clock can see."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        return act(), calls
    finally:
        sys.setprofile(None)


def peak(act: Callable[[], Outcome]) -> tuple[Outcome, int]:
    """Return what happened and the most memory that it took at once."""
    gc.collect()
    tracemalloc.start()
    try:
        return act(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def said(done: Outcome) -> list[str]:
    """What is said beside notes and warnings."""
    return [line for line in done.err.splitlines() if not line.startswith(("note: ", "warning: "))]


@pytest.mark.parametrize("name", refused_files())
def test_refused(name: str, tmp_path: Path, run: Run) -> None:
    target = tmp_path / "model"
    target.write_bytes(refused_files()[name])
    large = target.stat().st_size > LARGE
    done, calls = (
        (run("list", str(target)), 0) if large else counted(lambda: run("list", str(target)))
    )
    lines = said(done)
    assert (done.code, done.out, lines[0][:7]) == (2, "", "error: "), done
    assert str(target) in lines[0]
    assert "paramcli itself failed" not in lines[0]
    assert len(lines) == 1 or "^" in done.err or (len(lines) == 2 and lines[1][:6] == "hint: ")
    assert calls < CALLS
    assert len(done.err) < 2_000


BRACKETS = ["[],", "{},", "[[[]]],", "1.5,", "999,", '"":0,', '"":{},', '"":"",', '"":[],']


@pytest.mark.parametrize("of", BRACKETS)
@pytest.mark.parametrize("around", ['{"a":[%s]}', '{"a":{%s}}', "{%s}", '{"__metadata__":{%s}}'])
def test_json_that_is_large_only_as_objects(of: str, around: str, tmp_path: Path, run: Run) -> None:
    """Two megabytes of which a parser would make eighty."""
    text = around % (of * (1 << 21))[: 1 << 21].rpartition(",")[0]
    target = tmp_path / "model.safetensors"
    target.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    done, most = peak(lambda: run("list", str(target)))
    assert done.code == 2
    assert most < 45 << 20, most


@pytest.mark.parametrize("of", BRACKETS[:3])
def test_an_index_that_is_large_only_as_objects(of: str, tmp_path: Path, run: Run) -> None:
    target = tmp_path / sample_files.INDEX
    many = (of * (1 << 21))[: 1 << 21].rpartition(",")[0]
    target.write_text(f'{{"weight_map":[{many}]}}')
    done, most = peak(lambda: run("list", str(target)))
    assert (done.code, "more arrays and objects" in done.err) == (2, True)
    assert most < 20 << 20


@pytest.mark.parametrize("name", fine_files())
def test_listed(name: str, tmp_path: Path, run: Run) -> None:
    target = tmp_path / "model"
    target.write_bytes(fine_files()[name])
    assert target.stat().st_size > LARGE or counted(lambda: run("list", str(target)))[1] < CALLS
    for verb in (["list", "--all"], ["list", "--format", "json"], ["show"]):
        done = run(*verb, str(target))
        assert done.code == 0, done.err[:500]
        assert not said(done)
        shown = done.out + done.err
        assert all(one.isprintable() or one in "\n\t" for one in set(shown))
        if "json" in verb:
            json.loads(done.out)


@pytest.mark.parametrize(
    "name", [name for name in refused_files() if "bomb" in name or len(refused_files()[name]) > 1e6]
)
def test_memory(name: str, tmp_path: Path, run: Run) -> None:
    content = refused_files()[name]
    target = tmp_path / "model"
    target.write_bytes(content)
    done, most = peak(lambda: run("list", str(target)))
    assert done.code == 2
    assert most < MEMORY + len(content)


def _own(event: list[str]) -> bool:
    """Whether the interpreter looks for installed sources, which may know a foreign file."""
    return event[0] in ("os.listdir", "array.__new__") or event[1].endswith(
        (".dist-info/entry_points.txt", ".zip")
    )


def test_nothing_is_run(tmp_path: Path) -> None:
    """Of all files in one process: each opens the file that is named, and nothing else happens."""
    targets = []
    small = [one for made in (refused_files(), fine_files()) for one in made.values()]
    for number, content in enumerate(one for one in small if len(one) < LARGE):
        targets.append(str(tmp_path / f"{number}.pt"))
        (tmp_path / f"{number}.pt").write_bytes(content)
    for target, events in watched(targets, cwd=tmp_path).items():
        others = [event for event in events if event != ["open", target] and not _own(event)]
        assert not others, target
    assert len(list(tmp_path.iterdir())) == len(targets)
