"""Whole processes timed in turn, A B A B, so that a busy machine is equally unkind to both sides.

Linux carries the peak memory of the process that starts a child over to that child. So what runs
here stays small: torch is never loaded, and files are made and answers compared in processes of
their own.
"""

from __future__ import annotations

import os
import platform
import pty
import resource
import shlex
import subprocess
import sys
import termios
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Command", "Run", "has_cuda", "in_turn", "machine", "once", "own_peak"]

_SCREEN = 50, 160  # lines and columns: room for every name
_SPARED = {"PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES", "NO_COLOR"}
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in _SPARED} | {"TERM": "xterm"}
_PEAK_UNIT = 1 if platform.system() == "Darwin" else 1024


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and whether its output goes to a pseudo-terminal rather than into a pipe.

    `code` is the exit code that says it did what it should.
    """

    argv: tuple[str, ...]
    terminal: bool = False
    code: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds from start to exit, to the first and the last output; peak resident bytes."""

    seconds: float
    first_byte: float
    last_byte: float
    peak: int


def once(command: Command, keep: BinaryIO | None = None) -> Run:
    """Run a command to its end, reading all its output; `keep` takes a copy of that."""
    ours, its = pty.openpty() if command.terminal else os.pipe()
    if command.terminal:
        termios.tcsetwinsize(its, _SCREEN)
    first_byte = last_byte = None
    start = perf_counter()
    process = subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
    )
    os.close(its)
    while data := _read(ours):
        last_byte = perf_counter() - start
        first_byte = first_byte or last_byte
        if keep:
            keep.write(data)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    os.close(ours)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != command.code:
        sys.exit(f"exit code {process.returncode}: {shlex.join(command.argv)}")
    peak = usage.ru_maxrss * _PEAK_UNIT
    return Run(seconds, first_byte or seconds, last_byte or seconds, peak)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # how Linux reports that a pseudo-terminal was closed
        return b""


def in_turn(ours: Command, theirs: Command, times: int, *, warm: bool) -> list[tuple[Run, Run]]:
    """Run both in turn, once before if the caches of the disk and of byte code are not `warm`."""
    if not warm:
        once(ours)
        once(theirs)
    return [(once(ours), once(theirs)) for _ in range(times)]


def own_peak() -> int:
    """Peak resident bytes of this process, below which no child's peak can be seen."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT


def has_cuda(name: str) -> bool:
    """Whether torch finds a CUDA device; says that a benchmark is left out where it does not."""
    look = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    found = subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
    if not found:
        print(f"{name}: left out, no CUDA device is here", file=sys.stderr)
    return found


def machine() -> str:
    """Say what the times were taken on."""
    version = "from importlib.metadata import version; print(version('torch'))"
    torch = subprocess.check_output([sys.executable, "-c", version], text=True).strip()
    return (
        f"{os.cpu_count()} CPUs ({_processor()}), {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
