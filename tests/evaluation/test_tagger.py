"""Metrics of a tagger whose mistakes are known, and of the shipped one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rukh.errors import InputError
from rukh.evaluation.tagger import Example, evaluate_tagger, span_f1, typing_accuracy
from rukh.records import Post, TextEntity
from rukh.utils.files import read_json


def at(*places: tuple[int, int, str]) -> list[TextEntity]:
    return [TextEntity(id=f"e{i}", start=a, end=b, type=t) for i, (a, b, t) in enumerate(places)]


class PersonTagger:
    """Detects the first three letters of each text, and assigns the type PER to everything."""

    def detect_entities(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        return [at((0, 3, "PER")) for _ in texts]

    def assign_types(self, posts: Sequence[Post]) -> list[Post]:
        assert all(entity.type is None for post in posts for entity in post.entities)
        entities = [tuple(e.model_copy(update={"type": "PER"}) for e in p.entities) for p in posts]
        return [
            post.model_copy(update={"entities": typed})
            for post, typed in zip(posts, entities, strict=True)
        ]


EXAMPLES: list[Example] = [
    ("Ann in Rome", at((0, 3, "PER"), (7, 11, "LOC"))),
    ("Rome", at((0, 4, "LOC"))),
    ("it rains", []),
]


def test_span_f1() -> None:
    gold = [at((0, 1, "A"), (2, 3, "B")), at()]
    predicted = [at((0, 1, "A"), (2, 3, "A")), at((0, 1, "A"))]
    assert span_f1(gold, predicted) == pytest.approx(2 * 1 / (2 + 3))
    assert span_f1(gold, gold) == 1 and span_f1([[]], [[]]) == 0


def test_all_metrics() -> None:
    assert evaluate_tagger(PersonTagger(), EXAMPLES) == {
        "sentences": 3,
        "entities": 3,
        "span_precision": 1 / 3,
        "span_recall": 1 / 3,
        "span_f1": 2 * 1 / (3 + 3),
        "types": {"LOC": 0.0, "PER": 2 * 1 / (1 + 3)},
        "typing_accuracy": 1 / 3,
    }
    assert typing_accuracy(PersonTagger(), [("it rains", [])]) == 0
    with pytest.raises(InputError):
        evaluate_tagger(PersonTagger(), [("it rains", [])])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tagger", "tweet-tagger"])
def test_a_shipped_tagger_is_as_good_as_its_card_says(rukh_data: Path, name: str) -> None:
    from rukh.arguments.label_map import normalize_label
    from rukh.arguments.tagger import load_tagger
    from rukh.data.conll import read_tagged
    from rukh.hub import model_folder

    file = rukh_data / "twitter_ner" / "twitter2017_valid.txt"
    result = evaluate_tagger(load_tagger(name), list(read_tagged(file, normalize_label)))
    card = read_json(model_folder(name) / "config.json")["metrics"]
    assert result["span_f1"] == pytest.approx(card["test_span_f1"], abs=0.005)
    assert result["span_f1"] > 0.80 and result["typing_accuracy"] > 0.90
