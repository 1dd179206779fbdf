"""A violated constraint of a record names the field and the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rukh.records import MAX_TEXT, Post, as_input_error

ANN = {"id": "a", "start": 0, "end": 3, "type": "PER"}
ROME = {"id": "r", "start": 7, "end": 11, "type": "LOC"}
FACE = {"id": "o", "box": [0.1, 0.2, 0.5, 0.9]}


def post(**fields: Any) -> Post:
    return Post(**{"id": "1", "text": "Ann in Rome", **fields})


def message_of(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        post(**fields)
    return str(as_input_error(caught.value, "posts.jsonl:3"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"entities": [ANN, {**ROME, "end": 12}]}, ["entities[1]", "'r'", "12", "11"]),
        ({"entities": [{**ANN, "end": 0}]}, ["entities[0].end", "not 0"]),
        ({"entities": [{**ANN, "start": 3}]}, ["entities[0]", "'a'", "start 3, end 3"]),
        ({"entities": [{**ANN, "start": -1}]}, ["entities[0].start", "not -1"]),
        ({"entities": [{**ANN, "start": 0.0}]}, ["entities[0].start", "not 0.0"]),
        ({"entities": [{**ANN, "end": "3"}]}, ["entities[0].end", "not '3'"]),
        ({"entities": [{**ANN, "start": 3, "end": 4}]}, ["entities[0]", "white space", "[3, 4)"]),
        ({"entities": [{**ANN, "tipe": "PER"}]}, ["entities[0].tipe", "no such field"]),
        ({"entities": [{**ANN, "type": ""}]}, ["entities[0].type", "not ''"]),
        ({"entities": [ANN, {**ROME, "id": "a"}]}, ["'a'"]),
        ({"entities": [ANN], "objects": [{**FACE, "id": "a"}]}, ["'a'"]),
        ({"objects": [{**FACE, "box": [0, 0, 320, 240]}]}, ["objects[0]", "320"]),
        ({"objects": [{**FACE, "box": [0.5, 0, 0.5, 1]}]}, ["objects[0]", "[0.5, 0.0, 0.5, 1.0]"]),
        ({"objects": [{**FACE, "box": [0, 0, float("nan"), 1]}]}, ["objects[0].box[2]", "nan"]),
        ({"objects": [{**FACE, "box": [0, 0, 1]}]}, ["objects[0].box[3]", "a value is needed"]),
        (
            {"pairs": [{"head": "a", "tail": "x"}], "entities": [ANN]},
            ["pairs[0].tail", "'x'", "'a'"],
        ),
        (
            {"pairs": [{"head": "x", "tail": "a"}], "entities": [ANN]},
            ["pairs[0].head", "'x'", "'a'"],
        ),
        ({"pairs": [{"head": "a", "tail": "a"}], "entities": [ANN]}, ["pairs[0]", "'a'"]),
        ({"tokens": [[0, 3], [7, 12]]}, ["tokens[1]", "[7, 12)", "11"]),
        ({"tokens": [[4, 3]]}, ["tokens[0]", "[4, 3)"]),
        ({"text": None}, ["text", "None"]),
        ({"text": "x" * (MAX_TEXT + 1)}, ["text", f"at most {MAX_TEXT}", "xxx"]),
        ({"text": "Ann \ud83d"}, ["text", "surrogate", "character 4", r"\ud83d"]),
        ({"image": Path("\ud83d.png")}, ["image", "surrogate", "character 0"]),
        ({"meta": {"k": ["\ud83d"]}}, ["meta", "surrogate"]),
        ({"meta": {"k": float("nan")}}, ["meta", "nan"]),
        ({"id": ""}, ["id", "not ''"]),
        ({"id": 5}, ["id", "not 5"]),
    ],
)
def test_a_violated_constraint_names_field_and_value(
    fields: dict[str, Any], expected: list[str]
) -> None:
    message = message_of(**fields)
    assert message.startswith("posts.jsonl:3: ")
    assert "\n" not in message and len(message) < 400
    for words in expected:
        assert words in message


def test_several_problems_are_counted() -> None:
    assert "(and 1 more)" in message_of(entities=[{**ANN, "start": -1, "end": 0}])


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        post().text = "other"


def test_nested_overlapping_and_equal_spans_are_accepted() -> None:
    spans = [(0, 11), (0, 3), (2, 9), (7, 11), (7, 11)]
    entities = [{"id": str(i), "start": a, "end": b} for i, (a, b) in enumerate(spans)]
    made = post(entities=entities)
    assert [made.surface(str(i)) for i in range(5)] == [
        "Ann in Rome",
        "Ann",
        "n in Ro",
        "Rome",
        "Rome",
    ]


def test_offsets_count_characters_in_emoji_and_right_to_left_text() -> None:
    text = "👩‍👩‍👧 يوم جميل في القاهرة with Zoë 🇪🇬"
    for words in ("القاهرة", "Zoë", "👩‍👩‍👧", "🇪🇬"):
        start = text.index(words)
        entity = {"id": "e", "start": start, "end": start + len(words)}
        assert post(text=text, entities=[entity]).surface("e") == words


def test_pairs_keep_their_order_and_duplicates() -> None:
    ids = [("r", "a"), ("a", "r"), ("a", "r")]
    made = post(entities=[ANN, ROME], pairs=[{"head": h, "tail": t} for h, t in ids])
    assert [(pair.head, pair.tail) for pair in made.pairs or ()] == ids
    assert post().pairs is None and post(pairs=[]).pairs == ()


def test_surface_of_an_object_is_label_type_or_id() -> None:
    objects = [FACE, {**FACE, "id": "p", "type": "PER"}, {**FACE, "id": "q", "label": "singer"}]
    named = post(objects=objects)
    assert [named.surface(name) for name in "opq"] == ["o", "PER", "singer"]
    with pytest.raises(KeyError):
        named.surface("z")
