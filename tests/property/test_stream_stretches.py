"""Law 5, of the stream: an element depends on its key and its place alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.schemes.draws import DTYPES, Draw, Filler, Normal
from paramcli.schemes.steps import HALF
from paramcli.schemes.stream import key
from tests.unit.schemes.filled import DRAWS, filled, filled_by_torch, raw

BLOCK = 2 * HALF
draws = st.sampled_from(DRAWS)
dtypes = st.sampled_from(DTYPES)
starts = st.one_of(
    st.integers(0, 1 << 40),
    # Near the borders of blocks and halves, where the ways of drawing change.
    st.builds(lambda at, off: at * HALF + off, st.integers(1, 1 << 24), st.integers(-3, 3)),
)


@given(draw=draws, dtype=dtypes, start=starts, data=st.data())
def test_any_split_gives_the_same_bytes(
    draw: Draw, dtype: str, start: int, data: st.DataObject
) -> None:
    count = data.draw(st.one_of(st.integers(1, 300), st.integers(BLOCK, 3 * BLOCK)))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=5))
    whole = filled(draw, dtype, start, count)
    edges = [0, *sorted(cuts), count]
    parts = [raw(filled(draw, dtype, start + begin, end - begin)) for begin, end in pairwise(edges)]
    assert b"".join(parts) == raw(whole)


@given(draw=draws, dtype=dtypes, start=starts, count=st.integers(1, 2 * BLOCK))
def test_torch_gives_the_same_bytes(draw: Draw, dtype: str, start: int, count: int) -> None:
    ours = raw(filled(draw, dtype, start, count))
    assert ours == raw(filled_by_torch(draw, dtype, start, count))


@given(
    one=st.tuples(st.integers(), st.text(max_size=9), st.text(max_size=9)),
    other=st.tuples(st.integers(), st.text(max_size=9), st.text(max_size=9)),
)
def test_what_differs_has_another_key(
    one: tuple[int, str, str], other: tuple[int, str, str]
) -> None:
    assert (key(*one) == key(*other)) == (one == other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_was_drawn_before_leaves_no_trace(dtype: str) -> None:
    filler = Filler()
    fresh = filled(Normal(), dtype, 5, 1000)
    out = np.empty_like(fresh)
    for draw in (*DRAWS, Normal()):
        filler.fill(draw, dtype, key(0, "weight"), 5, out)
    assert raw(out) == raw(fresh)
