"""`list` as GitHub workflow commands: the totals as a notice, each problem as an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.text import plural, safe, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.survey import ListReport

__all__ = ["MOST", "command", "github"]

MOST = 10  # GitHub shows no more annotations than this of one step
_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def github(report: ListReport) -> Iterator[str]:
    """Yield a notice with the totals, then errors for the first ten problems."""
    totals = summary(report.totals)
    if report.problems:
        totals += f" · {plural(len(report.problems), 'problem')}"
    yield command("notice", report.target, totals)
    for problem in report.problems[:MOST]:
        yield command("error", report.target, problem)


def command(level: str, title: str, message: str, **properties: str) -> str:
    """Lay one workflow command; the escapes are those of GitHub's own actions/toolkit."""
    told = ",".join(
        f"{key}={safe(value).translate(_PROPERTY)}"
        for key, value in {**properties, "title": title}.items()
    )
    return f"::{level} {told}::{safe(message).translate(_DATA)}\n"
