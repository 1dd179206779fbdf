"""Training a relation model: targets, corpora, resuming, and ``rukh train`` under kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from conftest import schema_of
from rukh.data.readers import read, write
from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post
from rukh.training.loop import fit
from rukh.training.losses import LossTerm
from rukh.training.relation_task import (
    RelationTask,
    RelationTrainingConfig,
    log_frequencies,
    train_relations,
    training_pairs,
)
from rukh.utils.files import sha256

RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]
PEOPLE, PLACES = ("Ann", "Bob", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")


def make_post(number: int, words: str, relation: str, **changes: Any) -> Post:
    """A post with a person, some words and a place."""
    head, tail = PEOPLE[number % 5], PLACES[number % 4]
    start = len(head) + len(words) + 2
    fields = {
        "id": str(number),
        "text": f"{head} {words} {tail} {number}",
        "entities": (
            {"id": "h", "start": 0, "end": len(head), "type": "PER"},
            {"id": "t", "start": start, "end": start + len(tail), "type": "LOC"},
        ),
        "pairs": (Pair(head="h", tail="t", relation=relation),),
    }
    return Post.model_validate(fields | changes)


def labelled_posts() -> list[Post]:
    verbs = (("lives in", "lives_in"), ("sees", "none"), ("near", "near"))
    return [make_post(i, *verbs[i % 3]) for i in range(40)]


@pytest.fixture
def config(tmp_path: Path, tiny_text: str) -> Path:
    write(labelled_posts(), tmp_path / "posts.jsonl")
    schema = schema_of().model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    data = {
        "task": "relations",
        "data": {"train": str(tmp_path / "posts.jsonl"), "format": "jsonl", "dev_fraction": 0.2},
        "schema": str(tmp_path / "schema.yaml"),
        "tagger": None,
        "pair": {"text_encoder": tiny_text, "vision_encoder": None, "dim": 32, "fusion_heads": 4,
                 "trainable_layers": 1},
        "training": {"epochs": 2, "batch_size": 4, "save_steps": 3, "evals_per_epoch": 2,
                     "learning_rate": 1e-3, "head_learning_rate": 3e-3},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "config.yaml"


def load(config: Path, **changes: Any) -> RelationTrainingConfig:
    """The configuration with changed sections; a mapping changes some keys of its section."""
    data = yaml.safe_load(config.read_text())
    for key, value in changes.items():
        data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
    return RelationTrainingConfig.model_validate(data)


def pairs_of(task: RelationTask, post: Post) -> tuple[list[tuple[str, str]], list[int]]:
    return training_pairs(post, task.bank, task.model.schema, task.config.direction_mode)


def three_entities(*pairs: tuple[str, str | None]) -> Post:
    """A post with the entities a, b and c, and labelled pairs such as ``("ab", "near")``."""
    entities = [{"id": c, "start": 2 * i, "end": 2 * i + 1} for i, c in enumerate("abc")]
    labelled = [Pair(head=ids[0], tail=ids[1], relation=label) for ids, label in pairs]
    return Post.model_validate(
        {"id": "p", "text": "a b c", "entities": entities, "pairs": labelled}
    )


def test_both_directions_have_targets(config: Path) -> None:
    post = three_entities(
        ("ab", "works_at"), ("ac", "lives_in"), ("bc", "near"), ("ca", "none"), ("cb", None)
    )
    task = RelationTask(load(config))
    names = ("none", *task.bank.names, "lives_in reversed")
    pairs, columns = pairs_of(task, post)
    targets = {head + tail: names[c] for (head, tail), c in zip(pairs, columns, strict=True)}
    # (c, b) has no label; (c, a) is none only because a relation holds from a to c.
    assert len(pairs) == 6 and targets == {
        "ab": "works_at", "ba": "employs", "ac": "lives_in", "ca": "lives_in reversed",
        "bc": "near", "cb": "near",
    }  # fmt: skip
    pairs, columns = pairs_of(RelationTask(load(config, direction_mode="both")), post)
    apart = {head + tail: names[c] for (head, tail), c in zip(pairs, columns, strict=True)}
    assert apart == targets | {"ca": "none"}


def test_relations_that_only_have_a_name_are_named_before_training(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    RelationTask(load(config))
    assert "description" not in caplog.text
    schema = yaml.safe_load((tmp_path / "schema.yaml").read_text())
    schema["relations"][1]["descriptions"] = "Near"
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    RelationTask(load(config, relation={"scorer": "classification"}))  # it reads no descriptions
    assert "description" not in caplog.text
    RelationTask(load(config))
    assert caplog.text.count("without a description except their name: 'near'; ") == 1

    schema["relations"][1]["descriptions"] = ["The head", "a person", "is near the tail."]
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    RelationTask(load(config))
    assert "at commas within [ ]: 'near'; " in caplog.text


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("joint", "ab ba ba ab bc cb bc cb"), ("given", "ab ba ba bc cb bc")],
)
def test_a_fact_that_is_annotated_in_both_directions_is_used_once(
    config: Path, mode: str, expected: str
) -> None:
    post = three_entities(
        ("ab", "works_at"), ("ba", "employs"), ("ba", "lives_in"),
        ("bc", "near"), ("cb", "near"), ("bc", "near"),
    )  # fmt: skip
    pairs, _ = pairs_of(RelationTask(load(config, direction_mode=mode)), post)
    assert [head + tail for head, tail in pairs] == expected.split()


def test_pairs_are_scored_against_the_relations_of_their_own_corpus(
    config: Path, tmp_path: Path
) -> None:
    relations = [
        {"name": "None"},
        {"name": "visits", "descriptions": ["the head goes to see the tail"]},
        {"name": "hates", "descriptions": ["the head cannot stand the tail"]},
    ]
    other = {"name": "other", "nota": "None", "relations": relations}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    labels = ("visits", "None", "hates")
    write([make_post(i, "again", labels[i % 3]) for i in range(30)], tmp_path / "other.jsonl")
    extra = {"train": str(tmp_path / "other.jsonl"), "format": "jsonl"}
    changed = load(
        config,
        extra_corpora=[extra | {"schema": str(tmp_path / "other.yaml")}],
        exclude_relations=["near", "hates"],
        relation={"label_names": "trained", "descriptions_per_step": 1},
    )
    task = RelationTask(changed)
    assert task.model.schema.names == ("works_at", "employs", "lives_in", "visits")
    assert {p.relation for post in task.posts for p in post.pairs or ()} == {
        "none", "lives_in", "visits",
    }  # fmt: skip
    columns = ("none", *task.bank.names, "lives_in reversed", "visits reversed")
    for source, excluded in (
        (0, {"visits", "visits reversed"}),
        (1, {*columns} - {"none", "visits", "visits reversed"}),
    ):
        bias = task.bias[source].tolist()
        assert {name for name, b in zip(columns, bias, strict=True) if b < 0} == excluded
    assert {task.source[item.post] for item in task.items} == {0, 1}
    (loss,) = task.loss(task.batches(0)[0])
    assert loss.mean.isfinite() and loss.mean < 10  # an excluded gold column would cost 10,000
    added = {*task.training_bank.descriptions} - {*task.bank.descriptions}
    assert added == {"works at", "employs", "lives in", "visits"}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.sampled_from([0.0, 0.5, 1.0]))
def test_frequent_relations_gain_in_training(columns: list[int], weight: float) -> None:
    assume(any(columns))
    gold = torch.tensor(columns)
    gain = log_frequencies(gold, 5, weight)
    assert gain[0] == 0 and abs(float(gain[gold[gold > 0]].mean())) < 1e-4
    counts = gold.bincount(minlength=5).tolist()
    order = sorted(range(1, 5), key=counts.__getitem__)
    assert gain[order].tolist() == sorted(gain[order].tolist())
    assert weight or not gain.any()


def test_a_relation_with_an_inverse_in_another_corpus_is_scored_with_it(
    config: Path, tmp_path: Path
) -> None:
    employs = {"name": "employs", "descriptions": ["the head pays the tail"]}
    other = {"name": "other", "nota": "None", "relations": [{"name": "None"}, employs]}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    posts = [make_post(i, "again", ("employs", "None")[i % 2]) for i in range(30)]
    write(posts, tmp_path / "other.jsonl")
    extra = {"train": str(tmp_path / "other.jsonl"), "schema": str(tmp_path / "other.yaml")}
    task = RelationTask(load(config, extra_corpora=[extra]))
    for item in task.items:  # an excluded gold column would cost 10,000
        assert (task.bias[task.source[item.post]][item.columns] == 0).all()


def test_some_unrelated_pairs_of_a_complete_corpus_are_kept(config: Path, tmp_path: Path) -> None:
    entities = [{"id": c, "start": i, "end": i + 1} for i, c in enumerate("abcdef")]
    listed = [{"head": "a", "tail": "b", "relation": "near"}]
    posts = [
        Post(id=str(i), text=f"abcdef {i}", entities=entities, pairs=listed if i % 2 else [])
        for i in range(20)
    ]
    write(posts, tmp_path / "complete.jsonl")
    (tmp_path / "complete.yaml").write_text(schema_of().to_yaml())
    extra = {
        "train": str(tmp_path / "complete.jsonl"),
        "schema": str(tmp_path / "complete.yaml"),
        "complete": True,
    }
    task = RelationTask(load(config, extra_corpora=[extra]))
    for i, (post, source) in enumerate(zip(task.posts, task.source, strict=True)):
        if source == 1:
            related = int(post.id) % 2
            unrelated = 15 - related if i in task.dev else 4  # the dev set keeps all
            labels = [pair.relation for pair in post.pairs or ()]
            assert labels.count("none") == unrelated and len(labels) == unrelated + related
    assert task.natural == [i for i in task.dev if task.source[i] == 1]


def test_types_of_the_data_become_those_of_the_schema(config: Path, tmp_path: Path) -> None:
    expected = RelationTask(load(config)).posts
    schema = yaml.safe_load((tmp_path / "schema.yaml").read_text())
    schema["types"]["GPE"] = "state"
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    lines = (tmp_path / "posts.jsonl").read_text()
    lines = (
        lines.replace('"PER"', '"PERSON"').replace('"LOC"', '"GPE"', 1).replace('"LOC"', '"FAC"')
    )
    (tmp_path / "posts.jsonl").write_text(lines)
    first, *rest = RelationTask(load(config)).posts
    assert [entity.type for entity in first.entities] == ["PER", "GPE"]
    assert rest == expected[1:]


@pytest.mark.parametrize("count", [1, 40])
def test_too_few_labels_are_an_error(config: Path, tmp_path: Path, count: int) -> None:
    posts = labelled_posts()[:count]
    if count > 1:
        posts = [post.model_copy(update={"pairs": ()}) for post in posts]
    write(posts, tmp_path / "posts.jsonl")
    with pytest.raises(InputError, match=r"^\S*posts\.jsonl: "):
        RelationTask(load(config))


def test_missing_weights_are_reported_before_the_data_is_read(config: Path) -> None:
    pair = {"text_encoder": "no/text", "vision_encoder": "no/vision"}
    changed = load(config, data={"train": "nowhere.jsonl"}, pair=pair)
    with pytest.raises(WeightsError, match=r"'no/text'(.|\n)*'no/vision'"):
        RelationTask(changed)


def test_other_encoder_options_than_those_of_start_from_are_an_error(config: Path) -> None:
    changed = load(config, start_from="open", data={"train": "nowhere.jsonl"})
    with pytest.raises(InputError, match="all-MiniLM-L6-v2") as error:
        RelationTask(changed)
    assert error.value.field == "start_from"


def test_captions_and_types_are_dropped(config: Path, tmp_path: Path) -> None:
    posts = [post.model_copy(update={"caption": "a hat of a dog"}) for post in labelled_posts()]
    write(posts, tmp_path / "posts.jsonl")
    dropout = {"caption_dropout": 0.5, "type_dropout": 0.5}
    task = RelationTask(load(config, pair={"caption_words": 3}, data=dropout))
    seen: list[tuple[bool, bool]] = []
    forward = task.model.pair_encoder.forward

    def record(inputs: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((bool((inputs.segments == 1).any()), len(inputs.type_names) > 0))
        return forward(inputs, *arguments, **options)

    task.model.pair_encoder.forward = record  # type: ignore[method-assign]
    views = []
    for batch in task.batches(3):
        for item, view in batch:
            task.loss([(item, view)])
            views.append((view.caption, view.types))
    assert seen == views and len({*views}) == 4
    assert task.batches(3) == task.batches(3) != task.batches(4)


class Stop(Exception):
    """Interrupts a run."""


def test_an_interrupted_run_ends_like_an_uninterrupted_one(config: Path, tmp_path: Path) -> None:
    relation = {"descriptions_per_step": 1}
    changed = load(config, relation=relation, data={"type_dropout": 0.3})
    fit(RelationTask(changed), changed.training, tmp_path / "whole", {})

    class Torn(RelationTask):
        steps = 0

        def loss(self, batch: Any) -> list[LossTerm]:
            self.steps += 1
            if self.steps == 8:
                raise Stop
            return super().loss(batch)

    with pytest.raises(Stop):
        fit(Torn(changed), changed.training, tmp_path / "torn", {})
    fit(RelationTask(changed), changed.training, tmp_path / "torn", {})
    for name in ("history.json", "best.safetensors"):
        assert sha256(tmp_path / "torn" / name) == sha256(tmp_path / "whole" / name)


def test_the_saved_model_gives_the_reported_scores(config: Path, tmp_path: Path) -> None:
    val = {"val": str(tmp_path / "posts.jsonl")}
    changed = load(config, data=val, training={"epochs": 4})
    metrics = train_relations(changed, tmp_path / "model")
    assert metrics["dev"]["order_free"] > 0.3  # the words decide the relations
    assert metrics["val"]["micro_f1_order_free"] > 0.5
    model = RelationModel.from_pretrained(tmp_path / "model")
    assert model.config.metrics == json.loads(json.dumps(metrics))
    assert model.config.threshold == metrics["dev"]["threshold"]
    assert model.config.temperature == metrics["dev"]["temperature"]
    triples = Extractor(model).extract(read(tmp_path / "posts.jsonl"))
    gold = [pair.relation for post in labelled_posts() for pair in post.pairs or ()]
    correct = sum(t.relation == label for t, label in zip(triples, gold, strict=True))
    assert correct / len(gold) == pytest.approx(metrics["val"]["accuracy"])
    card = (tmp_path / "model/README.md").read_text()
    assert "dev.order_free" in card and "## How to use" in card


def test_images_can_decide_relations(config: Path, tmp_path: Path, tiny_vision: str) -> None:
    posts = []
    for i in range(40):
        colour, relation = (("red", "near"), ("blue", "none"))[i % 2]
        Image.new("RGB", (24, 32), colour).save(tmp_path / f"{i}.png")
        posts.append(make_post(i // 2, "and", relation, id=str(i), image=tmp_path / f"{i}.png"))
    write(posts, tmp_path / "posts.jsonl")
    changed = load(
        config,
        data={"val": str(tmp_path / "posts.jsonl"), "image_swap": 0.1},
        pair={"vision_encoder": tiny_vision},
        loss={"gate_weight": 0.1},
        training={"head_learning_rate": 1e-2, "epochs": 6},
    )
    metrics = train_relations(changed, tmp_path / "model")
    assert metrics["val"]["images_used"] == 40 and metrics["val"]["accuracy"] > 0.8


def test_a_model_stores_unrelated_training_pairs(config: Path, tmp_path: Path) -> None:
    changed = load(config, training={"epochs": 1})
    metrics = train_relations(changed, tmp_path / "model")
    assert RelationModel.from_pretrained(tmp_path / "model").background is None
    # They can be added to a finished run.
    more = changed.model_copy(update={"background_pairs": 3})
    assert train_relations(more, tmp_path / "model") == metrics
    stored = RelationModel.from_pretrained(tmp_path / "model").background
    assert stored is not None and len(stored.nota) == 3


def test_a_killed_training_gives_the_same_model(config: Path, tmp_path: Path) -> None:
    # Folders of the same name, because the model card contains it.
    whole, torn = tmp_path / "whole" / "model", tmp_path / "torn" / "model"
    train_relations(load(config), whole)
    running = subprocess.Popen(
        [*RUKH, "train", str(config), "--out", str(torn)],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "torn/model.run/checkpoint/state.json"
    while running.poll() is None and not state.exists():
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL and not torn.exists()
    step = json.loads(state.read_text())["step"]
    assert 0 < step < len(RelationTask(load(config)).batches(0)) * 2
    train_relations(load(config), torn)
    for name in ("model.safetensors", "config.json", "README.md", "schema.yaml"):
        assert sha256(torn / name) == sha256(whole / name)
