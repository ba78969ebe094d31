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


@given(
    costs=st.lists(st.integers(0, 1 << 40), max_size=300), count=st.integers(1, 9),
    large=st.integers(0, 1 << 41),
)  # fmt: skip
def test_what_is_not_dealt_out_is_in_parts(costs: list[int], count: int, large: int) -> None:
    """Each job once; no part costs more than its share, but for one job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(count))
        patch.setattr(ranks, "_LARGE", large)
        first, parts = ranks._divided(costs)
        steps = ranks.size() * ranks._PARTS
    assert [*range(first), *(place for part in parts for place in part)] == [*range(len(costs))]
    assert all(parts)
    total, most = sum(costs), max(costs, default=0)
    if total < large:
        assert not parts
    elif total:
        assert sum(costs[:first]) <= 3 * total / 4
        share = total / 4 / steps
        assert all(sum(costs[place] for place in part) <= share * 1.001 + most for part in parts)
