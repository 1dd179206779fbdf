"""Few-shot learning: examples change the relations that they show, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conftest import Done, schema_of
from rukh.data.readers import write
from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling.inference import encode_memory, score_posts
from rukh.modeling.memory import Memory
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema
from rukh.training.few_shot import MEMORY_WEIGHT, _pair_weights, adapt, add_relations
from rukh.utils.files import sha256

NEW = {
    "name": "new",
    "relations": [
        {"name": "mends", "descriptions": ["the head repairs the tail"]},
        {"name": "rivals", "descriptions": ["both want the same"], "symmetric": True},
        {"name": "never_shown", "descriptions": ["the head ignores the tail"]},
    ],
}


def make_post(text: str, relation: str | None) -> Post:
    """A post whose first and last word are a labelled pair."""
    head, tail = text.split()[0], text.split()[-1]
    return Post(
        id=text,
        text=text,
        entities=(
            {"id": "h", "start": 0, "end": len(head), "type": "PER"},
            {"id": "t", "start": len(text) - len(tail), "end": len(text), "type": "LOC"},
        ),
        pairs=(Pair(head="h", tail="t", relation=relation),),
    )


EXAMPLES = [
    make_post("Ann lives at Rome", "mends"),
    make_post("Bob sees Oslo", "mends"),
    make_post("Cleo near Kyiv", "rivals"),
]
OLD = [
    make_post("Eve works at Acme", "works_at"),
    make_post("Dan holds Lima", "none"),
    make_post("Bob moved to Cairo", "lives_in"),
]


def logits(model: RelationModel, names: Sequence[str], post: Post = EXAMPLES[0]) -> torch.Tensor:
    bank = Extractor(model).bank
    (scores,) = score_posts(model, bank, [post], [[("h", "t")]], [None])
    return scores.logits[0, [1 + bank.names.index(name) for name in names]]


def with_memory(model: RelationModel, posts: Sequence[Post] = OLD) -> RelationModel:
    model.memory = encode_memory(model, model.bank(), posts, [None] * len(posts))
    return model


@pytest.fixture
def schema() -> RelationSchema:
    return RelationSchema.parse(NEW)


def test_only_the_relations_of_the_examples_change(tiny_model: Any, schema: RelationSchema) -> None:
    model = tiny_model(schema=schema_of())
    old = list(model.schema.names)
    model.schema = RelationSchema.merge([model.schema, schema], ["never_shown"])
    before = logits(model, [*old, "mends"])
    model = with_memory(tiny_model(schema=schema_of()))
    add_relations(model, schema, EXAMPLES)
    after = logits(model, [*old, "mends"])
    torch.testing.assert_close(after[: len(old)], before[: len(old)])
    assert after[-1] > before[-1]
    assert model.config.anchored_relations == ("mends", "rivals")
    assert model.schema.nota == "none" and "never_shown" not in model.schema.names
    # Further examples change their own relation only, and are added to the memory.
    first = model.anchors.clone()
    assert model.memory is not None and len(model.memory) == len(OLD) + len(EXAMPLES)
    add_relations(model, schema, [make_post("Ann lives at Lima", "mends")])
    assert len(model.memory) == len(OLD) + len(EXAMPLES) + 1
    anchors = dict(zip(model.config.anchored_relations, model.anchors, strict=True))
    torch.testing.assert_close(anchors["rivals"], first[1])
    assert (anchors["mends"] - first[0]).norm() > 1e-4


def test_relations_in_the_memory_are_separated_from_new_ones(
    tiny_model: Any, schema: RelationSchema
) -> None:
    similar = make_post("Ann lives at Oslo", "lives_in")  # much like the example of "mends"

    def margin(memory: Sequence[Post]) -> float:
        model = with_memory(tiny_model(schema=schema_of()), memory)
        add_relations(model, schema, EXAMPLES)
        lives_in, mends = logits(model, ["lives_in", "mends"], similar)
        return float(lives_in - mends)

    assert margin([*OLD[:2], similar]) > margin(OLD[:2]) + 0.1


def test_weights_of_old_and_new_relations() -> None:
    labels = ["a", "a", "b", "b", "none", "none", "none", "new", "new", "new", "newer", "newer"]
    names = tuple(dict.fromkeys(labels))
    label = torch.tensor([names.index(name) for name in labels])
    vectors = torch.zeros(len(labels), 8)
    memory = Memory(names, label, vectors, vectors, vectors[:, :2], label)
    weights = _pair_weights(memory, 7, 2, "none")
    expected = torch.tensor([MEMORY_WEIGHT * 2.5 / 2] * 7 + [1.0] * 5)
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("reason", ["scorer", "memory", "unlabelled", "unknown label"])
def test_models_and_examples_that_cannot_be_used(
    tiny_model: Any, schema: RelationSchema, reason: str
) -> None:
    scorer = "classification" if reason == "scorer" else "retrieval"
    model = tiny_model(schema=schema_of(), relation={"scorer": scorer})
    if reason != "memory":
        with_memory(model)
    label = {"unlabelled": None, "unknown label": "paints"}.get(reason, "mends")
    with pytest.raises(InputError):
        add_relations(model, schema, [make_post("Ann sees Oslo", label)])


@pytest.mark.parametrize("names", [["near", "lives_in"], ["none"]])
def test_names_with_another_meaning_in_the_model_are_an_error(
    tiny_model: Any, names: list[str]
) -> None:
    model = with_memory(tiny_model(schema=schema_of()))
    relations = [
        {"name": name, "descriptions": [f"the head pays the tail, {name}"]} for name in names
    ]
    schema = RelationSchema.parse({"name": "new", "relations": relations})
    with pytest.raises(InputError, match=", ".join(map(repr, names))):
        add_relations(model, schema, [make_post("Ann pays Oslo", names[0])])


def test_an_adapted_model_is_a_copy_with_more_relations(
    tiny_model: Any, schema: RelationSchema, tmp_path: Path
) -> None:
    model = with_memory(tiny_model(schema=schema_of()))
    model.save(tmp_path / "source", "# card\n")
    before = sha256(tmp_path / "source" / "model.safetensors")
    counts = adapt(tmp_path / "source", schema, EXAMPLES, tmp_path / "out")
    assert counts == {"mends": 2, "rivals": 1, "never_shown": 0}
    assert sha256(tmp_path / "source" / "model.safetensors") == before
    with pytest.raises(InputError):
        adapt(tmp_path / "source", schema, EXAMPLES, tmp_path / "source")

    loaded = RelationModel.from_pretrained(tmp_path / "out")
    assert loaded.config.anchored_relations == ("mends", "rivals")
    expected = RelationModel.from_pretrained(tmp_path / "source")
    add_relations(expected, schema, EXAMPLES)
    names = list(loaded.schema.names)
    torch.testing.assert_close(logits(loaded, names), logits(expected, names), atol=2e-3, rtol=1e-3)
    assert loaded.memory is not None
    assert loaded.memory.labels == [p.pairs[0].relation for p in (*OLD, *EXAMPLES)]  # type: ignore

    # An anchor belongs to a relation with this name and this description.
    assert Extractor(loaded, schema=schema_of()).bank.anchors is None
    namesake = {"name": "mends", "descriptions": ["the head is a song of the tail"]}
    other = RelationSchema.parse({"name": "other", "relations": [namesake]})
    assert Extractor(loaded, schema=other).bank.anchors is None

    adapt(tmp_path / "out", schema, EXAMPLES, tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text().count("`mends`") == 1
    (tmp_path / "again" / "memory.safetensors").unlink()
    with pytest.raises(WeightsError, match="memory"):
        RelationModel.from_pretrained(tmp_path / "again")


def test_the_command_line_adapts_a_model(
    tiny_model: Any, tmp_path: Path, rukh: Callable[..., Done]
) -> None:
    source, few, out = tmp_path / "source", tmp_path / "few.jsonl", tmp_path / "out"
    with_memory(tiny_model(schema=schema_of())).save(source, "# card\n")
    write(EXAMPLES, few)
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(NEW))
    command = ["train", "--from", source, "--few-shot", few, "--schema", tmp_path / "new.yaml"]
    assert rukh(*command, "--out", out).code == 0
    assert "mends" in RelationModel.from_pretrained(out).schema.names
    assert rukh(*command, "--out", out).code == 2  # it exists, perhaps with other examples


@pytest.mark.parametrize(
    "command", ["", "--from mnre", "x.yaml --from a --few-shot b --schema c --out d"]
)
def test_an_incomplete_command_is_an_error(command: str, rukh: Callable[..., Done]) -> None:
    assert rukh("train", *command.split()).code == 2
