"""A violated constraint of a record names the field and the value."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rukh.data.triples import to_dataframe
from rukh.errors import MissingDependency
from rukh.records import (
    MAX_TEXT,
    EntityMention,
    ObjectMention,
    Post,
    Triple,
    as_input_error,
)

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
        ({"text": None}, ["text", "null"]),
        ({"text": "x" * (MAX_TEXT + 1)}, ["text", f"at most {MAX_TEXT}", "xxx"]),
        ({"text": "Ann \ud83d"}, ["text", "surrogate", "character 4", r"\ud83d"]),
        ({"image": Path("\ud83d.png")}, ["image", "surrogate", "character 0"]),
        ({"meta": {"k": ["\ud83d"]}}, ["meta", "surrogate"]),
        ({"meta": {"k": float("nan")}}, ["meta", "nan"]),
        ({"id": ""}, ["id", "not ''"]),
        ({"id": True}, ["id", "not true"]),
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


def test_a_table_of_triples() -> None:
    pytest.importorskip("pandas")
    ann = EntityMention(id="a", text="Ann", start=0, end=3, type="PER")
    hat = ObjectMention(id="o", box=(0.1, 0.2, 0.5, 0.9), label="hat")
    triples = [
        Triple(post_id="1", head=ann, tail=hat, relation="holds", score=0.5, gate=0.25),
        Triple(post_id="2", head=hat, tail=ann, relation=None, score=0.75, ranking=()),
    ]
    table = to_dataframe(iter(triples))
    first = ["post_id", "head", "head_type", "relation", "tail", "tail_type", "score"]
    assert list(table.columns[:7]) == first
    assert table[["head", "tail"]].to_numpy().tolist() == [["Ann", "hat"], ["hat", "Ann"]]
    assert table.head_type[0] == "PER" and table.isna().tail_type[0]
    assert table.score.tolist() == [0.5, 0.75] and table.gate[0] == 0.25
    assert table.head_end[0] == 3 and str(table.head_end.dtype) == "Int64"
    assert table.tail_box[0] == [0.1, 0.2, 0.5, 0.9] and table.isna().relation[1]
    # The columns and the numbers are the same for any triples, also for none.
    for some in (to_dataframe(triples[:1]), to_dataframe([])):
        assert list(some.columns) == list(table.columns)
        assert some[["score", "gate", "tail_end"]].dtypes.tolist() == (
            table[["score", "gate", "tail_end"]].dtypes.tolist()
        )


def test_a_table_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rukh\[pandas\]'"):
        to_dataframe([])
