"""A small schema with known vectors, for tests of similarity and of the map."""

from __future__ import annotations

from rukh.schema.schema import RelationSchema

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
