"""Sums of squares come from one thread, whether NumPy was loaded before or not."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, sys
os.environ.pop("OPENBLAS_NUM_THREADS", None)
{first}
from paramcli.numeric import ALONE
import numpy as np
from paramcli.numeric.squares import squares
numbers = np.arange(100_000.0)
assert squares(numbers) == float((numbers * numbers).sum())
print(ALONE, os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.parametrize(
    ("first", "alone"),
    [
        ("", "True 1"),
        ("import numpy", "False 1"),
        ("os.environ['OPENBLAS_NUM_THREADS'] = '1'; import numpy", "True 1"),
        ("os.environ['OPENBLAS_NUM_THREADS'] = '4'", "False 4"),
    ],
)
def test_who_sums(first: str, alone: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(first=first)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == alone
