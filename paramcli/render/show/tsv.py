"""`show` as tab-separated values: a line for each tensor, or one for each fact of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.numbers import exact
from paramcli.render.strict import counted, dumped
from paramcli.render.text import chunks, safe
from paramcli.render.tsv import described
from paramcli.verbs.show import FileReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.render.numbers import Number
    from paramcli.verbs.show import Shown, ShowReport, Stats

__all__ = ["tsv"]

_FACTS = ("name", "shape", "dtype", "count", "bytes", "kind", "group")
_NUMBERS = ("mean", "std", "min", "max", "l2", "zeros", "nan", "inf")
_PERCENTILES = ("1", "5", "25", "50", "75", "95", "99")


def tsv(report: ShowReport | FileReport) -> Iterator[str]:
    """Yield a table in full precision, empty where a number is unknown; or `key<TAB>value` lines.

    Values that were asked for are JSON, in a last column. Tabs and newlines in names and values
    come escaped.
    """
    if isinstance(report, FileReport):
        yield from chunks(f"{safe(key)}\t{safe(value)}\n" for key, value in _file(report))
        return
    titles = [*_FACTS, *_NUMBERS, *(f"p{percent}" for percent in _PERCENTILES)]
    values = any(shown.values is not None for shown in report.tensors)
    yield "\t".join([*titles, "values"] if values else titles) + "\n"
    yield from chunks(_row(shown, values=values) for shown in report.tensors)


def _row(shown: Shown, *, values: bool) -> str:
    info = shown.info
    cells = [safe(shown.name), described(info), info.kind, safe(shown.group or "")]
    cells += map(exact, _numbers(shown.stats))
    if values:
        cells.append("" if shown.values is None else dumped(shown.values))
    return "\t".join(cells) + "\n"


def _numbers(stats: Stats | None) -> list[Number]:
    if stats is None:
        return [None] * (len(_NUMBERS) + len(_PERCENTILES))
    infinite = stats.positive_inf + stats.negative_inf
    return [
        *(stats.mean, stats.std, stats.min, stats.max, stats.l2),
        *(stats.zeros, stats.nan, infinite),
        *map(stats.percentiles.get, _PERCENTILES),
    ]


def _file(report: FileReport) -> Iterator[tuple[str, str]]:
    """Yield what is known; keys of the file's own come behind `tree.`, `metadata.` or `value.`."""
    known = {
        "target": report.target,
        "format": report.format,
        "size": report.size,
        "producer": report.producer,
        "byteorder": report.byteorder,
        "key": report.key,
        **counted(report.totals),
        "groups": report.groups,
    }
    yield from ((key, str(value)) for key, value in known.items() if value is not None)
    yield from ((f"tree.{tree.path}", str(tree.tensors)) for tree in report.trees)
    yield from ((f"metadata.{key}", value) for key, value in report.metadata.items())
    yield from ((f"value.{path}", text) for path, text in report.values)
    if report.pickle:
        yield "pickle", report.pickle.summary().removeprefix("pickle: ")
    yield from (("problem", problem) for problem in report.problems)
