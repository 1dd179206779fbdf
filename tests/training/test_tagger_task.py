"""Training the tagger: from two columns to a folder that finds the same entities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rukh.arguments.token_tagger import TokenTagger
from rukh.data.conll import TaggedSentence
from rukh.errors import InputError
from rukh.evaluation.tagger import span_f1
from rukh.training.tagger_task import TaggerConfig, TaggerTask, gold_spans, train_tagger


def sentences(count: int) -> str:
    people, places = ("Ann", "Bob Lee", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")
    blocks = []
    for i in range(count):
        first, *rest = people[i % 5].split()
        lines = [f"{first}\tB-PER", *(f"{name}\tI-PER" for name in rest), "lives\tO", "in\tO"]
        blocks.append("\n".join([*lines, f"{places[i % 4]}\tB-LOC", f"{i}\tO"]))
    return "\n\n".join(blocks) + "\n"


def config(tmp_path: Path, text: str, **changes: Any) -> TaggerConfig:
    training = {"epochs": 8, "batch_size": 4, "learning_rate": 5e-3, "head_learning_rate": 1e-2}
    data = {"task": "tagger", "train": [tmp_path / "train.txt"], "types": ["PER", "LOC"],
            "text_encoder": text, "lora_rank": 4, "training": training}  # fmt: skip
    return TaggerConfig.model_validate(data | changes)


def test_spans_of_a_sentence() -> None:
    tagged = TaggedSentence(
        ["Ann", "Lee", "Bob", "in", "New", "York", "x"],
        ["B-PER", "I-PER", "B-PER", "O", "I-LOC", "I-LOC", "I-PER"],
    )
    text, spans = gold_spans(tagged)
    assert [(text[e.start : e.end], e.type) for e in spans] == [
        ("Ann Lee", "PER"), ("Bob", "PER"), ("New York", "LOC"), ("x", "PER"),
    ]  # fmt: skip


@pytest.mark.parametrize("rank", [0, 4])
def test_round_trip(tmp_path: Path, tiny_text: str, rank: int) -> None:
    (tmp_path / "train.txt").write_text(sentences(40))
    (tmp_path / "test.txt").write_text(sentences(8))
    told = config(tmp_path, tiny_text, test=[tmp_path / "test.txt"], lora_rank=rank)
    figures = train_tagger(told, tmp_path / "tagger")
    assert figures["fold_span_f1"] > 0.5 and figures["test_typing_accuracy"] > 0.5
    tagger = TokenTagger.from_pretrained(tmp_path / "tagger")
    assert json.loads((tmp_path / "tagger/config.json").read_text())["figures"] == figures
    task = TaggerTask(told)  # the eight sentences of the test are not trained on
    assert len(task.fold) + len(task.items) == 32 and len(task.test) == 8
    found = tagger.find([text for text, _ in task.test])
    assert span_f1([spans for _, spans in task.test], found) == pytest.approx(
        figures["test_span_f1"], abs=0.13
    )


def test_labels_go_to_the_pieces_of_their_words(tmp_path: Path, tiny_text: str) -> None:
    (tmp_path / "train.txt").write_text(sentences(12))
    task = TaggerTask(config(tmp_path, tiny_text))
    text, spans = gold_spans(TaggedSentence(["Zed", "Lee", "x"], ["B-PER", "I-PER", "O"]))
    ids, labels = task._item(text, spans)
    assert ids == task.model.encoder.tokenize(text).ids and len(ids) == 7  # z ##e ##d l ##e ##e x
    names = [task.model.labels[k] for k in labels]
    assert names == ["B-PER", "I-PER", "I-PER", "I-PER", "I-PER", "I-PER", "O"]


def test_bad_input(tmp_path: Path, tiny_text: str) -> None:
    file = tmp_path / "train.txt"
    file.write_text(sentences(9))
    with pytest.raises(InputError, match="fewer than 10 sentences"):
        TaggerTask(config(tmp_path, tiny_text))
    file.write_text(sentences(20).replace("B-LOC", "B-LOK"))
    with pytest.raises(InputError, match=r"train\.txt: type 'LOK' is none of .*mean 'LOC'"):
        TaggerTask(config(tmp_path, tiny_text))
    file.write_text("\u200b\tO\n\n" + sentences(11))
    task = TaggerTask(config(tmp_path, tiny_text))
    assert len(task.fold) + len(task.items) == 11  # the sentence without a piece is left out
