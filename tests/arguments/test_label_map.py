"""Tests of the mapping of labels to entity types."""

from __future__ import annotations

from rukh.arguments.label_map import (
    LABELS,
    fit_type,
    normalize_label,
    normalize_types,
)
from rukh.records import Post


def test_labels() -> None:
    assert {normalize_label(label) for labels in LABELS.values() for label in labels} == {*LABELS}
    labels = ["Fac", "work_of_art", "money", "Date", "Drug"]
    assert [normalize_label(x) for x in labels] == ["LOC", "WORK", "NUM", "TIME", "Drug"]


def test_given_types_are_normalized_unless_the_schema_has_them() -> None:
    types = ["PERSON", "date", "CARDINAL", "Drug", None, "ORG"]
    entities = [{"id": str(i), "start": i, "end": i + 1, "type": t} for i, t in enumerate(types)]
    post = normalize_types(Post(id="1", text="abcdef", entities=entities), {"CARDINAL"})
    assert [e.type for e in post.entities] == ["PER", "TIME", "CARDINAL", "Drug", None, "ORG"]
    assert normalize_types(post, {"CARDINAL"}) is post


def test_types_fit_the_schema() -> None:
    tweets = {"PER", "ORG", "LOC", "MISC"}
    assert [fit_type(x, tweets) for x in ("EVENT", "TIME", "PER")] == ["MISC", None, "PER"]
    assert [fit_type(x, {"EVENT", "TIME"}) for x in ("EVENT", "WORK", "TIME")] == [
        "EVENT", "WORK", "TIME"
    ]  # fmt: skip
    entities = [{"id": "a", "start": 0, "end": 1, "type": "WORK_OF_ART"}]
    post = normalize_types(Post(id="1", text="ab", entities=entities), tweets)
    assert post.entities[0].type == "MISC"
