"""Small data and a small configuration for the studies that train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rukh.data.readers import write
from rukh.records import Pair, Post

PEOPLE, PLACES = ("Ann", "Bob", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")
VERBS = ("lives in", "sees", "leaves", "paints", "is of", "none")
"""The words between a person and a place, which are also the name of their relation."""


def make_posts(count: int, offset: int = 0) -> list[Post]:
    """Posts with one labelled pair each, of each relation in turn."""
    posts = []
    for i in range(offset, offset + count):
        verb, head, tail = VERBS[i % len(VERBS)], PEOPLE[i % 5], PLACES[i % 4]
        start = len(head) + len(verb) + 2
        entities = (
            {"id": "h", "start": 0, "end": len(head), "type": "PER"},
            {"id": "t", "start": start, "end": start + len(tail)},
        )
        pairs = (Pair(head="h", tail="t", relation=verb),)
        text = f"{head} {verb} {tail} {i}"
        posts.append(Post(id=str(i), text=text, entities=entities, pairs=pairs))
    return posts


def write_training_files(folder: Path, text_encoder: str, count: int, **more: Any) -> Path:
    """Write ``schema.yaml``, ``train.jsonl`` and ``base.yaml``, and return the last one's path."""
    relations = [{"name": v, "descriptions": [f"the head {v} the tail"]} for v in VERBS[:-1]]
    schema = {"name": "verbs", "nota": "none", "relations": [{"name": "none"}, *relations]}
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema))
    write(make_posts(count), folder / "train.jsonl")
    base = {
        "task": "relations",
        "data": {"train": str(folder / "train.jsonl"), "format": "jsonl", "dev_fraction": 0.3},
        "schema": str(folder / "schema.yaml"),
        "tagger": None,
        "pair": {"text_encoder": text_encoder, "vision_encoder": None, "dim": 32,
                 "fusion_heads": 4, "trainable_layers": 1, "residual": True},
        "training": {"epochs": 1, "batch_size": 8},
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(base | more))
    return folder / "base.yaml"
