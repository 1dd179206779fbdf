"""Tests of descriptions with a status, an author and a date, in and out of a file."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rukh.errors import InputError
from rukh.schema.descriptions import Description, normalize_text, to_plain
from rukh.schema.schema import RelationSchema

DRAFT = {"text": "The head is by the tail.", "status": "draft", "author": "m", "date": "2026-01-02"}


def schema(*descriptions: Any) -> RelationSchema:
    data = {"name": "s", "relations": [{"name": "near", "descriptions": list(descriptions)}]}
    return RelationSchema.parse(data, "s.yaml")


def test_description_is_a_string_with_attributes() -> None:
    plain, draft = schema("Near.", DRAFT).relation("near").descriptions
    assert (plain, draft) == ("Near.", DRAFT["text"])
    assert (plain.status, plain.author, plain.date) == (None, None, None)
    assert (draft.status, draft.author, draft.date) == ("draft", "m", date(2026, 1, 2))
    loaded = pickle.loads(pickle.dumps(draft))
    assert (loaded, loaded.status) == (draft, "draft")


def test_round_trip(tmp_path: Path) -> None:
    made = schema("Near.", DRAFT, {"text": "By.", "status": "verified"}, {"text": "Close."})
    data = made.model_dump(mode="json", exclude_defaults=True)
    expected = ["Near.", DRAFT, {"text": "By.", "status": "verified"}, "Close."]
    assert data["relations"][0]["descriptions"] == expected
    path = tmp_path / "s.yaml"
    # YAML reads an unquoted date as a date.
    for text in (made.to_yaml(), made.to_yaml().replace("'2026-01-02'", "2026-01-02")):
        path.write_text(text, encoding="utf-8")
        assert RelationSchema.load(path).model_dump() == made.model_dump()


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (3, ""),
        (None, ""),
        (["x"], ""),
        ({"status": "draft"}, ".text"),
        (DRAFT | {"status": "drft"}, ".status"),
        (DRAFT | {"who": "me"}, ".who"),
        (DRAFT | {"date": "yesterday"}, ".date"),
        ("half \ud800", ""),
    ],
)
def test_malformed_description(bad: Any, field: str) -> None:
    with pytest.raises(InputError) as caught:
        schema(bad)
    assert caught.value.where == "s.yaml"
    assert caught.value.field == f"relations[0].descriptions[0]{field}"


# PyYAML reads U+0085 as an ordinary line break.
TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\x85")


@settings(max_examples=30)
@given(
    st.text(TEXT, min_size=1).filter(str.strip),
    st.sampled_from([None, "draft", "verified"]),
    st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    st.none() | st.dates(),
)
def test_any_description_survives_yaml(
    text: str, status: Any, author: str | None, day: date | None
) -> None:
    made = schema(to_plain(Description(text, status=status, author=author, date=day)))
    (one,) = RelationSchema.parse(yaml.safe_load(made.to_yaml())).relations[0].descriptions
    assert (one, one.status, one.author, one.date) == (text, status, author, day)


def test_descriptions_may_be_optional(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nrelations: [{name: near}]\n")
    loaded = RelationSchema.load(path, require_descriptions=False)
    assert loaded.relation("near").descriptions == ()
    with pytest.raises(InputError, match="'near'"):
        RelationSchema.load(path)


def test_normalize_text() -> None:
    assert normalize_text("The head, the tail!") == normalize_text("the  HEAD the tail")
    assert normalize_text("The head is the tail") != normalize_text("The tail is the head")
