"""Training a verifier: which statements are drawn, and how candidates are calibrated."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import schema_of
from rukh.data.corpus import list_all_pairs
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.modeling.verifier import Verifier
from rukh.records import Pair, Post
from rukh.training.verifier_task import (
    AllowedRelations,
    JudgedCandidate,
    StatementSampler,
    VerifierTask,
    VerifierTrainingConfig,
    fit_candidates,
    train_verifier,
)


def post_of(number: int, *facts: tuple[str, str, str], third: bool = True) -> Post:
    names = {"a": ("ann", "PER"), "b": ("acme", "ORG"), "c": ("oslo", "LOC")}
    text, entities = f"{number} ", []
    for name, (word, type_) in list(names.items())[: 2 + third]:
        entities.append(
            {"id": name, "start": len(text), "end": len(text) + len(word), "type": type_}
        )
        text += f"{word} works "
    pairs = [Pair(head=h, tail=t, relation=r) for h, r, t in facts]
    return Post(id=str(number), text=text, entities=entities, pairs=pairs)


def test_statements_are_true_or_false_of_the_post() -> None:
    post = post_of(1, ("a", "works_at", "b"), ("a", "near", "c"))
    sampler = StatementSampler(list_all_pairs(post, "none"), AllowedRelations(schema_of()))
    true = {("a", "works_at", "b"), ("b", "employs", "a"), ("a", "near", "c"), ("c", "near", "a")}
    assert sampler.true == true
    assert ("a", "lives_in", "c") in sampler.confusable  # of a related pair
    assert ("b", "near", "c") in sampler.confusable  # a relation of the post
    false = [*sampler.confusable, *sampler.others]
    assert len(false) == len(set(false)) and not true & {*false}
    for head, relation, tail in false:  # the types allow them
        types = post.argument(head).type, post.argument(tail).type
        assert schema_of().relation(relation).allows(*types)
    for count in (2, 5, 8):
        drawn = sampler.draw(count, random.Random(0))
        assert len(drawn) == len({fact for fact, _ in drawn}) <= count
        assert all((fact in true) == label for fact, label in drawn)
        assert 1 <= sum(label for _, label in drawn) <= count // 2


def test_unlisted_pairs_are_left_out() -> None:
    post = post_of(1, ("a", "works_at", "b"))
    sampler = StatementSampler(post, AllowedRelations(schema_of()))
    assert {frozenset((f.head, f.tail)) for f in sampler.confusable} == {frozenset("ab")}
    assert not sampler.others
    silent = StatementSampler(post_of(2), AllowedRelations(schema_of()))
    assert silent.draw(6, random.Random(0)) == []


def config(tmp_path: Path, text: str, **changes: Any) -> VerifierTrainingConfig:
    training = {"epochs": 1, "batch_size": 4, "head_learning_rate": 1e-3}
    corpora, dev = ([{"train": tmp_path / name, "complete": True}] for name in ("corpus", "dev"))
    data = {"task": "verifier", "corpora": corpora, "dev": dev, "text_encoder": text,
            "trainable_layers": 1, "retriever": str(tmp_path / "model"), "training": training,
            }  # fmt: skip
    return VerifierTrainingConfig.model_validate(data | changes)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name, numbers in (("corpus", range(12)), ("dev", range(12, 20))):
        posts = [post_of(i, *([("a", "works_at", "b")] if i % 2 else [])) for i in numbers]
        write(posts, tmp_path / name / "one.jsonl")
        (tmp_path / name / "one.yaml").write_text(schema_of().to_yaml())
    return tmp_path / "corpus"


def test_the_trained_verifier_is_written(
    corpus: Path, tmp_path: Path, tiny_text: str, tiny_model: Callable[..., Any]
) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    model.save(tmp_path / "model", "")
    metrics = train_verifier(config(tmp_path, tiny_text), tmp_path / "verifier")
    assert 0 < metrics["average_precision"] <= 1 and 0 <= metrics["f1"] <= 1
    loaded = Verifier.from_pretrained(tmp_path / "verifier")
    assert loaded.config.metrics == metrics and 0 <= loaded.config.threshold <= 1
    assert "verifier" in (tmp_path / "verifier/README.md").read_text()


def test_batches_differ_by_epoch_and_repeat(corpus: Path, tmp_path: Path, tiny_text: str) -> None:
    task = VerifierTask(config(tmp_path, tiny_text, statements=4))
    assert task.batches(0) == task.batches(0) != task.batches(1)
    items = [item for batch in task.batches(0) for item in batch]
    assert len(items) == len(task.train)
    assert all(len(one.statements) == len(labels) <= 4 for one, labels in items)
    assert task.loss(task.batches(0)[0]).item() > 0


def test_a_dev_set_without_a_relation_is_an_error(
    corpus: Path, tmp_path: Path, tiny_text: str
) -> None:
    write([post_of(1)], tmp_path / "dev/one.jsonl")
    with pytest.raises(InputError, match="too few"):
        VerifierTask(config(tmp_path, tiny_text))


def test_candidates_are_calibrated() -> None:
    generator = random.Random(1)
    pairs = []
    for _ in range(400):
        true = generator.random() < 0.5
        logit = generator.gauss(2.0 if true else -2.0, 1.5)
        pairs.append([JudgedCandidate(logit, generator.gauss(0, 1), true)])
    fitted = fit_candidates(pairs, gold=220)
    assert fitted["scale"] > 1 and fitted["retrieval_scale"] < 0.3
    assert 0.3 < fitted["threshold"] < 0.7 and fitted["f1"] > 0.8
    assert fitted["recall"] < 200 / 220 + 0.05  # retrieval missed some
    with pytest.raises(InputError, match="too few"):
        fit_candidates([[JudgedCandidate(1.0, 1.0, True)]], gold=1)
