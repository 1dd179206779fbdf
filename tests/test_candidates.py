"""Which pairs are asked."""

from __future__ import annotations

import pytest

from rukh.candidates import both_orders, candidate_pairs
from rukh.errors import InputError
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema


def crowd(count: int, **more: object) -> Post:
    entities = [{"id": f"e{i}", "start": i, "end": i + 1, "type": "PER"} for i in range(count)]
    return Post(id="crowd", text="x" * count, entities=entities, **more)


def test_named_pairs_are_asked_as_they_stand(tiny_schema: RelationSchema) -> None:
    pairs = [("e1", "e0"), ("e0", "e1"), ("e1", "e0")]
    post = crowd(3, pairs=[{"head": h, "tail": t} for h, t in pairs])
    assert candidate_pairs(post, tiny_schema) == pairs
    assert candidate_pairs(crowd(3, pairs=()), tiny_schema) == []


def test_types_decide_where_none_are_named(posts: list[Post], tiny_schema: RelationSchema) -> None:
    narrow = tiny_schema.model_copy(update={"relations": tiny_schema.relations[2:]})
    assert candidate_pairs(posts[0], narrow) == [("a", "org"), ("a", "r"), ("org", "a")]
    assert len(candidate_pairs(posts[0], tiny_schema)) == 6  # near takes every type
    assert len(candidate_pairs(posts[0], None)) == 6
    # An unknown type may stand anywhere.
    o1, o2 = "o1", "o2"
    assert candidate_pairs(posts[3], tiny_schema) == [(o1, o2), (o2, o1)]


def test_too_many_pairs(tiny_schema: RelationSchema) -> None:
    assert len(candidate_pairs(crowd(256), tiny_schema)) == 256 * 255
    with pytest.raises(InputError, match=r"post 'crowd': pairs: 257 arguments make 65792 pairs"):
        candidate_pairs(crowd(257), tiny_schema)


def test_both_orders() -> None:
    assert both_orders([Pair(head="a", tail="b"), Pair(head="c", tail="a")]) == [
        ("a", "b"), ("b", "a"), ("c", "a"), ("a", "c"),
    ]  # fmt: skip
