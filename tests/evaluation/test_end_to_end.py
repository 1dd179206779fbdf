"""The end-to-end evaluation: entities, triples, and posts in which nothing holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import schema_of
from rukh.errors import InputError
from rukh.evaluation.end_to_end import (
    Fact,
    evaluate_end_to_end,
    gold_facts,
    make_fact,
    match_counts,
    triple_figures,
)
from rukh.extractor import Extractor
from rukh.records import Pair, Post, TextEntity

A, B, C = (0, 3), (10, 14), (20, 24)


def test_facts_that_state_the_same_are_equal() -> None:
    schema = schema_of()
    assert make_fact(B, "near", A, schema) == make_fact(A, "near", B, schema)
    assert make_fact(A, "works_at", B, schema) == make_fact(B, "employs", A, schema)
    assert make_fact(A, "lives_in", B, schema) != make_fact(B, "lives_in", A, schema)
    pairs = [("a", "near", "b"), ("b", "near", "a"), ("a", "none", "b"), ("a", None, "b")]
    post = Post(
        id="p",
        text="Ann and Bob",
        entities=[{"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 8, "end": 11}],
        pairs=[Pair(head=h, tail=t, relation=r) for h, r, t in pairs],
    )
    assert gold_facts(post, schema) == [Fact((0, 3), "near", (8, 11))]


def test_each_gold_fact_is_matched_once() -> None:
    gold = [[Fact(A, "r", B)], []]
    predicted = [
        [Fact(A, "r", B, 0.9), Fact(A, "r", (9, 12), 0.95), Fact(A, "s", B, 0.5)],
        [Fact(A, "r", C)],
    ]
    assert match_counts(gold, predicted).tolist() == [[1, 3, 1], [0, 1, 0]]
    assert match_counts(gold, predicted, relaxed=True).tolist() == [[1, 3, 1], [0, 1, 0]]
    predicted[0].pop(0)
    assert match_counts(gold, predicted).tolist()[0] == [0, 2, 1]
    assert match_counts(gold, predicted, relaxed=True).tolist()[0] == [1, 2, 1]


def test_figures_of_triples() -> None:
    gold = [[Fact(A, "r", B), Fact(B, "s", C)], [], []]
    predicted = [[Fact(A, "r", B, 0.8), Fact(B, "r", C, 0.4)], [Fact(A, "r", B, 0.6)], []]
    figures = triple_figures(gold, predicted, 0.5)
    strict = figures["strict"]
    assert (strict["precision"], strict["recall"], strict["f1"]) == (0.5, 0.5, 0.5)
    assert strict["f1_ci"][0] <= 0.5 <= strict["f1_ci"][1]
    assert figures["relaxed"] == strict  # no spans overlap without being equal
    overlapping = triple_figures([[Fact(A, "r", B)]], [[Fact(A, "r", (9, 12))]], 0.5)
    assert (overlapping["strict"]["f1"], overlapping["relaxed"]["f1"]) == (0, 1)
    assert figures["silent_answered"] == 0.5
    by_name = {row["relation"]: row["f1"] for row in figures["per_relation"]}
    assert by_name == {"r": pytest.approx(2 / 3), "s": 0}
    curve = {round(point["threshold"], 2): point["predicted"] for point in figures["curve"]}
    assert (curve[0.05], curve[0.5], curve[0.7], curve[0.85]) == (3, 2, 1, 0)
    assert triple_figures([[Fact(A, "r", B)]], [[]], 0.5)["silent_answered"] is None


class GoldTagger:
    """Detects every word that starts with a capital, as PER."""

    def detect_entities(self, texts: list[str]) -> list[list[TextEntity]]:
        return [
            [
                TextEntity(id=f"e{i}", start=text.index(word), end=text.index(word) + len(word),
                           type="PER")
                for i, word in enumerate(w for w in text.split() if w[0].isupper())
            ]
            for text in texts
        ]  # fmt: skip

    def assign_types(self, posts: list[Post]) -> list[Post]:
        return posts


def test_evaluate_end_to_end(tiny_model: Callable[..., Any]) -> None:
    posts = [
        Post(
            id="1",
            text="Ann sees Bob",
            entities=[
                {"id": "a", "start": 0, "end": 3, "type": "PER"},
                {"id": "b", "start": 9, "end": 12, "type": "ORG"},
            ],
            pairs=[Pair(head="b", tail="a", relation="near")],
        ),
        Post(id="2", text="Cleo lives", entities=[{"id": "c", "start": 0, "end": 4}], pairs=[]),
    ]
    extractor = Extractor(tiny_model(), tagger=GoldTagger(), threshold=0.0)
    figures, predictions = evaluate_end_to_end(extractor, posts)
    assert (figures["posts"], figures["silent_posts"], figures["gold_triples"]) == (2, 1, 1)
    assert figures["entities"]["span"]["f1"] == 1
    assert figures["entities"]["typed"]["f1"] == pytest.approx(1 / 3)
    assert figures["given"]["strict"]["predicted"] == figures["raw"]["strict"]["predicted"] == 1
    assert figures["given"]["silent_answered"] == 0  # a single entity has no pair
    assert extractor.threshold == 0.0
    first, second = predictions.rows(0.0)
    assert first["gold"][0]["head"] == {"text": "Ann", "start": 0, "end": 3}
    assert len(first["raw"]) == 1 and second["gold"] == second["raw"] == []
    assert not next(predictions.rows(1.01))["given"]


def test_invalid_posts(tiny_model: Callable[..., Any]) -> None:
    extractor = Extractor(tiny_model())
    with pytest.raises(InputError, match="no posts"):
        evaluate_end_to_end(extractor, [])
    post = Post(id="x", text="", image=b"x", objects=[{"id": "o", "box": (0, 0, 1, 1)}])
    with pytest.raises(InputError, match="'x'"):
        evaluate_end_to_end(extractor, [post])
    unlabelled = Post(id="y", text="Ann", entities=[{"id": "a", "start": 0, "end": 3}])
    with pytest.raises(InputError, match="lists a relation"):
        evaluate_end_to_end(extractor, [unlabelled])
