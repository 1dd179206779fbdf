"""Measuring a tagger: by a made-up one whose mistakes are known, and by the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rukh.cli.study import app
from rukh.errors import InputError
from rukh.evaluation.tagger import Example, evaluate_tagger, span_f1, typing_accuracy
from rukh.records import Post, TextEntity
from rukh.utils.files import read_json


def at(*places: tuple[int, int, str]) -> list[TextEntity]:
    return [TextEntity(id=f"e{i}", start=a, end=b, type=t) for i, (a, b, t) in enumerate(places)]


class Stubborn:
    """Finds the first three letters of a text, and calls everything a person."""

    def find(self, texts: Sequence[str]) -> list[list[TextEntity]]:
        return [at((0, 3, "PER")) for _ in texts]

    def type_posts(self, posts: Sequence[Post]) -> list[Post]:
        assert all(entity.type is None for post in posts for entity in post.entities)
        return [
            post.model_copy(
                update={
                    "entities": tuple(e.model_copy(update={"type": "PER"}) for e in post.entities)
                }
            )
            for post in posts
        ]


EXAMPLES: list[Example] = [
    ("Ann in Rome", at((0, 3, "PER"), (7, 11, "LOC"))),
    ("Rome", at((0, 4, "LOC"))),
    ("it rains", []),
]


def test_span_f1() -> None:
    gold = [at((0, 1, "A"), (2, 3, "B")), at()]
    found = [at((0, 1, "A"), (2, 3, "A")), at((0, 1, "A"))]
    assert span_f1(gold, found) == pytest.approx(2 * 1 / (2 + 3))
    assert span_f1(gold, gold) == 1 and span_f1([[]], [[]]) == 0


def test_all_figures() -> None:
    assert evaluate_tagger(Stubborn(), EXAMPLES) == {
        "sentences": 3,
        "entities": 3,
        "span_precision": 1 / 3,
        "span_recall": 1 / 3,
        "span_f1": 2 * 1 / (3 + 3),
        "types": {"LOC": 0.0, "PER": 2 * 1 / (1 + 3)},
        "typing_accuracy": 1 / 3,
    }
    assert typing_accuracy(Stubborn(), [("it rains", [])]) == 0
    with pytest.raises(InputError, match="no entity"):
        evaluate_tagger(Stubborn(), [("it rains", [])])


def test_the_command_measures_the_shipped_tagger(tmp_path: Path) -> None:
    words = [("Ann", "B-PER"), ("Lee", "I-PER"), ("moved", "O"), ("to", "O"), ("Rome", "B-LOC")]
    (tmp_path / "tagged.txt").write_text("\n".join(f"{word}\t{label}" for word, label in words))
    out = tmp_path / "figures.json"
    told = CliRunner().invoke(
        app, ["tagger", "--data", str(tmp_path / "tagged.txt"), "--json", str(out)]
    )
    assert told.exit_code == 0, told.exception
    assert told.stdout.startswith("2 entities of 1 sentences\nspan F1         100.0 (precision")
    figures = read_json(out)
    assert (figures["tagger"], figures["span_f1"], figures["typing_accuracy"]) == ("tagger", 1, 1)


def test_the_shipped_tagger_is_as_good_as_its_card_says(rukh_data: Path) -> None:
    from rukh.arguments.tagger import load_tagger
    from rukh.data.conll import gold_spans, read_tagged
    from rukh.hub import model_folder

    file = rukh_data / "twitter_ner" / "twitter2017_valid.txt"
    told = evaluate_tagger(load_tagger("tagger"), [gold_spans(one) for one in read_tagged(file)])
    card = read_json(model_folder("tagger") / "config.json")["figures"]
    assert told["span_f1"] == pytest.approx(card["test_span_f1"], abs=0.005)
    assert told["typing_accuracy"] == pytest.approx(card["test_typing_accuracy"], abs=0.005)
    assert told["span_f1"] > 0.80 and told["typing_accuracy"] > 0.90
