"""FewRel's lists of sentences by relation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read, write
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject

TOLD: dict[str, list[dict[str, Any]]] = {
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


def put(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_an_instance_is_a_post_of_two_entities(tmp_path: Path) -> None:
    first, *_ = read(put(tmp_path / "val.json", TOLD), "fewrel")
    mentions = {"id": "Q2", "mentions": [[2, 3], [5]]}
    assert first == Post(
        id="val:P26[0]",
        text="Ann wed Bob Roy , Bob",
        entities=(
            TextEntity(id="h", start=0, end=3, meta={"id": "Q1", "name": "ann"}),
            TextEntity(id="t", start=8, end=15, meta=mentions),
        ),
        pairs=(Pair(head="h", tail="t", relation="P26"),),
        tokens=((0, 3), (4, 7), (8, 11), (12, 15), (16, 17), (18, 21)),
    )


def test_what_is_read_is_written_again(tmp_path: Path) -> None:
    posts = list(read(put(tmp_path / "in.json", TOLD), "fewrel"))
    assert [post.pairs[0].relation for post in posts if post.pairs] == ["P26", "P26", "P 40[1]"]
    write(posts, tmp_path / "ours.jsonl")
    write(read(tmp_path / "ours.jsonl"), tmp_path / "out.json", "fewrel")
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == TOLD
    write(reversed(posts), tmp_path / "turned.json", "fewrel")
    turned = json.loads((tmp_path / "turned.json").read_text("utf-8"))
    assert {name: rows[::-1] for name, rows in turned.items()} == TOLD


def test_posts_of_other_formats_are_written(tmp_path: Path) -> None:
    entities = (TextEntity(id="a", start=0, end=3), TextEntity(id="b", start=4, end=8))
    pairs = (Pair(head="a", tail="b", relation="r"), Pair(head="b", tail="a", relation="s"))
    write([Post(id="1", text="Ann-Roma", entities=entities, pairs=pairs)], tmp_path / "o", "fewrel")
    ann, rome = ["Ann", None, [[0]]], ["Roma", None, [[2]]]
    words = ["Ann", "-", "Roma"]
    assert json.loads((tmp_path / "o").read_text("utf-8")) == {
        "r": [{"tokens": words, "h": ann, "t": rome}],
        "s": [{"tokens": words, "h": rome, "t": ann}],
    }


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    box = VisualObject(id="o", box=(0, 0, 1, 1))
    ann = TextEntity(id="a", start=0, end=3)
    post = Post(id="1", text="Ann", entities=(ann,), objects=(box,))
    for pairs, why in [
        (None, "pairs: it asks for no pair"),
        ((Pair(head="a", tail="o"),), r"pairs\[0\].relation: it has no relation"),
        ((Pair(head="a", tail="o", relation="r"),), "objects: 'o' is a visual object"),
    ]:
        with pytest.raises(InputError, match=f"post 1: {why}"):
            write([post.model_copy(update={"pairs": pairs})], tmp_path / "out", "fewrel")
    assert not (tmp_path / "out").exists()
