"""`init` as tab-separated values: a line for each tensor, in full precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.init.table import verified
from paramcli.render.numbers import exact
from paramcli.render.text import chunks, safe, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.render.numbers import Number
    from paramcli.verbs.initialize import Initialized, InitReport, VerifyReport

__all__ = ["tsv", "tsv_verified"]

_TITLES = (
    "name", "shape", "dtype", "scheme", "rule", "role", "fan_in", "fan_out", "expected_mean",
    "expected_std", "mean", "std", "z_mean", "z_std", "group", "why",
)  # fmt: skip


def tsv(report: InitReport) -> Iterator[str]:
    """Yield a table, empty where a number is unknown; tabs and newlines in names come escaped."""
    yield "\t".join(_TITLES) + "\n"
    yield from chunks("\t".join(_row(one)) + "\n" for one in report.tensors)


def _row(one: Initialized) -> list[str]:
    numbers: list[Number] = [one.fan_in, one.fan_out, *one.expected]
    numbers += [*(one.actual or (None, None)), *(one.z or (None, None))]
    return [
        safe(one.info.name),
        shape_of(one.info).replace(" ", ""),
        one.info.dtype.name,
        safe(one.scheme),
        safe(one.rule),
        one.role,
        *map(exact, numbers),
        one.group or "",
        safe(one.why),
    ]


def tsv_verified(report: VerifyReport) -> Iterator[str]:
    """Yield a line for each tensor: what was found of it, and its name."""
    yield "status\tname\n"
    yield from chunks(
        f"{what.replace(' ', '_')}\t{safe(name)}\n"
        for what, names in verified(report)
        for name in names
    )
