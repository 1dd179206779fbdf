"""Training the relation model: targets, resuming, and ``rukh train`` under kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from pydantic import ValidationError
from rukh.distillation import DistillationConfig

from conftest import schema_of
from rukh.data.readers import read, write
from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling.memory import MemoryConfig
from rukh.modeling.model import RelationModel
from rukh.modeling.vision_encoder import load_vision_encoder
from rukh.records import Pair, Post
from rukh.training.relation_task import RelationTask, RelationTrainingConfig, train_relations
from rukh.training.trainer import fit
from rukh.utils.files import sha256

RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]
PEOPLE, PLACES = ("Ann", "Bob", "Cleo", "Dan", "Eve"), ("Rome", "Oslo", "Kyiv", "Lima")


def labelled() -> list[Post]:
    posts = []
    for i in range(40):
        head, tail = PEOPLE[i % 5], PLACES[i % 4]
        verb, relation = (("lives in", "lives_in"), ("sees", "none"), ("near", "near"))[i % 3]
        text = f"{head} {verb} {tail} {i}"
        at = text.index(tail)
        posts.append(
            Post(
                id=str(i),
                text=text,
                entities=(
                    {"id": "h", "start": 0, "end": len(head), "type": "PER"},
                    {"id": "t", "start": at, "end": at + len(tail), "type": "LOC"},
                ),
                pairs=(Pair(head="h", tail="t", relation=relation),),
            )
        )
    return posts


@pytest.fixture
def config(tmp_path: Path, tiny_text: str) -> Path:
    write(labelled(), tmp_path / "posts.jsonl")
    schema = schema_of().model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    data = {
        "task": "relations",
        "data": {"train": str(tmp_path / "posts.jsonl"), "format": "jsonl", "fold": 0.2},
        "relations": str(tmp_path / "schema.yaml"),
        "tagger": None,
        "pair": {"text_encoder": tiny_text, "vision_encoder": None, "dim": 32, "fusion_heads": 4,
                 "trainable_layers": 1},
        "training": {"epochs": 4, "batch_size": 4, "save_steps": 3, "validations": 2,
                     "learning_rate": 1e-3, "head_learning_rate": 3e-3},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "config.yaml"


def loaded(config: Path, **changes: object) -> RelationTrainingConfig:
    return RelationTrainingConfig.model_validate(yaml.safe_load(config.read_text()) | changes)


def test_both_orders_have_targets(config: Path) -> None:
    task = RelationTask(loaded(config))
    post = Post(
        id="p",
        text="a b c",
        entities=[{"id": c, "start": 2 * i, "end": 2 * i + 1} for i, c in enumerate("abc")],
        pairs=[
            Pair(head="a", tail="b", relation="works_at"),
            Pair(head="a", tail="c", relation="lives_in"),
            Pair(head="b", tail="c", relation="near"),
            Pair(head="c", tail="a", relation="none"),
            Pair(head="c", tail="b"),
        ],
    )
    asked, targets = task._pairs(post)
    names = ("none", *task.bank.names, "lives_in, the other way round")
    told = {pair: names[target] for pair, target in zip(asked, targets, strict=True)}
    assert told == {
        ("a", "b"): "works_at", ("b", "a"): "employs",
        ("a", "c"): "lives_in", ("c", "a"): "lives_in, the other way round",
        ("b", "c"): "near", ("c", "b"): "near",
    }  # fmt: skip
    # The unlabelled pair is not shown, and c to a is none only because a to c is something.
    assert len(asked) == 6
    apart = RelationTask(loaded(config, order="both"))
    asked, targets = apart._pairs(post)
    assert {pair: names[t] for pair, t in zip(asked, targets, strict=True)} == told | {
        ("c", "a"): "none"
    }
    given_only = RelationTask(loaded(config, order="given"))
    assert given_only._pairs(post)[0] == [("a", "b"), ("a", "c"), ("b", "c"), ("c", "a")]


def other_corpus(tmp_path: Path) -> dict[str, str]:
    """Posts of another schema, which calls nothing ``None`` and knows two relations."""
    schema = {
        "name": "other",
        "nota": "None",
        "relations": [
            {"name": "None"},
            {"name": "visits", "descriptions": ["the head goes to see the tail"]},
            {"name": "hates", "descriptions": ["the head cannot stand the tail"]},
        ],
    }
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(schema))
    posts = []
    for i, post in enumerate(labelled()[:30]):
        label = ("visits", "None", "hates")[i % 3]
        pairs = (Pair(head="h", tail="t", relation=label),)
        text = post.text + " again"
        posts.append(post.model_copy(update={"id": f"o{i}", "text": text, "pairs": pairs}))
    write(posts, tmp_path / "other.jsonl")
    where = {"train": str(tmp_path / "other.jsonl"), "format": "jsonl"}
    return where | {"relations": str(tmp_path / "other.yaml")}


def test_corpora_are_told_from_their_own_relations(config: Path, tmp_path: Path) -> None:
    mix = [other_corpus(tmp_path)]
    changed = loaded(
        config, mix=mix, without=["near", "hates"], relation={"names": "trained", "sampled": 1}
    )
    task = RelationTask(changed)
    assert task.model.schema.names == ("works_at", "employs", "lives_in", "visits")
    labels = {p.relation for post in task.posts for p in post.pairs or ()}
    assert labels == {"none", "lives_in", "visits"}  # nothing that is left out, one name for none
    # NOTA, four relations, and two of them the other way round
    shown = ("none", *task.bank.names, "lives_in back", "visits back")
    for source, foreign in (
        (0, {"visits", "visits back"}),
        (1, {*shown} - {"none", "visits", "visits back"}),
    ):
        shut = {name for name, b in zip(shown, task.bias[source].tolist(), strict=True) if b < 0}
        assert shut == foreign
    sources = {task.source[i] for i, _, _ in task.rows}
    assert sources == {0, 1}
    loss = task.loss(task.batches(0)[0])
    assert loss.isfinite() and loss < 10  # a shut column that were the target would cost 10,000
    assert {*task.banks.shown.descriptions} - {*task.bank.descriptions} == {
        "works at",
        "employs",
        "lives in",
        "visits",
    }
    train_relations(changed, tmp_path / "mixed")
    assert "visits" in RelationModel.from_pretrained(tmp_path / "mixed").schema.names


def test_types_are_left_out_as_often_as_said(config: Path) -> None:
    data = yaml.safe_load(config.read_text())["data"]
    task = RelationTask(loaded(config, data=data | {"type_dropout": 0.5}))
    task.batches(0)
    untyped = [not one.types for one in task._shown]
    assert 5 < sum(untyped) < len(untyped) - 5
    row = task.rows[0][1]
    assert any(row.types) and not any(row.without_types().types)
    assert len(row.without_types()) == len(row)


def test_a_fact_that_is_told_from_both_ends_is_shown_once(config: Path) -> None:
    entities = [{"id": c, "start": 2 * i, "end": 2 * i + 1} for i, c in enumerate("abc")]
    pairs = [
        Pair(head="a", tail="b", relation="works_at"),
        Pair(head="b", tail="a", relation="employs"),
        Pair(head="b", tail="a", relation="lives_in"),
        Pair(head="b", tail="c", relation="near"),
        Pair(head="c", tail="b", relation="near"),
        Pair(head="b", tail="c", relation="near"),
    ]
    post = Post(id="p", text="a b c", entities=entities, pairs=pairs)
    for order, shown in (("joint", "ab ba ba ab bc cb bc cb"), ("given", "ab ba ba bc cb bc")):
        asked, _ = RelationTask(loaded(config, order=order))._pairs(post)
        assert [head + tail for head, tail in asked] == shown.split()


def test_labels_and_types_of_the_data_become_those_of_the_schema(
    config: Path, tmp_path: Path
) -> None:
    want = RelationTask(loaded(config))
    schema = yaml.safe_load((tmp_path / "schema.yaml").read_text())
    for number, relation in enumerate(schema["relations"]):
        relation["id"] = f"P{number}"
    schema["types"]["GPE"] = "state"
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    ids = {relation["name"]: relation["id"] for relation in schema["relations"]}
    types = {"PER": "PERSON", "LOC": "FAC"}
    lines = (tmp_path / "posts.jsonl").read_text()
    for old, new in (ids | types).items():
        lines = lines.replace(f'"{old}"', f'"{new}"')
    (tmp_path / "posts.jsonl").write_text(lines.replace('"FAC"', '"GPE"', 1))
    task = RelationTask(loaded(config))
    first, *rest = task.posts
    assert [entity.type for entity in first.entities] == ["PER", "GPE"]  # the schema speaks of it
    assert rest == want.posts[1:]
    assert [p.pairs for p in task.posts] == [p.pairs for p in want.posts]
    (tmp_path / "posts.jsonl").write_text(lines.replace('"P0"', '"P9"', 1))
    with pytest.raises(InputError, match=r"posts\.jsonl: post '\d+': relation 'P9' is not in"):
        RelationTask(loaded(config))


def test_no_labels_are_no_training(config: Path, tmp_path: Path) -> None:
    for posts in (labelled()[:1], [p.model_copy(update={"pairs": ()}) for p in labelled()]):
        write(posts, tmp_path / "posts.jsonl")
        with pytest.raises(InputError, match=r"posts\.jsonl: too few posts with labelled pairs"):
            RelationTask(loaded(config))
    write([], tmp_path / "posts.jsonl")
    with pytest.raises(InputError, match="no posts to train on"):
        RelationTask(loaded(config))


class Stop(Exception):
    """Stands for whatever ends a run."""


@pytest.mark.parametrize("encoder", ["frozen", "shared", "separate", "vision"])
def test_a_stopped_run_ends_as_the_undisturbed_one(
    request: pytest.FixtureRequest,
    config: Path,
    tmp_path: Path,
    encoder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if encoder == "vision":
        changed = request.getfixturevalue("pictured")
    else:
        changed = loaded(config, relation={"encoder": encoder, "refresh_steps": 5})
    whole = RelationTask(changed)
    fit(whole, changed.training, tmp_path / "whole", {})
    left = 8
    plain = RelationTask.loss

    def loss(task: RelationTask, batch: list[int]) -> torch.Tensor:
        nonlocal left
        left -= 1
        if not left:
            raise Stop
        return plain(task, batch)

    monkeypatch.setattr(RelationTask, "loss", loss)
    with pytest.raises(Stop):
        fit(RelationTask(changed), changed.training, tmp_path / "torn", {})
    fit(RelationTask(changed), changed.training, tmp_path / "torn", {})
    for name in ("history.json", "best.safetensors"):
        assert sha256(tmp_path / "torn" / name) == sha256(tmp_path / "whole" / name)


def test_what_was_measured_is_what_the_saved_model_says(config: Path, tmp_path: Path) -> None:
    changed = loaded(config)
    data = changed.data.model_copy(update={"val": changed.data.train})
    figures = train_relations(changed.model_copy(update={"data": data}), tmp_path / "model")
    assert figures["fold"]["order_free"] > 0.3  # three patterns of words can be learnt
    assert figures["val"]["micro_f1_order_free"] > 0.5
    model = RelationModel.from_pretrained(tmp_path / "model")
    assert model.config.figures == json.loads(json.dumps(figures))
    assert model.config.threshold == figures["fold"]["threshold"]
    assert model.config.temperature == figures["fold"]["temperature"]
    found = Extractor(model).extract(read(tmp_path / "posts.jsonl"))
    gold = [pair.relation for post in labelled() for pair in post.pairs or ()]
    right = sum(t.relation == g for t, g in zip(found, gold, strict=True))
    assert right / len(gold) == pytest.approx(figures["val"]["accuracy"])
    assert "fold.order_free" in (tmp_path / "model/README.md").read_text()


@pytest.fixture
def pictured(config: Path, tiny_vision: str) -> RelationTrainingConfig:
    """Relations that only the picture tells: it is red where there is one."""
    posts = []
    for i, post in enumerate(labelled()):
        head, tail = post.entities
        relation = ("near", "none")[i % 2]
        Image.new("RGB", (24, 32), ("red", "blue")[i % 2]).save(config.parent / f"{i}.png")
        posts.append(
            Post(
                id=post.id,
                text=f"{PEOPLE[i % 5]} {PLACES[i % 4]} {i // 2}",
                image=config.parent / f"{i}.png",
                entities=(
                    head,
                    {
                        "id": "t",
                        "start": head.end + 1,
                        "end": head.end + 1 + tail.end - tail.start,
                        "type": "LOC",
                    },
                ),
                pairs=(Pair(head="h", tail="t", relation=relation),),
            )
        )
    write(posts, config.parent / "posts.jsonl")
    told = loaded(config)
    pair = told.pair.model_copy(update={"vision_encoder": tiny_vision, "tuned_vision_layers": 1})
    return told.model_copy(update={"pair": pair})


def test_a_vision_encoder_can_be_trained(pictured: RelationTrainingConfig, tmp_path: Path) -> None:
    data = pictured.data.model_copy(update={"val": pictured.data.train})
    figures = train_relations(pictured.model_copy(update={"data": data}), tmp_path / "model")
    assert figures["val"]["accuracy"] == 1
    name = str(pictured.pair.vision_encoder)
    model, base = RelationModel.from_pretrained(tmp_path / "model"), load_vision_encoder(name)
    assert model.vision is not None
    moved = {
        ".layers.1." in f".{key}"
        for key, weight in base.named_parameters()
        if not torch.equal(weight, model.vision.get_parameter(key))
    }
    assert moved == {True}  # the upper of two layers, and nothing else
    found = Extractor(model).extract(read(tmp_path / "posts.jsonl"))
    assert [t.relation for t in found] == ["near", "none"] * 20


def test_a_model_remembers_pairs_of_its_training_and_none_of_the_fold(
    config: Path, tmp_path: Path
) -> None:
    changed = loaded(config)
    bare = train_relations(changed, tmp_path / "model")
    assert RelationModel.from_pretrained(tmp_path / "model").memory is None
    # Asked for later, the run is the same, and only the memory is made.
    more = changed.model_copy(update={"memory": MemoryConfig(pairs=2)})
    assert train_relations(more, tmp_path / "model") == bare
    memory = RelationModel.from_pretrained(tmp_path / "model").memory
    assert memory is not None and memory.forward.norm(dim=1).min() > 0.9
    task = RelationTask(changed)
    labels = [task.posts[i].pairs[0].relation for i in memory.post.tolist()]  # type: ignore[index]
    assert labels == memory.labels and not set(memory.post.tolist()) & set(task.fold)
    assert max(labels.count(name) for name in set(labels) - {"none"}) == 2


def test_training_that_was_killed_gives_the_same_model(config: Path, tmp_path: Path) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    # Folders of the same name: the model's card and figures must not differ by it.
    for place in ("whole", "torn"):
        (tmp_path / place).mkdir()

    def command(place: str) -> list[str]:
        return [*RUKH, "train", str(config), "--out", str(tmp_path / place / "model")]

    subprocess.run(command("whole"), env=env, check=True, capture_output=True)
    state = tmp_path / "torn/model.run/checkpoint/state.json"
    kills = []
    for mark in (3, 12):
        running = subprocess.Popen(
            command("torn"), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while running.poll() is None:
            try:
                step = json.loads(state.read_text())["step"]
            except (OSError, ValueError):
                step = 0
            if step >= mark:
                running.send_signal(signal.SIGKILL)
                kills.append(step)
                break
            time.sleep(0.002)
        assert running.wait() == -signal.SIGKILL
        assert not (tmp_path / "torn/model").exists()
    subprocess.run(command("torn"), env=env, check=True, capture_output=True)
    for name in ("model.safetensors", "config.json", "README.md", "schema.yaml"):
        assert sha256(tmp_path / "torn/model" / name) == sha256(tmp_path / "whole/model" / name)
    other = [*command("torn"), "training.seed=5"]
    refused = subprocess.run(other, env=env, capture_output=True, text=True)
    assert refused.returncode == 2 and "differs in: training" in refused.stderr


def test_a_folder_of_other_things_is_not_replaced(config: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*RUKH, "train", str(config), "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2 and "something other than a model" in done.stderr
    assert config.exists()


def test_a_caption_is_dropped_as_often_as_told(config: Path, tmp_path: Path) -> None:
    posts = [post.model_copy(update={"caption": "a hat of a dog"}) for post in labelled()]
    write(posts, tmp_path / "posts.jsonl")
    told = loaded(config)
    pair = told.pair.model_copy(update={"caption_words": 3})
    data = told.data.model_copy(update={"caption_dropout": 0.5})
    task = RelationTask(told.model_copy(update={"pair": pair, "data": data}))
    lengths = [len(row) for _, row, _ in task.rows]
    assert [len(row.without_caption()) + 4 for _, row, _ in task.rows] == lengths
    dropped = []
    for epoch in range(20):
        task.batches(epoch)
        dropped += [not one.caption for one in task._shown]
    assert 0.4 < sum(dropped) / len(dropped) < 0.6
    task.batches(3)
    again = [not one.caption for one in task._shown]
    assert again == dropped[3 * len(lengths) : 4 * len(lengths)]  # as a resumed run has it


def test_a_student_learns_from_teachers_and_unlabelled_sentences(
    config: Path, tmp_path: Path
) -> None:
    told = loaded(config)
    short = told.training.model_copy(update={"epochs": 2, "validations": 1})
    teachers = []
    for k in range(2):
        data = told.data.model_copy(update={"part": (k, 2)})
        figures = train_relations(
            told.model_copy(update={"data": data, "training": short}), tmp_path / f"teacher{k}"
        )
        assert figures["left_out"]["pairs"] > 0
        teachers.append(str(tmp_path / f"teacher{k}"))
    (tmp_path / "tagged.txt").write_text("Bob\tB-PER\nnear\tO\nOslo\tB-LOC\n")
    distillation = DistillationConfig(teachers=teachers, unlabelled=(tmp_path / "tagged.txt",))
    taught = told.model_copy(update={"distillation": distillation, "training": short})
    task = RelationTask(taught)
    plain = RelationTask(told)
    assert len(task.rows) == len(plain.rows) + 1
    for (i, _, target), (j, _, gold) in zip(task.rows, plain.rows, strict=False):
        assert i == j and target.argmax(-1).tolist() == gold.argmax(-1).tolist()
        assert (target != gold).any(-1).all()  # every post is some teacher's to answer
    assert task.rows[-1][2].sum(-1).tolist() == pytest.approx([1.0])
    assert 0 <= train_relations(taught, tmp_path / "student")["fold"]["order_free"] <= 1


def test_a_part_is_one_of_several(config: Path) -> None:
    data = loaded(config).data.model_dump() | {"part": [2, 2]}
    with pytest.raises(ValidationError, match="0 <= k < n"):
        loaded(config, data=data)
    data["part"] = [0, 2]
    left = RelationTask(loaded(config, data=data))
    whole = RelationTask(loaded(config))
    assert len(left.rows) < len(whole.rows)
    shown = {i for i, _, _ in left.rows}
    assert left.left_out and not set(left.left_out) & {*shown, *left.fold}
    assert {*shown, *left.left_out} >= {i for i, _, _ in whole.rows}
    assert not whole.left_out


def test_weights_that_are_not_there_are_told_before_anything_is_read(config: Path) -> None:
    data = loaded(config).data.model_copy(update={"train": Path("nowhere.jsonl")})
    distillation = DistillationConfig(teachers=("nobody",))
    told = loaded(config).model_copy(update={"data": data, "distillation": distillation})
    with pytest.raises(WeightsError, match="'nobody'"):
        RelationTask(told)
    pair = told.pair.model_copy(update={"text_encoder": "no/text", "vision_encoder": "no/pictures"})
    with pytest.raises(WeightsError, match=r"'no/text'(.|\n)*'no/pictures'"):
        RelationTask(told.model_copy(update={"pair": pair}))
