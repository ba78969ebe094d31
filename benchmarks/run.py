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
    peers,
    ranking,
    saving,
    showing,
    tying,
)
from benchmarks.compare import HEADINGS, timed
from benchmarks.files import MIB, mib, size
from benchmarks.timing import machine, own_peak

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main"]

_ROOMS = listing, showing, diffing, saving, drawing, initializing, tying, ranking, peers
_BENCHMARKS = {name: cases for room in _ROOMS for name, cases in room.BENCHMARKS.items()}
_SMALL = 256
_NUMBERS = range(HEADINGS.index("ours s"), HEADINGS.index("goal"))
_NOTES = """\
Seconds are medians of {times} runs in turn ({long} of what takes long){warm}; MiB the highest
peak, of the largest process where several work. The median, min and max are those of the pairs:
ours/theirs, or theirs/ours (x), or ours - theirs (ms). Those of draw are of 2²⁷ numbers. No peak
below {peak:.0f} MiB, this program's own, can be seen. summarize: a script that asks paramcli's
function of that name for moments alone, since `show` has no option that leaves out just
percentiles and histogram."""


def main() -> None:
    """Run the benchmarks asked for, all by default, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(_BENCHMARKS))
    parser.add_argument("--runs", type=int, default=9, help="pairs of runs (%(default)s)")
    small = f"one pair, of files of {_SMALL} MiB: whether all works, not how fast it is"
    parser.add_argument("--quick", action="store_true", help=small)
    parser.add_argument("--dir", help="where the files are kept (in the temporary directory)")
    parser.add_argument("--write", metavar="FILE.md", help="write the table there too")
    options = parser.parse_args()
    if unknown := set(options.names) - set(_BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if options.quick:
        os.environ[MIB], options.runs = str(_SMALL), 1
    kept = os.path.join(tempfile.gettempdir(), f"paramcli-benchmarks-{mib()}")

    print(machine())
    long = -(-options.runs // 3)
    rows: list[Sequence[str]] = [HEADINGS]
    for name in options.names or _BENCHMARKS:
        for case in _BENCHMARKS[name](os.path.abspath(options.dir or kept)):
            if case.slow and options.quick:
                continue
            print(f"{case.name}: {case.of}, beside {case.beside}", file=sys.stderr)
            times = long if case.long else options.runs
            rows.append(timed(case, times, warm_up=not options.quick))
    warm = "" if options.quick else ", after one to warm up"
    notes = _NOTES.format(times=options.runs, long=long, warm=warm, peak=own_peak() / (1 << 20))
    print("", *_table(rows), "", notes, sep="\n")
    if options.write:
        with open(options.write, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _page(rows, notes))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns: words left, numbers right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if place in _NUMBERS else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _page(rows: Sequence[Sequence[str]], notes: str) -> Iterator[str]:
    """Lay it all out as a page of the documents."""
    yield from (
        "# Benchmarks",
        "",
        f"`make bench` wrote this page: {machine()}, files of {size()}.",
        "",
    )
    rule = ["--:" if place in _NUMBERS else "---" for place in range(len(HEADINGS))]
    for row in (rows[0], rule, *rows[1:]):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield from ("", *notes.splitlines())


if __name__ == "__main__":
    main()
