"""Workflow commands say what they should, and no file can smuggle in one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.render.github import github

if TYPE_CHECKING:
    from paramcli.verbs.survey import ListReport


def test_totals(reports: dict[str, ListReport]) -> None:
    """A file without problems is one notice."""
    assert list(github(reports["lenet"])) == [
        "::notice title=model.pt::10 tensors · 44,426 parameters · 173.5 KiB\n"
    ]


def test_problems(reports: dict[str, ListReport]) -> None:
    """At most ten errors, each on its line, with nothing in them that GitHub would obey."""
    notice, *errors = github(reports["hostile"])
    assert notice.endswith(" · 12 problems\n")
    assert len(errors) == 10
    assert errors[0] == (
        "::error title=evil\\n%3A%3Aerror%3A%3A.pt::the index names layers.0.weight, "
        "100%25 missing\\nfrom: every shard, as it seems\n"
    )
