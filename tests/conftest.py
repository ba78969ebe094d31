"""What every test runs under: one terminal, one set of colours, one effort of hypothesis."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ["COLUMNS"] = "80"
os.environ["NO_COLOR"] = "1"
for _name in ("FORCE_COLOR", "GITHUB_ACTIONS"):
    os.environ.pop(_name, None)

# No test may depend on how fast the machine is.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples every time: a failure is by what was changed. The long run looks for more.
settings.register_profile("quick", _patient, max_examples=40, derandomize=True)
settings.register_profile("long", _patient, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
