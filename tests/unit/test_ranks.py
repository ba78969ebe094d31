"""How work is dealt to ranks: by what it costs, whatever comes in turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli import ranks


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")


@given(costs=st.lists(st.integers(0, 1 << 40)), count=st.integers(1, 9))
def test_no_rank_has_more_than_another_by_more_than_one_job(costs: list[int], count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(count))
        dealt = list(ranks.dealt(costs, lambda cost: cost))
    assert [cost for _, cost in dealt] == costs
    loads = [sum(cost for rank, cost in dealt if rank == number) for number in range(count)]
    assert max(loads) - min(loads) <= max(costs, default=0)


def test_weights_and_biases_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """By turns alone, one of two ranks would have all weights."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    dealt = list(ranks.dealt([1 << 20, 4] * 10, lambda cost: cost))
    assert {sum(1 for rank, cost in dealt if rank == r and cost > 4) for r in (0, 1)} == {5}
