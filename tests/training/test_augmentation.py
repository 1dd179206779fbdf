"""Which captions, types and images posts are shown with in training."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rukh.data.corpus import DataConfig
from rukh.records import Pair, Post, TextEntity, VisualObject
from rukh.training.augmentation import augment, text_decides


def post(number: int, *, visual: bool = False, image: bool = True, **meta: bool) -> Post:
    return Post(
        id=str(number),
        text="Ann in Rome",
        image=Path(f"{number}.png") if image else None,
        entities=(TextEntity(id="a", start=0, end=3), TextEntity(id="r", start=7, end=11)),
        objects=(VisualObject(id="o", box=(0, 0, 1, 1)),),
        pairs=(Pair(head="a", tail="o" if visual else "r", relation="x"),),
        meta=meta,
    )


def data(dropout: float = 0, swap: float = 0) -> DataConfig:
    return DataConfig(train=Path("x"), image_dropout=dropout, image_swap=swap)


POSTS = [post(i) for i in range(6)] + [
    post(6, visual=True), post(7, text_decides=False), post(8, image=False),
    post(9, image_fits=False),
]  # fmt: skip


def test_the_text_decides_if_the_data_says_so_or_between_entities() -> None:
    assert text_decides(post(0)) and not text_decides(post(0, visual=True))
    assert text_decides(post(0, visual=True, text_decides=True))
    assert not text_decides(post(0, text_decides=False))


@given(st.integers(0, 2**40), st.floats(0, 0.9), st.floats(0, 0.9))
def test_images_are_swapped_only_if_the_text_decides(
    seed: int, dropout: float, swap: float
) -> None:
    chosen = [1, 2, 3, 4, 6, 7, 8, 9]
    views = augment(POSTS, chosen, data(dropout, swap), seed)
    assert views == augment(POSTS, chosen, data(dropout, swap), seed)
    for i, view in zip(chosen, views, strict=True):
        if view.image is None:
            assert view.image_fits is None
        elif view.image == i:
            assert view.image_fits is (i != 9)
        else:
            assert text_decides(POSTS[i]) and view.image_fits is False and view.image in chosen
            assert POSTS[view.image].image is not None
    assert views[chosen.index(8)].image is None


def test_frequencies_are_those_of_the_configuration() -> None:
    posts = [post(i) for i in range(4000)]
    for i, view in enumerate(augment(posts, range(4000), data(), 0)):
        assert view == (True, True, i, True)
    views = augment(posts, range(4000), data(0.2, 0.5), 0)
    dropped = sum(view.image is None for view in views)
    swapped = sum(view.image not in (None, i) for i, view in enumerate(views))
    assert abs(dropped - 800) < 100 and abs(swapped - 1600) < 120
    config = DataConfig(train=Path("x"), caption_dropout=0.5, type_dropout=0.25)
    views = augment(posts, range(4000), config, 0)
    assert abs(sum(not view.caption for view in views) - 2000) < 120
    assert abs(sum(not view.types for view in views) - 1000) < 120
