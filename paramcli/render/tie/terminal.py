"""`tie` drawn on a terminal: the groups with their evidence, what was asked, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.sections import headline, lay, room_of
from paramcli.render.terminal import Screen
from paramcli.render.text import safe
from paramcli.render.tie.words import sections, summary, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.tie.report import TieReport

__all__ = ["draw"]

_MOST = 20


def draw(
    report: TieReport, *, width: int, color: bool = False, cut: bool = True, details: bool = False
) -> Iterator[str]:
    """Yield whole lines, none wider than `width` cells; twenty of a kind unless `details`."""
    screen = Screen(width, color=color, cut=cut)
    yield from headline(report.target, screen)
    yield from (f"{line}\n" for line in screen.wrap(summary(report)))
    for section in sections(report, None if details else _MOST):
        yield "\n"
        yield from lay(section._replace(more=0), screen, room_of([section], screen))
        if section.more:
            more = f"… and {section.more:,} more (--details shows all)"
            yield from (f"{line}\n" for line in screen.wrap(more))
    if ending := verdict(report):
        yield "\n"
        yield from (screen.style("bold", line) + "\n" for line in screen.wrap(safe(ending)))
