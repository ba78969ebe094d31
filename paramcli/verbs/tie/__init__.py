"""`tie`: who shares bytes with whom, found, proved, made and undone."""

from __future__ import annotations

from paramcli.verbs.tie.change import like, tie, untie
from paramcli.verbs.tie.equal import find_equal
from paramcli.verbs.tie.groups import report
from paramcli.verbs.tie.report import TieReport

__all__ = ["TieReport", "find_equal", "like", "report", "tie", "untie"]
