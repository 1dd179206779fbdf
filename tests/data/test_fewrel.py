"""FewRel's lists of sentences by relation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity

DOCUMENT: dict[str, list[dict[str, Any]]] = {
    "P26": [
        {
            "tokens": ["Ann", "wed", "Bob", "Roy", ",", "Bob"],
            "h": ["ann", "Q1", [[0]]],
            "t": ["Bob Roy", "Q2", [[2, 3], [5]]],
        },
        {"tokens": ["A", "", "B"], "h": ["B", "Q3", [[2]]], "t": ["A", None, [[0]]], "x": [1]},
    ],
    "P 40[1]": [{"tokens": ["A", "-", "B"], "h": ["A - B", "Q3", [[0, 2]]], "t": ["B", "", [[2]]]}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "val.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return path


def test_a_sentence_is_a_post_of_two_entities(file: Path) -> None:
    first, *others = read(file, "fewrel")
    tail = {"name": "Bob Roy", "id": "Q2", "mentions": [[2, 3], [5]]}
    assert first == Post(
        id="val:P26[0]",
        text="Ann wed Bob Roy , Bob",
        entities=(
            TextEntity(id="h", start=0, end=3, meta={"name": "ann", "id": "Q1", "mentions": [[0]]}),
            TextEntity(id="t", start=8, end=15, meta=tail),
        ),
        pairs=(Pair(head="h", tail="t", relation="P26"),),
        tokens=((0, 3), (4, 7), (8, 11), (12, 15), (16, 17), (18, 21)),
    )
    assert [post.pairs[0].relation for post in others if post.pairs] == ["P26", "P 40[1]"]
    assert [post.surface("h") for post in others] == ["B", "A - B"] and others[0].meta == {"x": [1]}


def test_relations_must_be_lists(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"P26": {}}')
    with pytest.raises(InputError) as caught:
        list(read(tmp_path / "in.json", "fewrel"))
    assert caught.value.field == "P26"
