"""Batches hold every item once, like lengths together, in an order that the seed decides."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.utils.batching import length_buckets


@given(st.lists(st.integers(0, 99), max_size=200), st.integers(1, 9), st.none() | st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_every_item_once(lengths: list[int], size: int, seed: int | None) -> None:
    batches = length_buckets(lengths, size, seed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert batches == length_buckets(lengths, size, seed)
    if seed is None:
        order = [lengths[i] for batch in batches for i in batch]
        assert order == sorted(order, reverse=True)


def test_seeds_shuffle_and_keep_like_lengths_together() -> None:
    lengths = list(range(1000))
    one, two = (length_buckets(lengths, 10, seed) for seed in (1, 2))
    assert one != two
    spread = [max(batch) - min(batch) for batch in one]
    assert sum(spread) / len(spread) < 60  # of 1000; at random it would be some 800
