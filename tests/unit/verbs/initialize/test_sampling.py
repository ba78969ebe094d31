"""Sampling error: what is drawn lies within, what is drawn by another law does not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paramcli.schemes.draws import Filler, Normal, TruncatedNormal, Uniform
from paramcli.schemes.law import Constant, Law, Piece
from paramcli.schemes.stream import key
from paramcli.tensors import DTYPES
from paramcli.verbs.initialize.sampling import BEYOND, scores

F4 = DTYPES["float32"]
DRAWS: dict[str, tuple[Normal | Uniform | TruncatedNormal, float, float]] = {
    "normal": (Normal(0.1, 0.5), 0.1, 0.5),
    "uniform": (Uniform(-1, 3), 1.0, 4 / math.sqrt(12)),
    "truncated": (TruncatedNormal(0, 1, -2, 2), 0.0, 0.87962566),
}


def measured(draw: Normal | Uniform | TruncatedNormal, name: str, n: int) -> tuple[float, float]:
    out = np.empty(n, np.float32)
    Filler().fill(draw, "float32", key(0, name), 0, out)
    return float(out.mean(dtype=np.float64)), float(out.std(dtype=np.float64))


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("n", [1, 2, 10, 1_000, 100_000])
def test_what_is_drawn_is_within(kind: str, n: int) -> None:
    draw, mean, std = DRAWS[kind]
    law = Law((Piece(0, n, draw, 0),), mean, std, kind)
    found = [scores(law, F4, n, *measured(draw, str(seed), n)) for seed in range(50)]
    assert not any(one.beyond for one in found)
    means = np.array([one.mean for one in found], float)
    if n > 2:
        assert 0.5 < means.std() < 1.6  # they are standard errors, not just small numbers
        assert max(abs(float(one.std or 0)) for one in found) > 0.5


def test_another_law_is_beyond() -> None:
    law = Law((Piece(0, 10_000, Normal(0, 1), 0),), 0.0, 1.0, "normal")
    assert not scores(law, F4, 10_000, 0.01, 1.01).beyond
    assert scores(law, F4, 10_000, 0.0, 1.05).beyond
    assert scores(law, F4, 10_000, 0.07, 1.0).beyond
    assert scores(law, F4, 10_000, math.nan, 1.0).beyond
    found = scores(law, F4, 10_000, 0.05, 1.0)
    assert found.mean == pytest.approx(5.0)
    assert BEYOND > 5


def test_constants_allow_for_rounding_alone() -> None:
    law = Law((Piece(0, 9, Constant(0.1), 0),), 0.1, 0.0, "constant")
    assert not scores(law, F4, 9, float(np.float32(0.1)), 0.0).beyond
    assert not scores(law, DTYPES["bfloat16"], 9, 0.10009765625, 0.0).beyond
    assert scores(law, F4, 9, 0.1001, 0.0).beyond
    assert scores(law, F4, 9, 0.1, 1e-3).beyond


def test_pieces_and_copies() -> None:
    """A padding row has no error; copies have that of the one that they are of."""
    n, draw = 1_000, Normal(0, 1)
    row = Law((Piece(0, n, draw, 0), Piece(n, 2 * n, Constant(0.0), n)), 0.0, math.sqrt(0.5), "")
    found = scores(row, F4, 2 * n, math.sqrt(n) / (2 * n), math.sqrt(0.5))
    assert found.mean == pytest.approx(1.0, rel=1e-6)
    copied = Law((Piece(0, n, draw, 0), Piece(n, 2 * n, draw, 0)), 0.0, 1.0, "")
    assert scores(copied, F4, 2 * n, 1 / math.sqrt(n), 1.0).mean == pytest.approx(1.0, rel=1e-6)


def test_nothing_expected() -> None:
    law = Law((Piece(0, 9, Normal(0, 1), 0),), None, None, "")
    assert scores(law, F4, 9, 5.0, 5.0) == (None, None)
    assert not scores(law, F4, 9, 5.0, 5.0).beyond
    known = Law((), 0.0, 1.0, "")
    assert scores(known, F4, 0, None, None) == (None, None)
