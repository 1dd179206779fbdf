"""OpenNRE's JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from rukh.data.readers import read, write
from rukh.records import Pair, Post, TextEntity


def test_types_ids_and_names_are_kept(tmp_path: Path) -> None:
    record = {
        "token": ["Ann", "in", " ", "Rome"],
        "h": {"name": "ann", "id": "Q1", "pos": [0, 1], "type": "PER"},
        "t": {"name": "Rome", "pos": [3, 4], "type": "UNK"},
        "relation": "residence",
    }
    path = tmp_path / "dev.jsonl"
    path.write_text(json.dumps(record))
    assert list(read(path, "opennre")) == [
        Post(
            id="dev:1",
            text="Ann in   Rome",
            entities=(
                TextEntity(id="h", start=0, end=3, type="PER", meta={"name": "ann", "id": "Q1"}),
                TextEntity(id="t", start=9, end=13, meta={"type": "UNK"}),
            ),
            pairs=(Pair(head="h", tail="t", relation="residence"),),
            tokens=((0, 3), (4, 6), (7, 8), (9, 13)),
        )
    ]


def test_a_type_assigned_later_is_written(tmp_path: Path) -> None:
    entity = TextEntity(id="t", start=4, end=8, type="LOC", meta={"type": "UNK"})
    post = Post(
        id="1",
        text="Ann Rome",
        entities=(TextEntity(id="h", start=0, end=3), entity),
        pairs=(Pair(head="h", tail="t"),),
    )
    write([post], tmp_path / "out.jsonl", "opennre")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "text": "Ann Rome",
        "h": {"name": "Ann", "pos": [0, 3]},
        "t": {"name": "Rome", "pos": [4, 8], "type": "LOC"},
    }
