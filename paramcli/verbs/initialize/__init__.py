"""`init`: any scheme onto any model. A plan, the checkpoint that it makes, a report, a check."""

from __future__ import annotations

from paramcli.verbs.initialize.overlay import initialized, workers_for
from paramcli.verbs.initialize.plan import Plan, make_plan
from paramcli.verbs.initialize.report import (
    Initialized,
    InitReport,
    Measuring,
    measure_drawn,
    report,
)
from paramcli.verbs.initialize.verify import VerifyReport, recorded, verify

__all__ = [
    "InitReport", "Initialized", "Measuring", "Plan", "VerifyReport", "initialized", "make_plan",
    "measure_drawn", "recorded", "report", "verify", "workers_for",
]  # fmt: skip
