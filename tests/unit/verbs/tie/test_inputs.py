"""What `--input` says."""

from __future__ import annotations

import pytest

from paramcli.errors import UsageError
from paramcli.tensors import DTYPES
from paramcli.verbs.tie.inputs import Input, parse_input


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2,4", Input(DTYPES["float32"], (2, 4))),
        ("7", Input(DTYPES["float32"], (7,))),
        ("bfloat16[2, 4]", Input(DTYPES["bfloat16"], (2, 4))),
        ("float64[]", Input(DTYPES["float64"], ())),
        ("bool[3]", Input(DTYPES["bool"], (3,))),
        ("int64[2,16]<100", Input(DTYPES["int64"], (2, 16), 100)),
        ("2,16<100", Input(DTYPES["int64"], (2, 16), 100)),
    ],
)
def test_forms(text: str, found: Input) -> None:
    assert parse_input(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "x", "2,,4", "2,", "-1", "int64[2]", "int64[2]<0", "float32[2]<5", "nofloat[2]",
     "float32[2", "complex64[2]", "[2]", "99999,99999", "bool[2]<2"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--input"):
        parse_input(text)
