"""What every page is made of: its frame, tables, lists of facts, bars and histograms.

Nothing is run or fetched, and the policy in the head would forbid it. All text is escaped here.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paramcli.render.sections import Section

__all__ = ["Cell", "bar", "facts", "folded", "histogram", "page", "table", "text"]

_STYLE = """
:root{color-scheme:light dark;--page:#fbfbfa;--card:#fff;--ink:#1d2330;--soft:#667085;
--line:#e4e6ea;--bar:#4f6bd8;--track:#e9ecf5;--bad:#b42318;--good:#1a7f4b}
@media(prefers-color-scheme:dark){:root{--page:#14161b;--card:#1b1e25;--ink:#e6e8ec;--soft:#98a1b2;
--line:#2c313b;--bar:#8ea4ff;--track:#2a2f3d;--bad:#ff8a80;--good:#6fd59b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:68rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.35rem;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:1rem;margin:2rem 0 .5rem}
.sub{color:var(--soft);margin:.25rem 0 0;overflow-wrap:anywhere}
.verdict{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.4rem .75rem;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:600;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.c{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.84rem;
overflow-wrap:anywhere;min-width:9rem}
dl{display:grid;grid-template-columns:fit-content(45%) 1fr;gap:.3rem 1rem;margin:0;padding:.75rem}
dt{color:var(--soft);overflow-wrap:anywhere}dd{margin:0;overflow-wrap:anywhere}
svg{display:block}.fill{fill:var(--bar)}.track{fill:var(--track)}
td svg{width:8rem;height:.6rem;margin:.45rem 0}.wide{width:100%;height:4.5rem;padding:.75rem}
summary{cursor:pointer;padding:.5rem .75rem;font-weight:600}
.more{color:var(--soft);padding:.4rem .75rem;margin:0}
@media(max-width:40rem){table{font-size:.84rem}th,td{padding:.35rem .4rem}td.c{min-width:7rem}
td svg{width:4rem}}
@media print{.card{border-color:#ccc}}
"""


class Cell(NamedTuple):
    """A cell: `html` as it is, of a `kind`: "" for words, "n" for numbers, "c" for names."""

    html: str
    kind: str = ""


def text(value: str) -> str:
    """Escape text for HTML, and what a screen would obey or hide."""
    return escape(safe(value))


def page(title: str, sub: str, body: Iterable[str]) -> Iterator[str]:
    """Yield a whole file; `sub` and `body` are HTML."""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{text(title)} · paramcli</title>\n<style>{_STYLE}</style>\n</head>\n"
        f'<body>\n<main>\n<h1>{text(title)}</h1>\n<p class="sub">{sub}</p>\n'
    )
    yield from body
    yield "</main>\n</body>\n</html>\n"


def table(
    title: str, titles: Sequence[Cell], rows: Iterable[Sequence[Cell]], more: int = 0
) -> Iterator[str]:
    """Yield a table under a title; `more` says how many rows are left out."""
    yield f'<h2>{text(title)}</h2>\n<div class="card"><table>\n<thead><tr>'
    yield "".join(f'<th scope="col" class="{one.kind}">{one.html}</th>' for one in titles)
    yield "</tr></thead>\n<tbody>\n"
    for row in rows:
        cells = "".join(f'<td class="{one.kind}">{one.html}</td>' for one in row)
        yield f"<tr>{cells}</tr>\n"
    yield "</tbody></table>"
    if more:
        yield f'<p class="more">… and {more:,} more</p>'
    yield "</div>\n"


def facts(section: Section) -> Iterator[str]:
    """Yield facts in two columns."""
    if section.title:
        yield f"<h2>{escape(section.title)}</h2>\n"
    yield '<div class="card"><dl>\n'
    for title, words, _ in section.facts:
        yield f"<dt>{escape(title)}</dt><dd>{escape(words) or '-'}</dd>\n"
    yield "</dl>"
    if section.more:
        yield f'<p class="more">… and {section.more:,} more</p>'
    yield "</div>\n"


def folded(title: str, body: Iterable[str]) -> Iterator[str]:
    """Yield what opens on a click."""
    yield f"<details><summary>{escape(title)}</summary>\n"
    yield from body
    yield "</details>\n"


def bar(share: float, label: str) -> str:
    """Draw a share of one as a bar."""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img"><title>{text(label)}'
        '</title><rect class="track" width="100" height="8" rx="2"/>'
        f'<rect class="fill" width="{width:.2f}" height="8" rx="2"/></svg>'
    )


def histogram(counts: Sequence[int], label: str) -> str:
    """Draw counts side by side, the largest as high as the picture."""
    most = max(counts, default=0) or 1
    step = 100 / max(len(counts), 1)
    bars = "".join(
        f'<rect class="fill" x="{number * step:.2f}" y="{40 - 40 * count / most:.2f}" '
        f'width="{step * 0.9:.2f}" height="{40 * count / most:.2f}"/>'
        for number, count in enumerate(counts)
    )
    return (
        '<svg class="wide" viewBox="0 0 100 40" preserveAspectRatio="none" role="img">'
        f"<title>{text(label)}</title>{bars}</svg>\n"
    )
