"""`tie` as tab-separated values: one group, finding or change a line, with whole names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.text import chunks, safe
from paramcli.render.tie.words import SIGNS, joined, proof

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.verbs.tie.report import TieReport

__all__ = ["tsv"]

_COLUMNS = ("category", "id", "names", "relation", "bytes", "text")


def tsv(report: TieReport) -> Iterator[str]:
    """Yield titles, then a line for each; names of one group are joined by ` = ` or ` & `."""
    yield "\t".join(_COLUMNS) + "\n"
    yield from chunks("\t".join(cells) + "\n" for cells in _lines(report))


def _lines(report: TieReport) -> Iterator[tuple[str, ...]]:
    for kind, names, kept in report.changes:
        yield kind, "", joined(names, ", ", None), "", "", safe(kept)
    for group in report.groups:
        sign = " = " if group.form == "same" else " & "
        text = "; ".join(safe(one.text) for one in group.evidence)
        size = str(group.bytes) if group.bytes else ""
        yield "group", group.id, joined(group.names, sign, None), group.form, size, text
    if report.config is not None:
        told = report.config
        agrees = "agrees" if told.agrees else "disagrees"
        yield "config", "", safe(told.path), agrees, "", safe(told.text)
    for one in report.equal or ():
        alike = joined(one.names, SIGNS[one.relation], None)
        yield "equal", "", alike, one.relation, str(one.saved), ""
    for probed in report.probe or ():
        holds = "holds" if probed.holds else "fails"
        yield (
            "probe",
            probed.group,
            joined(probed.names, " = ", None),
            holds,
            "",
            safe(proof(probed)),
        )
        for operation, outcome, text in probed.survival:
            yield "afterwards", probed.group, safe(operation), outcome, "", safe(text)
