"""Time it all: `python -m benchmarks.run [--quick] [--dir DIR] [NAME…]`, say `list.pipe`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from typing import TYPE_CHECKING

from benchmarks import (
    diffing,
    drawing,
    initializing,
    listing,
    ranking,
    saving,
    showing,
    tying,
)  # fmt: skip
from benchmarks.compare import HEADINGS, timed
from benchmarks.timing import machine, own_peak

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_ROOMS = listing, showing, diffing, saving, drawing, initializing, tying, ranking
_BENCHMARKS = {name: cases for room in _ROOMS for name, cases in room.BENCHMARKS.items()}
_QUICK = "3 runs, 1 of scripts over 4 GiB; no torch on 100,000 tensors"
_NOTES = """\
Seconds are medians of {times} runs in turn ({long} in show.scripts) after one to warm up; MiB the
highest peak, of the largest process where several work. The median, min and max are those of the
pairs: ours/theirs, or theirs/ours (x), or ours - theirs (ms). Those of draw are of 2²⁷ numbers.
No peak below {peak:.0f} MiB, this program's own, can be seen.
summarize: a script that asks paramcli's function of that name for moments alone, since `show` has
no option that leaves out just percentiles and histogram."""


def main() -> None:
    """Run the benchmarks asked for, all by default, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(_BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help=_QUICK)
    kept = os.path.join(tempfile.gettempdir(), "paramcli-benchmarks")
    parser.add_argument("--dir", default=kept, help="where the files are kept (%(default)s)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(_BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")

    print(machine())
    times, long = (3, 1) if options.quick else (9, 3)
    rows: list[Sequence[str]] = [HEADINGS]
    for name in options.names or _BENCHMARKS:
        for case in _BENCHMARKS[name](os.path.abspath(options.dir)):
            if case.slow and options.quick:
                continue
            print(f"{case.name}: {case.of}, beside {case.beside}", file=sys.stderr)
            rows.append(timed(case, long if case.long else times))
    print("", *_table(rows), "", sep="\n")
    print(_NOTES.format(times=times, long=long, peak=own_peak() / (1 << 20)))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns: words left, numbers right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numbers = range(HEADINGS.index("ours s"), HEADINGS.index("goal"))
    return [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    main()
