"""Training the tagger: from CoNLL files to a folder that detects the same entities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rukh.arguments.token_tagger import TokenTagger
from rukh.data.conll import tagged_text
from rukh.errors import InputError
from rukh.evaluation.tagger import span_f1
from rukh.records import TextEntity
from rukh.training.tagger_task import TaggerConfig, TaggerTask, train_tagger


def sentences(count: int) -> str:
    people, places = ("Ann", "Bob Lee", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")
    blocks = []
    for i in range(count):
        first, *rest = people[i % 5].split()
        lines = [f"{first}\tB-PER", *(f"{name}\tI-PER" for name in rest), "lives\tO", "in\tO"]
        blocks.append("\n".join([*lines, f"{places[i % 4]}\tB-LOC", f"{i}\tO"]))
    return "\n\n".join(blocks) + "\n"


def config(tmp_path: Path, text_encoder: str, **changes: Any) -> TaggerConfig:
    training = {"epochs": 8, "batch_size": 4, "learning_rate": 5e-3, "head_learning_rate": 1e-2}
    data = {"task": "tagger", "train": [{"path": tmp_path / "train.txt"}], "types": ["PER", "LOC"],
            "text_encoder": text_encoder, "lora_rank": 4, "training": training}  # fmt: skip
    return TaggerConfig.model_validate(data | changes)


@pytest.mark.parametrize("rank", [0, 4])
def test_the_saved_tagger_gives_the_reported_scores(
    tmp_path: Path, tiny_text: str, rank: int
) -> None:
    (tmp_path / "train.txt").write_text(sentences(40))
    (tmp_path / "test.txt").write_text(sentences(8))
    changed = config(tmp_path, tiny_text, test=[{"path": tmp_path / "test.txt"}], lora_rank=rank)
    metrics = train_tagger(changed, tmp_path / "tagger")
    assert metrics["dev_span_f1"] > 0.5
    tagger = TokenTagger.from_pretrained(tmp_path / "tagger")
    assert json.loads((tmp_path / "tagger/config.json").read_text())["metrics"] == metrics
    assert "test_span_f1" in (tmp_path / "tagger/README.md").read_text()
    task = TaggerTask(changed)  # the eight sentences of the test are not trained on
    (dev,), (test,) = task.dev, task.test
    assert len(dev) + len(task.items) == 32 and len(test) == 8
    predicted = tagger.detect_entities([text for text, _ in test])
    assert span_f1([entities for _, entities in test], predicted) == pytest.approx(
        metrics["test_span_f1"], abs=0.13
    )


def test_training_goes_on_from_a_tagger(tmp_path: Path, tiny_text: str) -> None:
    (tmp_path / "train.txt").write_text(sentences(40))
    train_tagger(config(tmp_path, tiny_text), tmp_path / "tagger")
    task = TaggerTask(config(tmp_path, tiny_text, start_from=str(tmp_path / "tagger")))
    task.model.eval()
    saved = TokenTagger.from_pretrained(tmp_path / "tagger")
    texts = [text for text, _ in task.dev[0]]
    assert task.model.detect_entities(texts) == saved.detect_entities(texts)
    with pytest.raises(InputError, match=r"types \['PER', 'LOC'\], not \['PER', 'LOC', 'ORG'\]"):
        changes = {"start_from": str(tmp_path / "tagger"), "types": ["PER", "LOC", "ORG"]}
        TaggerTask(config(tmp_path, tiny_text, **changes))


def test_labels_are_assigned_to_the_tokens_of_their_words(tmp_path: Path, tiny_text: str) -> None:
    (tmp_path / "train.txt").write_text(sentences(12))
    task = TaggerTask(config(tmp_path, tiny_text))
    text, entities = tagged_text(["Zed", "Lee", "x"], ["B-PER", "I-PER", "O"])
    ids, cases, labels, _ = task._item(text, 0, entities)
    assert ids == task.model.encoder.tokenize(text).ids and len(ids) == 7  # z ##e ##d l ##e ##e x
    assert cases == [2, 1, 1, 2, 1, 1, 1]
    names = [task.model.labels[k] for k in labels]
    assert names == ["B-PER", "I-PER", "I-PER", "I-PER", "I-PER", "I-PER", "O"]


def test_invalid_input(tmp_path: Path, tiny_text: str) -> None:
    file = tmp_path / "train.txt"
    file.write_text(sentences(9))
    with pytest.raises(InputError, match=r"train\.txt: 9 "):
        TaggerTask(config(tmp_path, tiny_text))
    file.write_text(sentences(20).replace("B-LOC", "B-LOK"))
    with pytest.raises(InputError, match=r"train\.txt: .*'LOK'.*'LOC'"):
        TaggerTask(config(tmp_path, tiny_text))
    file.write_text("\u200b\tO\n\n" + sentences(11))
    task = TaggerTask(config(tmp_path, tiny_text))
    assert len(task.dev[0]) + len(task.items) == 11  # the sentence without a token is left out


def test_a_corpus_is_not_punished_for_what_it_does_not_label(
    tmp_path: Path, tiny_text: str
) -> None:
    (tmp_path / "train.txt").write_text(sentences(20).replace("LOC", "MISC"))
    corpus = {"path": tmp_path / "train.txt", "covers": {"MISC": ["LOC"]}, "unlabelled": ["TIME"]}
    types = ["PER", "LOC", "MISC", "TIME"]
    task = TaggerTask(config(tmp_path, tiny_text, train=[corpus], types=types))
    item, labels = task.items[0], task.model.labels

    def loss(by_gold: dict[str, str]) -> float:
        """The loss of a model that is certain of these labels, given the gold ones."""
        chosen = [labels.index(by_gold[labels[k]]) for k in item.labels]
        logits = torch.full((1, len(item.ids) + 2, len(labels)), -50.0)
        logits[0, range(1, len(chosen) + 1), chosen] = 50.0
        task.model.forward = lambda *_: logits  # type: ignore[method-assign]
        (term,) = task.loss([(0, True)])
        return float(term.mean)

    gold = {label: label for label in labels}
    assert loss(gold) == pytest.approx(0, abs=1e-4)
    assert loss(gold | {"B-MISC": "B-LOC", "O": "B-TIME"}) == pytest.approx(0, abs=1e-4)
    assert loss(gold | {"B-PER": "B-TIME"}) > 1 and loss(gold | {"O": "B-LOC"}) > 1
    types = [entity("LOC"), entity("TIME"), entity("PER")]
    assert [e.type for e in task.config.train[0].as_labelled(types)] == ["MISC", "PER"]


def entity(type_: str) -> TextEntity:
    return TextEntity(id="e", start=0, end=1, type=type_)
