"""The command line run in this process, its streams and exit code caught together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from paramcli.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run paramcli with these arguments."""

    def call(*argv: str) -> Outcome:
        code = main(argv)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call
