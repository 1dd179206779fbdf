"""The few-shot study: what is drawn, and that examples help where they decide."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from research.few_shot.study import draw, figures, prepare, study

from rukh.records import Pair, Post, TextEntity
from rukh.schema.schema import RelationSchema

SCHEMA = RelationSchema.parse(
    {
        "name": "s",
        "nota": "none",
        "relations": [
            {"name": "none"},
            {"name": "a", "descriptions": ["The head sees the tail."]},
            {"name": "b", "descriptions": ["The head hears the tail."]},
            {"name": "c", "descriptions": ["The head smells the tail."]},
        ],
    }
)
WORDS = {"a": "dances with", "b": "paints", "none": "is not"}


def make_posts() -> list[Post]:
    posts = []
    for number in range(30):
        label = ("a", "b", "none")[number % 3]
        text = f"Person{number} {WORDS[label]} Town{number}"
        end = len(f"Person{number}")
        entities = [
            TextEntity(id="h", start=0, end=end),
            TextEntity(id="t", start=text.index("Town"), end=len(text)),
        ]
        pairs = [Pair(head="h", tail="t", relation=label)]
        posts.append(Post(id=str(number), text=text, entities=entities, pairs=pairs))
    return posts


def test_examples_are_drawn_per_relation() -> None:
    data = prepare(make_posts(), SCHEMA, relations=2, tests=5)
    assert data.schema.names == ("a", "b") and len(data.test) == 5
    assert not {post.id for post in data.train} & {post.id for post in data.test}
    drawn = draw(data, 1, seed=0)
    labels = Counter(pair.relation for post in drawn for pair in post.pairs or ())
    assert labels["a"] == labels["b"] == 1 and 1 <= labels["none"] <= 4


def test_figures_at_thresholds() -> None:
    probabilities = torch.tensor([[0.1, 0.9, 0.0], [0.6, 0.0, 0.4], [0.2, 0.8, 0.0]])
    found = figures(probabilities, torch.tensor([1, 2, 0]), 0.5)
    assert found["f1"] == pytest.approx(0.5)  # one right of two answers, two to find
    assert found["best_f1"] == pytest.approx(0.8)


def test_examples_help() -> None:
    data = prepare(make_posts(), SCHEMA, relations=2, tests=9)
    before, after = study("open", data, [4], [1])
    assert after["best_f1"] > before["best_f1"]
