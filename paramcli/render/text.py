"""Words and numbers as every renderer writes them, so that a size reads the same everywhere."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import Totals

__all__ = [
    "alike",
    "binary",
    "chunks",
    "counts_of",
    "decimal",
    "plural",
    "safe",
    "shape_of",
    "shape_text",
    "sizes",
    "spans",
    "summary",
]

T = TypeVar("T")


def safe(text: str) -> str:
    r"""Escape what a screen would obey or hide: `\x1b`, `\u202e`, lone surrogates, zero widths.

    Text that is printable, emoji and CJK included, comes back as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def binary(nbytes: int) -> str:
    """Write a number of bytes in binary units: `512 B`, `1.21 MiB`, `173.5 KiB`."""
    return _scaled(nbytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def decimal(count: int) -> str:
    """Write a count in decimal units: `150`, `44.4 K`, `7.24 B`."""
    return _scaled(count, 1000, ("", "K", "M", "B", "T"))


def _scaled(number: int, base: int, units: Sequence[str]) -> str:
    value, power = float(number), 0
    while value >= base - 0.05 and power + 1 < len(units):  # it would round up to the base itself
        value /= base
        power += 1
    if not power:
        return f"{number} {units[0]}".rstrip()
    text = f"{value:.2f}"
    return f"{text if len(text) == len('9.99') else f'{value:.1f}'} {units[power]}"


def shape_text(shape: Iterable[int]) -> str:
    """Write a shape: `[6, 1, 5, 5]`, `[]` for a scalar."""
    return str([*shape])


def shape_of(info: TensorInfo) -> str:
    """Write the shape of a tensor, each size that a lock leaves open as it does: `[vocab, 64]`."""
    if not info.open:
        return shape_text(info.shape)
    written = dict(info.facts)["dims"][1:-1].split(", ")
    pairs = zip(written, info.shape, strict=True)
    return f"[{', '.join(name if size < 0 else str(size) for name, size in pairs)}]"


def counts_of(info: TensorInfo) -> tuple[str, str]:
    """Write elements and bytes for people, `?` where they are not known."""
    return ("?", "?") if info.open else (f"{info.numel:,}", binary(info.nbytes))


def plural(count: int, noun: str) -> str:
    """Write how many: `1 tensor`, `44,426 parameters`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def summary(totals: Totals) -> str:
    """Write the totals in one line, by name: what is shared counts each time."""
    tensors, count, nbytes, _, _ = totals
    return sizes(tensors, count, nbytes)


def sizes(tensors: int, count: int, nbytes: int) -> str:
    """Write sums in one line: `10 tensors · 44,426 parameters · 173.5 KiB`."""
    return f"{plural(tensors, 'tensor')} · {plural(count, 'parameter')} · {binary(nbytes)}"


def spans(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each unbroken run in increasing numbers."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last


def alike(lay: Callable[[TensorInfo], T], infos: Iterable[TensorInfo]) -> Iterator[T]:
    """Yield what `lay` makes of each tensor; it is called once for each dtype, shape and stride.

    A model has few of these, and many names. Composite tensors, whose bytes lie in their parts, are
    laid each time.
    """
    known: dict[Hashable, T] = {}
    for info in infos:
        if info[7] != "strided":  # by its place: this is asked of every row
            yield lay(info)
            continue
        facts = info[1:4]  # whose hash takes longer than all else
        found = known.get(facts)
        if found is None:
            found = known[facts] = lay(info)
        yield found


def chunks(lines: Iterable[str], size: int = 4096) -> Iterator[str]:
    """Join lines by the thousand: one write for each would cost more than making them."""
    lines = iter(lines)
    while chunk := "".join(islice(lines, size)):
        yield chunk
