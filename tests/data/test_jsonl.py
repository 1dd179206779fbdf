"""rukh's own JSON lines, and the JSON Schema that describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers_data import errors_of
from rukh.data.jsonl import json_schema
from rukh.data.readers import read, write
from rukh.errors import InputError
from rukh.records import Post

POST: dict[str, Any] = {
    "id": "1",
    "text": "Ann met Bob",
    "entities": [{"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 8, "end": 11}],
    "objects": [{"id": "o", "box": [0, 0.5, 1, 1]}],
    "pairs": [{"head": "a", "tail": "o", "relation": None}],
    "tokens": [[0, 3], [4, 7], [8, 11]],
    "meta": {"any": [1, {"thing": None}]},
}


def put(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_images_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = tmp_path / "images" / "b.jpg"
    images = ["a.jpg", "../images/b.jpg", str(absolute)]
    source = put(Path("posts/in.jsonl"), *({"id": i, "text": "", "image": i} for i in images))
    posts = list(read(source))
    assert [post.image for post in posts] == [
        Path("posts/a.jpg"),
        Path("posts/../images/b.jpg"),
        absolute,
    ]
    write(posts, Path("other/deep/out.jsonl"))
    written = lines(Path("other/deep/out.jsonl"))
    assert [record["image"] for record in written] == [
        "../../posts/a.jpg",
        "../../images/b.jpg",
        "../../images/b.jpg",
    ]
    monkeypatch.chdir("/")
    back = list(read(tmp_path / "other/deep/out.jsonl"))
    assert [post.image.resolve() for post in back if isinstance(post.image, Path)] == [
        tmp_path / "posts/a.jpg",
        absolute,
        absolute,
    ]


def test_paths_are_right_behind_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "real")
    image = tmp_path / "image.jpg"
    image.write_bytes(b"x")
    write([Post(id="1", text="", image=image)], tmp_path / "link" / "out.jsonl")
    (post,) = read(tmp_path / "a" / "real" / "out.jsonl")
    assert isinstance(post.image, Path) and post.image.samefile(image)


def test_images_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.jsonl"
    post = Post(id="1", text="", image=b"P6 1 1 255 abc")
    write([post], path)
    assert list(read(path)) == [post]
    monkeypatch.setattr("rukh.utils.parsing.IMAGE_LIMIT", 13)
    (error,) = errors_of(path)
    assert error.field == "image"
    with pytest.raises(InputError) as caught:
        write([post], path)
    assert (caught.value.where, caught.value.field) == ("post 1", "image")


def test_a_number_as_id_becomes_its_digits(tmp_path: Path) -> None:
    source = put(tmp_path / "in.jsonl", {"id": 17, "text": ""}, {"id": -2, "text": ""})
    assert [post.id for post in read(source)] == ["17", "-2"]


def test_captions_are_added(tmp_path: Path) -> None:
    source = put(
        tmp_path / "in.jsonl",
        {"id": "1", "text": "", "image": "x/a.jpg"},
        {"id": "2", "text": "", "image": "x/a.jpg", "caption": "its own"},
        {"id": "3", "text": "", "image": "x/b.jpg"},
        {"id": "4", "text": ""},
    )
    captions = {"a.jpg": "by name", "x/b.jpg": "by path"}
    found = [post.caption for post in read(source, captions=captions)]
    assert found == ["by name", "its own", "by path", None]


def test_the_json_schema_accepts_what_the_reader_accepts(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    path = tmp_path / "in.jsonl"
    changes: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"image": "a.jpg"}, True),
        ({"image": {"base64": "AAEC"}}, True),
        ({"image": None, "caption": None, "pairs": None, "tokens": None}, True),
        ({"image": ""}, False),
        ({"image": 5}, False),
        ({"image": {"path": "a.jpg"}}, False),
        ({"id": 7}, True),
        ({"id": ""}, False),
        ({"id": 7.5}, False),
        ({"id": True}, False),
        ({"text": None}, False),
        ({"unknown": 1}, True),
        ({"entities": [{"id": "a", "start": "0", "end": 3}]}, False),
        ({"objects": [{"id": "o", "box": [0, 0, 1]}]}, False),
        ({"pairs": [{"head": "a"}]}, False),
        ({"tokens": [[0, 1, 2]]}, False),
        ({"meta": []}, False),
    ]
    for change, valid in changes:
        put(path, POST | change)
        assert validator.is_valid(POST | change) == valid, change
        assert (not errors_of(path)) == valid, change
    write(read(put(path, POST, POST | {"image": "a.jpg"})), tmp_path / "out")
    assert [validator.is_valid(record) for record in lines(tmp_path / "out")] == [True, True]
