"""Unknown fields: kept in ``meta``, unless they seem misspelt."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from helpers_data import errors_of
from rukh.data.items import to_posts
from rukh.data.readers import read
from rukh.errors import InputError
from rukh.records import MAX_META, Post

KEPT = {"author": "Ann", "date": "2024-05-01", "likes": 3, "image_id": 7, "text_id": 1}


def test_fields_of_the_user_are_kept_in_meta(tmp_path: Path) -> None:
    row = {"id": "1", "text": "Ann left", "image": "a.jpg"} | KEPT | {"meta": {"own": [1]}}
    (tmp_path / "in.jsonl").write_text(json.dumps(row))
    (post,) = read(tmp_path / "in.jsonl")
    assert post.meta == {"own": [1], **KEPT}
    day = datetime.date(2024, 5, 1)
    (from_python,) = to_posts([row | {"date": day, "none": float("nan")}])
    assert from_python.meta == {"own": [1], **KEPT, "none": "nan"}
    assert Post.model_validate_json(from_python.model_dump_json()) == from_python


@pytest.mark.parametrize(
    ("change", "field", "known"),
    [
        ({"entites": []}, "entites", "entities"),
        ({"Entities": []}, "Entities", "entities"),
        ({"entity": []}, "entity", "entities"),
        ({"pair": []}, "pair", "pairs"),
        ({"meta": 3, "author": "Ann"}, "meta", None),
        ({"meta": {"author": "Bob"}, "author": "Ann"}, "author", None),
        ({"author": "x" * MAX_META}, "meta", None),
    ],
)
def test_misspelt_and_impossible_fields(
    change: dict[str, Any], field: str, known: str | None, tmp_path: Path
) -> None:
    row = {"id": "1", "text": "Ann left"} | change
    (tmp_path / "in.jsonl").write_text(json.dumps(row))
    (error,) = errors_of(tmp_path / "in.jsonl")
    with pytest.raises(InputError) as caught:
        list(to_posts([row]))
    for one in (error, caught.value):
        assert one.field == field and (known is None or repr(known) in (one.fix or ""))
