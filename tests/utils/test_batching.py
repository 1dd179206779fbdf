"""Batches: every item once, bounded, reproducible."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.utils.batching import batches_by_length, split_by_count


@given(
    st.lists(st.integers(0, 99), max_size=200),
    st.integers(1, 9),
    st.none() | st.integers(1, 300),
    st.none() | st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_batches_hold_every_item_once(
    lengths: list[int], max_items: int, max_positions: int | None, seed: int | None
) -> None:
    batches = batches_by_length(lengths, max_items, max_positions, seed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= max_items for batch in batches)
    assert batches == batches_by_length(lengths, max_items, max_positions, seed)
    if max_positions is not None:
        for batch in batches:
            padded = len(batch) * max(lengths[i] for i in batch)
            assert len(batch) == 1 or padded <= max_positions
    if seed is None:
        order = [lengths[i] for batch in batches for i in batch]
        assert order == sorted(order, reverse=True)


def test_seeds_shuffle_but_keep_similar_lengths_together() -> None:
    lengths = list(range(1000))
    one, two = (batches_by_length(lengths, 10, seed=seed) for seed in (1, 2))
    assert one != two
    spread = [max(batch) - min(batch) for batch in one]
    assert sum(spread) / len(spread) < 60  # about 800 in random batches


def test_the_order_of_batches_is_fixed_by_the_seed() -> None:
    """Training depends on it: the same seed must give the same batches in every version."""
    assert batches_by_length([5, 1, 4, 2, 3, 9], 2, seed=13) == [[0, 5], [4, 2], [1, 3]]


@pytest.mark.parametrize("counts", [[], [0], [3, 0, 9, 2, 2], [1] * 9, [4, 4]])
@pytest.mark.parametrize("max_count", [1, 2, 4, 100])
def test_parts_hold_every_element_once_in_order(counts: list[int], max_count: int) -> None:
    parts = split_by_count(counts, max_count)
    elements = [(i, k) for part in parts for i, which in part for k in range(counts[i])[which]]
    assert elements == [(i, k) for i, count in enumerate(counts) for k in range(count)]
    for part in parts:
        assert part and sum(which.stop - which.start for _, which in part) <= max_count
    items = [i for part in parts for i, _ in part]
    # Every item is in a part, and split no more often than necessary.
    assert all(items.count(i) == max(1, -(-n // max_count)) for i, n in enumerate(counts))
