"""MNRE's dict literals."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read, write
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject

RECORD: dict[str, Any] = {
    "token": ["Ann", "of", "New", "York"],
    "h": {"name": "New York", "pos": [2, 4]},
    "t": {"name": "Ann", "pos": [0, 1]},
    "img_id": "a.jpg",
    "relation": "/loc/per/place_of_residence",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("\n" + repr(RECORD) + "\n", encoding="utf-8")
    return path


def test_a_line_becomes_a_post(file: Path) -> None:
    assert list(read(file, "mnre")) == [
        Post(
            id="train:2",
            text="Ann of New York",
            image=file.parent / "a.jpg",
            entities=(
                TextEntity(id="h", start=7, end=15),
                TextEntity(id="t", start=0, end=3),
            ),
            pairs=(Pair(head="h", tail="t", relation="/loc/per/place_of_residence"),),
            tokens=((0, 3), (4, 6), (7, 10), (11, 15)),
        )
    ]


def test_images_and_captions_are_joined(file: Path) -> None:
    (post,) = read(file, "mnre", images=Path("images"), captions={"a.jpg": " Ann, smiling. "})
    assert post.image == Path("images/a.jpg")
    assert post.caption == "Ann, smiling."
    (post,) = read(file, "mnre", captions={"a.jpg": " ", "inf.png": "placeholder"})
    assert post.caption is None


def test_posts_without_tokens_are_cut_at_entities(tmp_path: Path) -> None:
    post = Post(
        id="1",
        text="Ann-Lee met  Bob.",
        entities=(TextEntity(id="a", start=0, end=3), TextEntity(id="b", start=13, end=16)),
        pairs=(Pair(head="a", tail="b"), Pair(head="b", tail="a", relation="r")),
    )
    write([post], tmp_path / "out.txt", "mnre")
    lines = (tmp_path / "out.txt").read_text().splitlines()
    token = ["Ann", "-Lee", "met", "Bob", "."]
    ann, bob = {"name": "Ann", "pos": [0, 1]}, {"name": "Bob", "pos": [3, 4]}
    assert [ast.literal_eval(line) for line in lines] == [
        {"token": token, "h": ann, "t": bob},
        {"token": token, "h": bob, "t": ann, "relation": "r"},
    ]


ANN = TextEntity(id="a", start=0, end=3)
ANN_AND_OBJECT: dict[str, Any] = {
    "entities": (ANN,),
    "objects": (VisualObject(id="o", box=(0, 0, 1, 1)),),
    "pairs": (Pair(head="a", tail="o"),),
}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "pairs"),
        ({"pairs": ()}, "pairs"),
        (ANN_AND_OBJECT, "objects"),
        (ANN_AND_OBJECT | {"image": b"x"}, "image"),
        (ANN_AND_OBJECT | {"text": "Ann  ", "tokens": ((3, 4),)}, "tokens"),
    ],
)
def test_what_mnre_cannot_hold_is_refused(
    fields: dict[str, Any], field: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        write([Post(**{"id": "p", "text": "Ann", **fields})], tmp_path / "out.txt", "mnre")
    assert (caught.value.where, caught.value.field) == ("post p", field)
    assert not list(tmp_path.iterdir())


def test_all_of_mnre_is_read_and_written_again(rukh_data: Path, tmp_path: Path) -> None:
    source = rukh_data / "mnre" / "val.txt"
    write(read(source, "mnre"), tmp_path / "ours.jsonl")
    write(read(tmp_path / "ours.jsonl"), tmp_path / "back.txt", "mnre")
    assert (tmp_path / "back.txt").read_text("utf-8").rstrip() == source.read_text("utf-8").rstrip()
