"""Tests of the mapping of labels to entity types."""

from __future__ import annotations

from rukh.arguments.label_map import LABELS, argument_type, normalize_label, normalize_types
from rukh.records import Post


def test_labels() -> None:
    assert {normalize_label(label) for labels in LABELS.values() for label in labels} == {*LABELS}
    labels = ["Fac", "work_of_art", "money", "Date", "Drug"]
    assert [normalize_label(x) for x in labels] == ["LOC", "MISC", "NUM", "TIME", "Drug"]
    assert [argument_type(x) for x in labels] == ["LOC", "MISC", None, None, "Drug"]


def test_given_types_are_normalized_unless_the_schema_has_them() -> None:
    types = ["PERSON", "date", "CARDINAL", "Drug", None, "ORG"]
    entities = [{"id": str(i), "start": i, "end": i + 1, "type": t} for i, t in enumerate(types)]
    post = normalize_types(Post(id="1", text="abcdef", entities=entities), {"CARDINAL"})
    assert [e.type for e in post.entities] == ["PER", "TIME", "CARDINAL", "Drug", None, "ORG"]
    assert normalize_types(post, {"CARDINAL"}) is post
