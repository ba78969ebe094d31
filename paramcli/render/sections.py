"""Facts in two columns, what they are called and what they are, under a title."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.page import GAP
from paramcli.render.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paramcli.render.page import Page

__all__ = ["Fact", "Section", "headline", "lay", "room_of", "widest"]

_LONGEST = 500  # characters of one fact; metadata can be megabytes of JSON


class Fact(NamedTuple):
    """One fact: `text` is safe to print, `style` one of Rich's."""

    title: str
    text: str
    style: str = ""

    @classmethod
    def of_file(cls, title: str, text: str, style: str = "") -> Fact:
        """Make a fact of text that a file holds: made safe, its end left out if it is long."""
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}… ({len(text):,} characters)"
        return cls(safe(title), safe(text), style)


class Section(NamedTuple):
    """Facts under a title. `more` says how many others there are that are left out."""

    title: str
    facts: Sequence[Fact]
    more: int = 0


def headline(text: str, page: Page) -> Iterator[str]:
    """Yield text in bold, on as many lines as it takes."""
    yield from (page.style("bold", line) + "\n" for line in page.wrap(safe(text)))


def lay(section: Section, page: Page, room: int) -> Iterator[str]:
    """Yield the title if it has one, then the facts: titles cut or folded, texts always folded."""
    if section.title:
        yield from headline(section.title, page)
    for title, text, style in section.facts:
        left = page.lines(title, room)
        right = page.wrap(text, page.width - room - len(GAP))
        for name, line in zip_longest(left, right, fillvalue=""):
            padding = " " * (room - page.cells(name))
            painted = page.style(style, line) if style and line else line
            yield f"{name}{padding}{GAP}{painted}".rstrip() + "\n"
    if section.more:
        yield from (f"{line}\n" for line in page.wrap(f"… and {section.more:,} more"))


def room_of(sections: Sequence[Section], page: Page) -> int:
    """Cells of the left column that suit all these sections: what the right one can spare."""
    facts = [fact for section in sections for fact in section.facts]
    titles = max((page.cells(fact.title) for fact in facts), default=0)
    texts = max((page.cells(fact.text) for fact in facts), default=0)
    return min(titles, max(page.width * 2 // 5, page.width - len(GAP) - texts))


def widest(section: Section, page: Page, room: int) -> int:
    """Cells of the widest line of a section."""
    whole = room + len(GAP) + max((page.cells(fact.text) for fact in section.facts), default=0)
    return min(whole, page.width)
