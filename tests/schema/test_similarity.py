"""Similarity of relations."""

from __future__ import annotations

import numpy as np
import pytest

from rukh.schema.schema import RelationSchema
from rukh.schema.similarity import embed_schema

VECTORS = {
    "north": (0.0, 1.0, 0.0),
    "also north": (0.1, 0.99, 0.0),
    "east": (1.0, 0.0, 0.0),
    "up": (0.0, 0.0, 1.0),
    "alone": (0.6, 0.0, 0.8),
}
SPECIAL = "/<b>/$x_1^2$&"


def embed(texts: list[str]) -> list[tuple[float, ...]]:
    return [VECTORS[text] for text in texts]


def schema(n2_head: str = "A") -> RelationSchema:
    relations = [
        {"name": "n", "descriptions": ["north"], "head": ["A"]},
        {"name": "n2", "descriptions": ["also north", "up"], "head": [n2_head]},
        {"name": SPECIAL, "descriptions": ["east"], "head": ["B"]},
        {"name": "alone", "head": ["C"]},
        {"name": "none"},
    ]
    return RelationSchema.parse(
        {"name": "<i>", "nota": "none", "relations": relations}, require_descriptions=False
    )


def test_nearest_relations() -> None:
    table = embed_schema(schema(), embed)
    assert [relation.name for relation in table.relations] == ["n", "n2", SPECIAL, "alone"]
    # A relation without descriptions is represented by the words of its label.
    assert table.texts[-1] == "alone" and table.owner.tolist() == [0, 1, 1, 2, 3]
    assert np.linalg.norm(table.centroids, axis=1) == pytest.approx(1)
    first, *others = table.nearest(0, 3)
    assert (first.name, first.texts) == ("n2", ("north", "also north"))
    assert first.closest == pytest.approx(0.99) and first.cosine < first.closest
    assert {other.cosine for other in others} == {0.0}
    # A relation with the same types comes before one with a higher cosine.
    assert embed_schema(schema("B"), embed).nearest(2, 1)[0].name == "n2"
