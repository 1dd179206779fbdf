"""Descriptions are strings that remember who wrote them, in and out of a file."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rukh.errors import InputError
from rukh.schema.descriptions import Description, bare, written
from rukh.schema.schema import RelationSchema

DRAFT = {"text": "The head is by the tail.", "status": "draft", "author": "m", "date": "2026-01-02"}


def schema(*descriptions: Any) -> RelationSchema:
    data = {"name": "s", "relations": [{"name": "near", "descriptions": list(descriptions)}]}
    return RelationSchema.parse(data, "s.yaml")


def test_a_description_is_its_text_to_whoever_reads_it() -> None:
    plain, draft = schema("Near.", DRAFT).relation("near").descriptions
    assert (plain, draft) == ("Near.", DRAFT["text"])
    assert (plain.status, plain.author, plain.date) == (None, None, None)
    assert (draft.status, draft.author, draft.date) == ("draft", "m", date(2026, 1, 2))
    again = pickle.loads(pickle.dumps(draft))
    assert (again, again.status) == (draft, "draft")


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    made = schema("Near.", DRAFT, {"text": "By.", "status": "verified"}, {"text": "Close."})
    data = made.model_dump(mode="json", exclude_defaults=True)
    told = ["Near.", DRAFT, {"text": "By.", "status": "verified"}, "Close."]
    assert data["relations"][0]["descriptions"] == told
    path = tmp_path / "s.yaml"
    path.write_text(made.to_yaml(), encoding="utf-8")
    assert RelationSchema.load(path).model_dump() == made.model_dump()
    # An unquoted date is a date to YAML.
    path.write_text(made.to_yaml().replace("'2026-01-02'", "2026-01-02"), encoding="utf-8")
    assert RelationSchema.load(path).model_dump() == made.model_dump()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (3, ["descriptions[0]", "valid string, not 3"]),
        (None, ["descriptions[0]", "valid string"]),
        (["x"], ["descriptions[0]", "valid string"]),
        ({"status": "draft"}, ["descriptions[0].text", "required"]),
        (DRAFT | {"status": "drft"}, ["descriptions[0].status", "'drft'"]),
        (DRAFT | {"who": "me"}, ["descriptions[0].who"]),
        (DRAFT | {"date": "yesterday"}, ["descriptions[0].date"]),
        (DRAFT | {"text": " "}, ["description 0", "'near'", "empty"]),
        ("half \ud800", ["descriptions[0]", "surrogate"]),
    ],
)
def test_a_bad_one_names_what_and_where(bad: Any, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        schema(bad)
    for words in ["s.yaml", *said]:
        assert words in str(caught.value)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
    st.sampled_from([None, "draft", "verified"]),
    st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    st.none() | st.dates(),
)
def test_any_description_survives_a_file(
    text: str, status: Any, author: str | None, day: date | None
) -> None:
    made = schema(written(Description(text, status=status, author=author, date=day)))
    again = RelationSchema.parse(yaml.safe_load(made.to_yaml()))
    (one,) = again.relations[0].descriptions
    assert (one, one.status, one.author, one.date) == (text, status, author, day)


def test_a_schema_may_be_read_before_it_is_described(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nrelations: [{name: near}]\n")
    assert RelationSchema.load(path, undescribed=True).relation("near").descriptions == ()
    with pytest.raises(InputError, match="'near' has no description"):
        RelationSchema.load(path)


def test_texts_are_the_same_by_their_words() -> None:
    assert bare("The head, the tail!") == bare("the  HEAD the tail")
    assert bare("The head is the tail") != bare("The tail is the head")
