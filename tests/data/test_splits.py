"""A fold shares no picture and no sentence with what is trained on."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.data.splits import parts, split_fold
from rukh.records import Post


@given(
    st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)), max_size=40),
    st.floats(0.05, 0.45),
)
@settings(max_examples=60, deadline=None)
def test_a_fold_shares_nothing_with_the_rest(
    kinds: list[tuple[int, int | None]], share: float
) -> None:
    posts = [
        Post(id="p", text=f"t{text}", image=None if image is None else Path(f"{image}.png"))
        for text, image in kinds
    ]
    train, fold = split_fold(posts, share)
    assert sorted(train + fold) == list(range(len(posts)))
    assert (train, fold) == split_fold(posts, share)
    assert len(fold) >= share * len(posts)
    for side in ("text", "image"):
        seen = {getattr(posts[i], side) for i in train} - {None}
        assert not seen & {getattr(posts[i], side) for i in fold}


def test_chains_are_not_parted_and_the_fold_is_no_larger_than_it_must() -> None:
    """a-b share a text, b-c a picture, c-d a text: a and d belong together."""
    chain = [("x", "1"), ("x", "2"), ("y", "2"), ("y", None)]
    posts = [Post(id="c", text=t, image=None if i is None else Path(i)) for t, i in chain]
    posts += [Post(id="s", text=f"alone {i}") for i in range(96)]
    for seed in range(30):
        _, fold = split_fold(posts, 0.1, seed)
        assert len({i in fold for i in range(4)}) == 1
        assert 10 <= len(fold) <= 13


@given(
    st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 12)), max_size=40),
    st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_parts_share_nothing(kinds: list[tuple[int, int | None]], count: int) -> None:
    posts = [
        Post(id="p", text=f"t{text}", image=None if image is None else Path(f"{image}.png"))
        for text, image in kinds
    ]
    part = parts(posts, count)
    assert part == parts(posts, count) and set(part) <= set(range(count))
    for side in ("text", "image"):
        places: dict[object, set[int]] = {}
        for post, number in zip(posts, part, strict=True):
            if getattr(post, side) is not None:
                places.setdefault(getattr(post, side), set()).add(number)
        assert all(len(numbers) == 1 for numbers in places.values())
