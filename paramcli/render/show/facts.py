"""What `show` says of one tensor or of a file, in words, the same on a screen and in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.numbers import finite, short, sparkline
from paramcli.render.page import GAP
from paramcli.render.sections import Fact, Section, room_of
from paramcli.render.text import binary, counts_of, plural, safe, shape_of, shape_text, summary

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from paramcli.render.page import Page
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.show import FileReport, Shown, Stats

__all__ = ["DANGER", "file_sections", "flags", "tensor_sections", "values_title"]

DANGER = "red"
_MOST = 50  # rows of a section before "and N more"
_MOST_PROBLEMS = 10
_DIGITS = 6
_BARS = 40
_PERCENTILES = (
    ("1", "5", "25", "50", "75", "95", "99"),
    ("1", "25", "50", "75", "99"),
    ("5", "50", "95"),
)


def flags(stats: Stats, first: tuple[int, ...] | None) -> str:
    """Say what is not finite, and where the first is: `3 NaN, 1 inf from [0, 2]`, else nothing."""
    counts = {"NaN": stats.nan, "inf": stats.positive_inf, "-inf": stats.negative_inf}
    text = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    return f"{text} from {shape_text(first)}" if text and first else text


def _size(nbytes: int) -> str:
    """Write a number of bytes for people, and exactly where that says more."""
    text = binary(nbytes)
    return text if text == f"{nbytes} B" else f"{text} ({nbytes:,} bytes)"


def tensor_sections(shown: Shown, module: str | None, page: Page) -> list[Section]:
    """List what is known of one tensor; lines that can be shorter keep to the page."""
    sections = [Section("", [*_described(shown, module)])]
    if shown.stats:
        left = max(len("Percentiles"), room_of(sections, page))
        sections.append(Section("", [*_measured(shown, shown.stats, page.width - left - len(GAP))]))
    return sections


def _described(shown: Shown, module: str | None) -> Iterator[Fact]:
    info = shown.info
    if module is not None:
        yield Fact.of_file("Module", module)
        yield Fact.of_file("Name", shown.name)
    yield Fact("Shape", shape_of(info))
    yield Fact("Dtype", info.dtype.name)
    yield Fact("Kind", info.kind)
    yield Fact("Count", counts_of(info)[0])
    yield Fact("Bytes", "?" if info.open else _size(info.nbytes))
    yield from _unusual(info, shown.facts)
    if shown.group:
        yield Fact("Shared", safe(shown.group), "cyan")
    yield from (Fact.of_file(*fact) for fact in shown.facts.items())


def _unusual(info: TensorInfo, told: Container[str]) -> Iterator[Fact]:
    """Yield what a plain tensor with its bytes in a row and to itself does not have."""
    if info.layout != "strided":
        if "layout" not in told:
            yield Fact.of_file("Layout", info.layout)
    elif not info.contiguous:
        yield Fact("Stride", f"{shape_text(info.stride)} (not contiguous)")
    if info.offset:
        yield Fact("Offset", f"{plural(info.offset, 'element')} into its storage")


def _measured(shown: Shown, stats: Stats, room: int) -> Iterator[Fact]:
    of_finite = stats.finite._asdict() if stats.finite else {}
    for title in ("Mean", "Std", "Min", "Max", "L2"):
        value = getattr(stats, title.lower())
        if value is not None:
            text = f"{value:,}" if isinstance(value, int) else short(value, _DIGITS)
            if (other := of_finite.get(title.lower())) is not None:
                text += f" ({short(other, _DIGITS)} of the finite ones)"
            yield Fact(title, text, "" if finite(value) else DANGER)
    yield Fact("Zeros", _zeros(stats, shown.info.numel))
    bad = flags(stats, shown.first_bad)
    yield Fact("Not finite", bad or "0", DANGER if bad else "")
    if line := _percentiles(stats, room):
        yield Fact("Percentiles", line)
    if line := _histogram(stats, room):
        yield Fact("Histogram", line)


def _zeros(stats: Stats, count: int) -> str:
    text = f"{stats.zeros:,}"
    if stats.zeros and count:
        text += f" ({100 * stats.zeros / count:.3g} %)"
    return f"{text}, {stats.negative_zeros:,} of them -0.0" if stats.negative_zeros else text


def _percentiles(stats: Stats, room: int) -> str:
    """Lay as many percentiles as fit, always symmetric about the median."""
    line = ""
    for chosen in _PERCENTILES:
        known = [(percent, stats.percentiles.get(percent)) for percent in chosen]
        line = "  ".join(f"{p}% {short(value)}" for p, value in known if value is not None)
        if len(line) <= room:
            break
    return line


def _histogram(stats: Stats, room: int) -> str:
    """Lay the bars between the least and the greatest finite value."""
    least, greatest = stats.finite[2:] if stats.finite else (stats.min, stats.max)
    ends = short(least), short(greatest)
    bars = sparkline(stats.histogram, min(_BARS, max(1, room - len("".join(ends)) - 2)))
    return f"{ends[0]} {bars} {ends[1]}" if bars else ""


def values_title(shown: Shown) -> str:
    """Name the values that follow: `fc.weight float32[10, 84]`, `… [2, 5] of` before a slice."""
    whole = f"{shown.info.dtype.name}{shape_text(shown.info.shape)}"
    if shown.sliced is None or tuple(shown.sliced) == shown.info.shape:
        return f"{shown.name}  {whole}"
    return f"{shown.name}  {shape_text(shown.sliced)} of {whole}"


def file_sections(report: FileReport) -> list[Section]:
    """List what is known of a file: itself, its trees, metadata, values, and what is wrong."""
    sections = [Section("", [*_file(report)])]
    for title, rows in (
        ("Trees", [(tree.path, plural(tree.tensors, "tensor")) for tree in report.trees]),
        ("Metadata", [*report.metadata.items()]),
        ("Values", report.values),
    ):
        if rows:
            sections.append(_section(title, rows))
    return sections


def _section(title: str, rows: Sequence[tuple[str, str]]) -> Section:
    facts = [Fact.of_file(name, text) for name, text in rows[:_MOST]]
    return Section(title, facts, len(rows) - len(facts))


def _file(report: FileReport) -> Iterator[Fact]:
    totals = report.totals
    yield Fact("Format", report.format)
    if report.size is not None:
        yield Fact("Size", _size(report.size))
    if report.producer is not None:
        yield Fact.of_file("Producer", report.producer)
    yield Fact("Byte order", report.byteorder)
    if report.key is not None:
        yield Fact.of_file("Key picked", report.key)
    yield Fact("Holds", summary(totals))
    if report.groups:
        unique = f"{totals.unique_numel:,} · {binary(totals.unique_bytes)}"
        yield Fact("Unique", f"{unique} (shared bytes counted once)")
        yield Fact("Shared", plural(report.groups, "group"), "cyan")
    if report.pickle:
        yield Fact.of_file("Pickle", report.pickle.summary().removeprefix("pickle: "))
    for problem in report.problems[:_MOST_PROBLEMS]:
        yield Fact.of_file("Problem", problem, DANGER)
    if len(report.problems) > _MOST_PROBLEMS:
        yield Fact("", f"… and {len(report.problems) - _MOST_PROBLEMS:,} more", DANGER)
