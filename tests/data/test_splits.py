"""A dev set shares no image and no text with the training set."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.data.splits import group_ids, split_dev
from rukh.records import Post

ITEMS = st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)), max_size=30)


def as_posts(items: list[tuple[int, int | None]]) -> list[Post]:
    return [
        Post(id="p", text=f"t{text}", image=None if image is None else Path(f"{image}.png"))
        for text, image in items
    ]


@settings(max_examples=40, deadline=None)
@given(ITEMS)
def test_groups_are_the_connected_items(items: list[tuple[int, int | None]]) -> None:
    ids = group_ids([text for text, _ in items], [image for _, image in items])
    expected = list(range(len(items)))  # merge the groups of any two that share, until none do
    for _ in items:
        for i, (text, image) in enumerate(items):
            for j, (other, second) in enumerate(items[:i]):
                if text == other or (image is not None and image == second):
                    lower, upper = sorted((expected[i], expected[j]))
                    expected = [lower if group == upper else group for group in expected]
    order = {group: number for number, group in enumerate(dict.fromkeys(expected))}
    assert ids == [order[group] for group in expected]


def test_a_chain_stays_together_and_the_dev_set_is_no_larger_than_needed() -> None:
    chain = [(0, 1), (0, 2), (1, 2), (1, None)]
    posts = as_posts([*chain, *((i, None) for i in range(2, 98))])
    for seed in range(20):
        train, dev = split_dev(posts, 0.1, seed)
        assert sorted(train + dev) == list(range(len(posts)))
        assert len({i in dev for i in range(4)}) == 1
        assert 10 <= len(dev) <= 13


def test_the_split_is_the_one_of_the_shipped_models() -> None:
    """Their dev figures depend on it: it must not change with the code."""
    posts = as_posts([(i // 2, None) for i in range(20)])
    assert split_dev(posts, 0.2)[1] == [2, 3, 8, 9]
