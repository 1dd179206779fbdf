"""FewRel's lists of sentences by relation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read, write
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject

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


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_a_sentence_is_a_post_of_two_entities(file: Path) -> None:
    first, *_ = read(file, "fewrel")
    mentions: dict[str, Any] = {"id": "Q2", "mentions": [[2, 3], [5]]}
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


def test_sentences_are_written_by_relation(file: Path, tmp_path: Path) -> None:
    posts = list(read(file, "fewrel"))
    assert [post.pairs[0].relation for post in posts if post.pairs] == ["P26", "P26", "P 40[1]"]
    write(posts, tmp_path / "out.json", "fewrel")
    assert load(tmp_path / "out.json") == DOCUMENT
    write(reversed(posts), tmp_path / "reversed.json", "fewrel")
    assert {r: s[::-1] for r, s in load(tmp_path / "reversed.json").items()} == DOCUMENT


def test_posts_of_other_formats_are_written(tmp_path: Path) -> None:
    entities = (TextEntity(id="a", start=0, end=3), TextEntity(id="b", start=4, end=8))
    pairs = (Pair(head="a", tail="b", relation="r"), Pair(head="b", tail="a", relation="s"))
    write([Post(id="1", text="Ann-Roma", entities=entities, pairs=pairs)], tmp_path / "o", "fewrel")
    ann, rome, tokens = ["Ann", None, [[0]]], ["Roma", None, [[2]]], ["Ann", "-", "Roma"]
    assert load(tmp_path / "o") == {
        "r": [{"tokens": tokens, "h": ann, "t": rome}],
        "s": [{"tokens": tokens, "h": rome, "t": ann}],
    }


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        (None, "pairs"),
        ((Pair(head="a", tail="o"),), "pairs[0].relation"),
        ((Pair(head="a", tail="o", relation="r"),), "objects"),
    ],
)
def test_what_it_cannot_hold_is_refused(
    pairs: tuple[Pair, ...] | None, field: str, tmp_path: Path
) -> None:
    ann, box = TextEntity(id="a", start=0, end=3), VisualObject(id="o", box=(0, 0, 1, 1))
    post = Post(id="1", text="Ann", entities=(ann,), objects=(box,), pairs=pairs)
    with pytest.raises(InputError) as caught:
        write([post], tmp_path / "out", "fewrel")
    assert (caught.value.where, caught.value.field) == ("post 1", field)
    assert not (tmp_path / "out").exists()


def test_relations_must_be_lists(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"P26": {}}')
    with pytest.raises(InputError) as caught:
        list(read(tmp_path / "in.json", "fewrel"))
    assert caught.value.field == "P26"
