"""One case: two commands, what of them is compared, and the goal; timed, it is a row of text."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from operator import truediv
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.timing import in_turn, once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.timing import Command, Run

__all__ = [
    "DRAWING", "FASTER", "HEADINGS", "LATER", "LONGER", "LONGER_THEN", "SLOWER", "WORKING", "Case",
    "Measure", "timed",
]  # fmt: skip

_MIB = 1 << 20
HEADINGS = (
    *("benchmark", "of", "beside", "ours s", "MiB", "theirs s", "MiB"),
    *("median", "min to max", "goal", "reached"),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """Which seconds of a run count, and how those of a pair (ours, theirs) are compared."""

    value: Callable[[Run], float]
    compare: Callable[[float, float], float]
    digits: str
    unit: str = ""
    at_most: bool = True

    def text(self, number: float) -> str:
        """Write a measured number with its unit."""
        return f"{number:{self.digits}}{self.unit}"


def _seconds(run: Run) -> float:
    return run.seconds


def _milliseconds_more(ours: float, theirs: float) -> float:
    return 1000 * (ours - theirs)


def _times(ours: float, theirs: float) -> float:
    return theirs / ours


LONGER = Measure(_seconds, truediv, ".2f")
LONGER_THEN = Measure(lambda run: run.seconds - run.first_byte, truediv, ".2f")
FASTER = Measure(_seconds, _times, ".1f", "x", at_most=False)
SLOWER = Measure(_seconds, _milliseconds_more, "+.0f", " ms")
LATER = Measure(lambda run: run.first_byte, _milliseconds_more, "+.0f", " ms")
DRAWING = Measure(lambda run: run.seconds - run.first_byte, _times, ".2f", "x", at_most=False)
WORKING = Measure(lambda run: run.last_byte - run.first_byte, _times, ".2f", "x", at_most=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Ours beside theirs; `limit` in the measure's unit, `peak` (of ours) in MiB.

    `same` says what both must agree in (a check of `answers`), if anything; `slow` where
    a quick run skips the case, `long` where it is run less often.
    """

    name: str
    of: str
    beside: str
    ours: Command
    theirs: Command
    measure: Measure
    limit: float | None = None
    peak: int | None = None
    same: str = ""
    slow: bool = False
    long: bool = False


def timed(case: Case, times: int, *, warm_up: bool) -> tuple[str, ...]:
    """Check the answers where both sides give one, then time both; one cell for each heading."""
    if case.same:
        _check(case)
    pairs = in_turn(case.ours, case.theirs, times, warm=bool(case.same) or not warm_up)
    measure = case.measure
    ratios = [measure.compare(measure.value(a), measure.value(b)) for a, b in pairs]
    middle = statistics.median(ratios)
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return (
        *(case.name, case.of, case.beside),
        *_side(ours, measure),
        *_side(theirs, measure),
        measure.text(middle),
        f"{measure.text(min(ratios))} to {measure.text(max(ratios))}",
        _goal(case),
        _verdict(case, middle, max(run.peak for run in ours)),
    )


def _check(case: Case) -> None:
    with TemporaryDirectory() as folder:
        paths = [os.path.join(folder, side) for side in ("ours", "theirs")]
        for path, command in zip(paths, (case.ours, case.theirs), strict=True):
            with open(path, "wb") as output:
                once(command, keep=output)
        check = [sys.executable, "-m", "benchmarks.answers", case.same, *paths]
        checked = subprocess.run(check, check=False)
    if checked.returncode:
        sys.exit(f"{case.name}, {case.of}, beside {case.beside}: the answers differ")


def _side(runs: Sequence[Run], measure: Measure) -> tuple[str, str]:
    median = statistics.median(measure.value(run) for run in runs)
    return f"{median:.3f}", f"{max(run.peak for run in runs) / _MIB:.0f}"


def _goal(case: Case) -> str:
    goals = []
    if case.limit is not None:
        sign = "≤" if case.measure.at_most else "≥"
        goals.append(f"{sign} {case.limit:g}{case.measure.unit}")
    if case.peak is not None:
        goals.append(f"≤ {case.peak} MiB")
    return ", ".join(goals)


def _verdict(case: Case, middle: float, peak: int) -> str:
    reached = []
    if case.limit is not None:
        reached.append(middle <= case.limit if case.measure.at_most else middle >= case.limit)
    if case.peak is not None:
        reached.append(peak <= case.peak * _MIB)
    return ("yes" if all(reached) else "no") if reached else ""
