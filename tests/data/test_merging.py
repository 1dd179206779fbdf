"""Posts of one pair each are merged into posts of many pairs."""

from __future__ import annotations

from typing import Any

import pytest

from rukh.data.merging import merge_posts
from rukh.records import Pair, Post, TextEntity, VisualObject


def post(name: str, head: tuple[int, int], tail: tuple[int, int], **more: Any) -> Post:
    fields: dict[str, Any] = {
        "id": name,
        "text": "Ann met Bob and Cid",
        "entities": (
            TextEntity(id="h", start=head[0], end=head[1]),
            TextEntity(id="t", start=tail[0], end=tail[1]),
        ),
        "pairs": (Pair(head="h", tail="t", relation=name),),
    }
    return Post(**(fields | more))


ANN, BOB, CID = (0, 3), (8, 11), (16, 19)


def pairs(post: Post) -> list[tuple[str, str, str | None, object]]:
    return [
        (post.surface(pair.head), post.surface(pair.tail), pair.relation, pair.meta["source"])
        for pair in post.pairs or ()
    ]


def test_posts_of_one_text_are_merged() -> None:
    posts = [
        post("1", ANN, BOB),
        post("2", ANN, BOB, text="Ann met Bob and Dan"),
        post("3", CID, ANN),
        post("4", ANN, BOB),
    ]
    first, second = merge_posts(posts)
    assert (first.id, [entity.id for entity in first.entities]) == ("1", ["e0", "e1", "e2"])
    assert pairs(first) == [
        ("Ann", "Bob", "1", "1"),
        ("Cid", "Ann", "3", "3"),
        ("Ann", "Bob", "4", "4"),
    ]
    assert second.id == "2" and [e.id for e in second.entities] == ["h", "t"]
    assert pairs(second) == [("Ann", "Bob", "2", "2")]


def test_types_boxes_images_and_captions_are_not_merged() -> None:
    typed = TextEntity(id="h", start=0, end=3, type="PER"), TextEntity(id="t", start=8, end=11)
    left = VisualObject(id="t", box=(0, 0, 0.5, 1))
    right = VisualObject(id="t", box=(0.5, 0, 1, 1))
    head = (TextEntity(id="h", start=0, end=3),)
    (merged,) = merge_posts(
        [
            post("1", ANN, BOB, entities=typed),
            post("2", ANN, BOB),
            post("3", ANN, BOB, entities=head, objects=(left,)),
            post("4", ANN, BOB, entities=head, objects=(right,)),
            post("5", ANN, BOB, entities=head, objects=(left,)),
        ]
    )
    assert [(e.id, e.type) for e in merged.entities] == [("e0", "PER"), ("e1", None), ("e2", None)]
    assert [(o.id, o.box[0]) for o in merged.objects] == [("o0", 0), ("o1", 0.5)]
    assert [(pair.head, pair.tail) for pair in merged.pairs or ()] == [
        ("e0", "e1"),
        ("e2", "e1"),
        ("e2", "o0"),
        ("e2", "o1"),
        ("e2", "o0"),
    ]
    others = [post("1", ANN, BOB), post("2", ANN, BOB, image="a"), post("3", ANN, BOB, caption="c")]
    assert len(merge_posts(others)) == 3


def test_two_arguments_of_one_post_are_not_merged() -> None:
    (merged,) = merge_posts([post("1", ANN, ANN), post("2", ANN, BOB)])
    assert [(pair.head, pair.tail) for pair in merged.pairs or ()] == [("e0", "e1"), ("e0", "e2")]


def test_posts_without_a_list_of_pairs_are_not_merged() -> None:
    posts = [post("1", ANN, BOB, pairs=None), post("2", ANN, BOB, pairs=None)]
    assert merge_posts(posts) == posts


def test_a_group_is_split_at_the_limits_of_a_post(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rukh.data.merging.MAX_PAIRS", 2)
    groups = merge_posts(post(str(n), ANN, BOB) for n in range(5))
    assert [len(group.pairs or ()) for group in groups] == [2, 2, 1]
    monkeypatch.setattr("rukh.data.merging.MAX_ARGUMENTS", 3)
    assert len(merge_posts(post(str(n), ANN, BOB) for n in range(5))) == 5
