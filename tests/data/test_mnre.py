"""MNRE's dict literals, and caption files."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import read, read_captions, write
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject

RECORD: dict[str, Any] = {
    "token": ["Ann", "of", "New", "York"],
    "h": {"name": "New York", "pos": [2, 4]},
    "t": {"name": "Ann", "pos": [0, 1]},
    "img_id": "a.jpg",
    "relation": "/loc/per/none_of_ours",
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
            pairs=(Pair(head="h", tail="t", relation="/loc/per/none_of_ours"),),
            tokens=((0, 3), (4, 6), (7, 10), (11, 15)),
        )
    ]


def test_pictures_and_captions_are_joined(file: Path) -> None:
    (post,) = read(file, "mnre", images=Path("pictures"), captions={"a.jpg": " Ann, smiling. "})
    assert post.image == Path("pictures/a.jpg")
    assert post.caption == "Ann, smiling."
    (post,) = read(file, "mnre", captions={"a.jpg": " ", "inf.png": "placeholder"})
    assert post.caption is None


def test_lines_are_written_as_they_were(file: Path, tmp_path: Path) -> None:
    write(read(file, "mnre"), tmp_path / "out.txt", "mnre")
    assert (tmp_path / "out.txt").read_text() == repr(RECORD) + "\n"


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


OBJECT = VisualObject(id="o", box=(0, 0, 1, 1))
ANN = TextEntity(id="a", start=0, end=3)
BOTH = (Pair(head="a", tail="o"),)


@pytest.mark.parametrize(
    ("post", "problem"),
    [
        (Post(id="p", text="Ann"), "post p: pairs: it asks for no pair"),
        (Post(id="p", text="Ann", pairs=()), "post p: pairs: it asks for no pair"),
        (
            Post(id="p", text="Ann", entities=(ANN,), objects=(OBJECT,), pairs=BOTH),
            "post p: objects: 'o' is a visual object",
        ),
        (
            Post(id="p", text="Ann", image=b"x", entities=(ANN,), objects=(OBJECT,), pairs=BOTH),
            "post p: image: the format names pictures by file",
        ),
        (
            Post(
                id="p",
                text="Ann  ",
                tokens=((3, 4),),
                entities=(ANN,),
                objects=(OBJECT,),
                pairs=BOTH,
            ),
            "post p: tokens: no token stands for 'a'",
        ),
    ],
)
def test_what_mnre_cannot_hold_is_refused(post: Post, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write([post], tmp_path / "out.txt", "mnre")
    assert str(caught.value).startswith(problem)
    assert not list(tmp_path.iterdir())


def test_caption_files(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(
        b"""{'img_id': 'a.jpg', 'text': "\\nAnn's dog "}\r\n"""
        b"""{"img_id": "b.jpg", "text": ""}\n\n{'img_id': 'inf.png', 'text': 'x'}"""
    )
    assert read_captions(path) == {"a.jpg": "Ann's dog", "b.jpg": "", "inf.png": "x"}


@pytest.mark.parametrize("line", ["{", "[1]", "{'img_id': 'a.jpg'}", "{'img_id': 1, 'text': ''}"])
def test_bad_caption_files(line: str, tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("{'img_id': 'a.jpg', 'text': ''}\n" + line)
    with pytest.raises(InputError, match=r"captions\.txt:2: not a"):
        read_captions(path)


def test_a_picture_has_one_caption(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    line = "{'img_id': 'a.jpg', 'text': '%s'}\n"
    path.write_text(line % "a dog" + line % " a dog")
    assert read_captions(path) == {"a.jpg": "a dog"}
    path.write_text(line % "a dog" + line % "a cat")
    with pytest.raises(InputError, match=r"captions\.txt:2: img_id: picture 'a.jpg' has another"):
        read_captions(path)


def test_missing_caption_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read: No such file"):
        read_captions(tmp_path / "nowhere")


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "val"])
def test_all_of_mnre_comes_back(split: str, rukh_data: Path, tmp_path: Path) -> None:
    source = rukh_data / "mnre" / f"{split}.txt"
    write(read(source, "mnre"), tmp_path / "ours.jsonl")
    write(read(tmp_path / "ours.jsonl"), tmp_path / "back.txt", "mnre")
    assert (tmp_path / "back.txt").read_text("utf-8").rstrip() == source.read_text("utf-8").rstrip()
