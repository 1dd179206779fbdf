"""The example posts are valid, and their images and boxes are those of the drawing code."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from rukh.records import Post, TextEntity
from rukh.schema.schema import RelationSchema

FOLDER = Path(__file__).parents[1] / "examples"
LINES = (FOLDER / "posts.jsonl").read_text(encoding="utf-8").splitlines()
POSTS = [Post.model_validate_json(line) for line in LINES]
RAW = [post for post in POSTS if not post.entities]
SCENES = sorted(path.stem for path in (FOLDER / "images").iterdir())


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    import draw

    return draw


def scene_of(post: Post) -> str:
    assert isinstance(post.image, Path)
    return post.image.stem


def test_the_posts_are_varied() -> None:
    assert len({post.id for post in POSTS}) == len(POSTS) >= 16
    relations = Counter(pair.relation for post in POSTS for pair in post.pairs or ())
    assert set(relations) == set(RelationSchema.load("mnre").labels)
    assert relations["None"] > max(n for name, n in relations.items() if name != "None")
    without_image = [post for post in POSTS if post.image is None]
    assert 3 <= len(without_image) <= len(POSTS) / 3
    labelled = [post for post in POSTS if post not in RAW]
    untyped = [post for post in labelled if all(entity.type is None for entity in post.entities)]
    assert len(labelled) / 3 <= len(untyped) <= len(labelled) * 2 / 3
    assert len(RAW) >= 4 and {post.image is None for post in RAW} == {True, False}


def test_pairs_are_of_every_kind() -> None:
    kinds: Counter[str] = Counter()
    for post in POSTS:
        for pair in post.pairs or ():
            head, tail = post.argument(pair.head), post.argument(pair.tail)
            if isinstance(head, TextEntity) and isinstance(tail, TextEntity):
                kinds["reversed" if head.start > tail.start else "in order"] += 1
            elif isinstance(head, TextEntity) or isinstance(tail, TextEntity):
                kinds["text and object"] += 1
            else:
                kinds["objects"] += 1
    assert kinds["reversed"] >= 5 and kinds["in order"] > kinds["reversed"]
    assert kinds["text and object"] >= 3 and kinds["objects"] >= 1


@pytest.mark.parametrize("post", POSTS, ids=lambda post: post.id)
def test_a_post_is_valid(post: Post) -> None:
    schema = RelationSchema.load("mnre")
    for entity in post.entities:
        # An entity starts and ends where a word does.
        surface = post.surface(entity.id)
        assert surface == surface.strip()
        before, after = post.text[: entity.start][-1:], post.text[entity.end :][:1]
        assert not before.isalnum() or not surface[0].isalnum()
        assert not after.isalnum() or not surface[-1].isalnum()
    if post in RAW:
        assert post.pairs is None and not post.objects
    for pair in post.pairs or ():
        head, tail = post.argument(pair.head), post.argument(pair.tail)
        assert schema.relation(str(pair.relation)).allows(head.type, tail.type)
    assert len({(pair.head, pair.tail) for pair in post.pairs or ()}) == len(post.pairs or ())


def test_lines_have_the_form_that_is_written() -> None:
    for line, post in zip(LINES, POSTS, strict=True):
        written = json.loads(post.model_dump_json(exclude_defaults=True))
        original = json.loads(line)
        for argument in (*original.get("entities", ()), *original.get("objects", ())):
            if argument["type"] is None:
                del argument["type"]
        assert written == original


def test_every_image_is_used_and_small() -> None:
    assert {scene_of(post) for post in POSTS if post.image is not None} == set(SCENES)
    sizes = [path.stat().st_size for path in (FOLDER / "images").iterdir()]
    assert max(sizes) < 40_000 and sum(sizes) < 700_000


def test_boxes_are_those_of_the_drawing(drawing: ModuleType) -> None:
    with_objects = [post for post in POSTS if post.objects]
    assert len(with_objects) >= 5
    for post in with_objects:
        drawn = drawing.draw(scene_of(post)).boxes
        assert {thing.label: list(thing.box) for thing in post.objects} == drawn


def test_a_box_covers_what_its_block_changes(drawing: ModuleType) -> None:
    canvas = drawing.Canvas("#000000")
    with canvas.mark("whole"):
        canvas.rect(48, 30, 96, 60, "#ffffff")
    with canvas.mark("half hidden", hidden=45):
        canvas.rect(240, 30, 240, 60, "#ffffff")
    assert canvas.boxes == {"whole": [0.1, 0.1, 0.3, 0.3], "half hidden": [0.5, 0.1, 1.0, 0.15]}


def test_images_are_those_of_the_drawing_code(drawing: ModuleType) -> None:
    assert set(drawing.SCENES) == set(SCENES)
    for name in SCENES:
        drawn = drawing.draw(name).finish().convert("RGB")
        with Image.open(FOLDER / "images" / f"{name}.png") as stored:
            difference = ImageChops.difference(drawn, stored.convert("RGB"))
        # Versions of Pillow smooth and quantize slightly differently.
        assert max(ImageStat.Stat(difference).mean) < 2, name
