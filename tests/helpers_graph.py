"""Triples for the tests of graphs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from rukh.records import Triple
from rukh.schema.schema import RelationSchema

NAMES = {
    "PER": ["Ann Lee", "Dr. Ann Lee", "A. Lee", "Lee", "Bo Marsh", "@annalee", "Jordan"],
    "LOC": ["Rome", "#rome", "New York", "#NewYork", "Jordan"],
    "ORG": ["Acme Foods", "Acme Foods Ltd.", "World Maritime Office", "WMO", "Rome"],
}
SCHEMA = RelationSchema.parse(
    {
        "name": "small",
        "nota": "none",
        "relations": [
            {"name": "none"},
            {"name": "born in", "descriptions": "The head was born in the tail.",
             "functional": True, "same_as": ["P19"]},
            {"name": "married to", "descriptions": "The two are married.", "symmetric": True},
            {"name": "parent of", "descriptions": "The head is a parent.", "inverse": "child of"},
            {"name": "child of", "descriptions": "The head is a child."},
            {"name": "birthplace of", "descriptions": "The tail was born in the head."},
            {"name": "also known as", "descriptions": "Two names.", "alias": True,
             "symmetric": True},
        ],
    }
)  # fmt: skip


def mention(text: str, type_: str | None = None, start: int = 0) -> dict[str, Any]:
    end = start + len(text)
    return {"id": f"e{start}", "text": text, "start": start, "end": end, "type": type_}


def triple(
    head: str,
    relation: str | None,
    tail: str,
    post: str = "1",
    score: float = 0.9,
    types: tuple[str | None, str | None] = ("PER", "LOC"),
    **fields: Any,
) -> Triple:
    """A triple of a post in which the tail stands 50 characters after the head."""
    return Triple(
        post_id=post,
        head=mention(head, types[0]),
        tail=mention(tail, types[1], 50),
        relation=relation,
        score=score,
        **fields,
    )


def married(head: str, tail: str, post: str = "1", score: float = 0.9) -> Triple:
    return triple(head, "married to", tail, post, score, ("PER", "PER"))


mentions = st.sampled_from([(name, type_) for type_, names in NAMES.items() for name in names])


@st.composite
def triples(draw: st.DrawFn) -> Triple:
    (head, head_type), (tail, tail_type) = draw(mentions), draw(mentions)
    return triple(
        head,
        draw(st.sampled_from([*SCHEMA.names, "visited"])),
        tail,
        post=draw(st.sampled_from(["1", "2", "3"])),
        score=draw(st.sampled_from([0.5, 0.8, 0.95])),
        types=(head_type, tail_type),
        time=draw(st.sampled_from([None, "2026-11-01"])),
    )
