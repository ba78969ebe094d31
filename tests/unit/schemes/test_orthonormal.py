"""Orthonormal vectors: what LAPACK's QR gives, exact products, the same bytes for ever."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import pytest

from paramcli.schemes import orthonormal
from paramcli.schemes.draws import Filler, Normal
from paramcli.schemes.orthonormal import orthonormalize
from paramcli.schemes.stream import key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


def gaussian(count: int, length: int) -> Matrix:
    numbers = np.empty(count * length)
    Filler().fill(Normal(), "float64", key(0, "w"), 0, numbers)
    return numbers.reshape(count, length)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (8, 8), (9, 9), (33, 50), (200, 200), (20, 999)])
@pytest.mark.parametrize(("double", "error"), [(True, 1e-13), (False, 1e-9)])
def test_is_the_q_of_a_qr_decomposition(
    shape: tuple[int, int], *, double: bool, error: float
) -> None:
    vectors = gaussian(*shape)
    q, r = np.linalg.qr(vectors.T)
    orthonormalize(vectors, double=double)
    assert np.abs(vectors @ vectors.T - np.eye(shape[0])).max() < error
    assert np.abs(vectors - (q * np.sign(np.diag(r))).T).max() < error * 10


def test_many_columns_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are small still make vectors orthogonal, whatever their bytes."""
    monkeypatch.setattr(orthonormal, "_MOST", 100)
    vectors = gaussian(40, 90)
    orthonormalize(vectors)
    assert np.abs(vectors @ vectors.T - np.eye(40)).max() < 1e-13


def test_products_do_not_depend_on_the_order_of_sums() -> None:
    """Every product of slices is exact: in any order, and in integers."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((7, 1000)), rng.standard_normal((1000, 5))
    bits = orthonormal._bits(1000)
    ours, theirs = orthonormal._cut(left, 3, bits), orthonormal._cut(right, 3, bits)
    order = rng.permutation(1000)
    for i, a in enumerate(ours, 1):
        for j, b in enumerate(theirs, 1):
            units = [
                2.0 ** (np.frexp(np.abs(of).max())[1] - bits * place)
                for of, place in ((left, i), (right, j))
            ]
            whole = [np.rint(a / units[0]), np.rint(b / units[1])]
            assert (whole[0] * units[0] == a).all()
            assert np.abs(whole[0]).max() <= 2**bits
            exact = (whole[0].astype(np.int64) @ whole[1].astype(np.int64)) * (units[0] * units[1])
            assert (a @ b == exact).all()
            assert (a[:, order] @ b[order] == exact).all()
            assert (np.cumsum(a[:, :, None] * b[None], 1)[:, -1] == exact).all()
    assert np.abs(left - sum(ours)).max() < 2.0 ** (3 - 3 * bits)


@pytest.mark.parametrize(
    ("double", "digest"),
    [(True, "91e7950f5cf2bb232af625df4218fa9d"), (False, "2f13af019856bd773cfb417fcd106cf4")],
    ids=["double", "single"],
)
def test_bytes_are_the_same_for_ever(*, double: bool, digest: str) -> None:
    vectors = gaussian(100, 130)
    orthonormalize(vectors, double=double)
    assert blake2b(vectors.tobytes(), digest_size=16).hexdigest() == digest
