"""Chunks of a prompt: none is a short rest, and as many are planned as are run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.chunks import count_chunks, next_chunk


@given(tokens=st.integers(0, 5000), limit=st.integers(1, 700))
def test_chunks_are_counted_as_they_are_cut(tokens: int, limit: int) -> None:
    left, cut = tokens, []
    while left:
        cut.append(next_chunk(left, limit))
        left -= cut[-1]
    assert count_chunks(tokens, limit) == len(cut)
    assert all(chunk <= limit + limit // 4 for chunk in cut)
    assert all(chunk == limit for chunk in cut[:-1])
    assert len(cut) < 2 or cut[-1] > limit // 4
