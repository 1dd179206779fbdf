"""Tests of the mapping of a schema's own types to detected ones."""

from __future__ import annotations

from rukh.arguments.label_map import LABELS, WORDS
from rukh.arguments.type_mapping import add_detected_types, detected_type
from rukh.schema.schema import RelationSchema


def test_a_schemas_own_types_are_mapped_to_detected_ones() -> None:
    def nearest(words: str) -> str | None:
        return "athlete" if words == "sprinter" else None

    names = ["person", "GPE", "Cities", "FOOTBALL_CLUB", "musicalArtist", "sprinter", "qwzt"]
    types = ["PER", "LOC", "LOC", "ORG", "PER", "PER", None]
    assert [detected_type(name, name, nearest) for name in names] == types
    assert {*WORDS} <= {*LABELS}
    words = [word for some in WORDS.values() for word in some.split()]
    assert len(words) == len(set(words))  # no word stands for two types

    relations = [
        {"name": "runs for", "head": ["sprinter", "PER"], "tail": ["qwzt"], "descriptions": ["x"]}
    ]
    schema = RelationSchema.parse({"name": "s", "relations": relations})
    widened, mapping = add_detected_types(schema, nearest)
    assert mapping == {"sprinter": "PER", "qwzt": None}
    assert widened.relation("runs for").head == ("sprinter", "PER")
    assert widened.relation("runs for").tail == ("qwzt",)
    known = RelationSchema.load("mnre")
    assert add_detected_types(known, nearest) == (known, {})
