"""`show` as a page: the facts of the file, or of each tensor with its histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.html.page import facts, folded, histogram, page, text
from paramcli.render.numbers import short
from paramcli.render.page import Page
from paramcli.render.sections import Section
from paramcli.render.show.facts import file_sections, tensor_sections
from paramcli.render.text import plural
from paramcli.verbs.show import FileReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.show import Shown, ShowReport

__all__ = ["html"]

_OPEN = 20
_MOST = 1000
"""Tensors that are open at first, and those that are on the page at all."""


def html(report: ShowReport | FileReport) -> Iterator[str]:
    """Yield the page."""
    if isinstance(report, FileReport):
        sections = (line for section in file_sections(report) for line in facts(section))
        yield from page(report.target, text(report.format), sections)
        return
    what = plural(len(report.tensors), "tensor") + (f" of {report.module}" if report.module else "")
    yield from page(report.target, text(f"{report.format} · {what}"), _tensors(report))


def _tensors(report: ShowReport) -> Iterator[str]:
    for number, shown in enumerate(report.tensors[:_MOST]):
        if number < _OPEN:
            yield f"<h2>{text(shown.info.name)}</h2>\n"
            yield from _tensor(shown)
        else:
            yield from folded(shown.info.name, _tensor(shown))
    if len(report.tensors) > _MOST:
        yield f'<p class="more">… and {len(report.tensors) - _MOST:,} more</p>\n'


def _tensor(shown: Shown) -> Iterator[str]:
    every = [
        fact
        for section in tensor_sections(shown, None, Page())
        for fact in section.facts
        if fact.title != "Histogram"
    ]
    yield from facts(Section("", every))
    stats = shown.stats
    if stats is not None and stats.histogram:
        least, greatest = stats.finite[2:] if stats.finite else (stats.min, stats.max)
        label = f"Histogram from {short(least)} to {short(greatest)}"
        yield f'<div class="card">{histogram(stats.histogram, label)}'
        yield f'<p class="more">{text(label)}</p></div>\n'
