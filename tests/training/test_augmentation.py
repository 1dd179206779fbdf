"""Which pictures posts are shown with in training."""

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


def test_the_text_decides_where_the_data_says_so_else_between_entities() -> None:
    assert text_decides(post(0)) and not text_decides(post(0, visual=True))
    assert text_decides(post(0, visual=True, text_decides=True))
    assert not text_decides(post(0, text_decides=False))


POSTS = [post(i) for i in range(6)] + [
    post(6, visual=True), post(7, text_decides=False), post(8, image=False),
    post(9, picture_fits=False),
]  # fmt: skip


def config(dropout: float, swap: float) -> DataConfig:
    return DataConfig(train=Path("x"), image_dropout=dropout, image_swap=swap)


@given(st.integers(0, 2**40), st.floats(0, 0.9), st.floats(0, 0.9))
def test_only_posts_whose_text_decides_are_shown_others_pictures(
    seed: int, dropout: float, swap: float
) -> None:
    chosen = [1, 2, 3, 4, 6, 7, 8, 9]
    found = augment(POSTS, chosen, config(dropout, swap), seed)
    assert found == augment(POSTS, chosen, config(dropout, swap), seed)
    for i, one in zip(chosen, found, strict=True):
        if one.picture is None:
            assert one.fits is None
        elif one.picture == i:
            assert one.fits is (i != 9)
        else:
            assert text_decides(POSTS[i]) and one.fits is False and one.picture in chosen
            assert POSTS[one.picture].image is not None
    assert found[chosen.index(8)].picture is None


def test_shares_are_as_asked_and_nothing_happens_by_default() -> None:
    posts = [post(i) for i in range(4000)]
    plain = augment(posts, range(4000), DataConfig(train=Path("x")), 0)
    assert all(
        one.picture == i and one.fits and one.caption and one.types for i, one in enumerate(plain)
    )
    found = augment(posts, range(4000), config(0.2, 0.5), 0)
    gone = sum(one.picture is None for one in found)
    other = sum(one.picture not in (None, i) for i, one in enumerate(found))
    assert abs(gone - 800) < 100 and abs(other - 1600) < 120
