"""A few examples move the relations that they are of, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from conftest import schema_of
from rukh.cli import app
from rukh.data.readers import write
from rukh.errors import InputError, WeightsError
from rukh.extractor import Extractor
from rukh.modeling.inference import remember, score_posts
from rukh.modeling.memory import Memory
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema
from rukh.training.few_shot import REMEMBERED, _weights, adapted
from rukh.utils.files import sha256

NEW = {
    "name": "new",
    "relations": [
        {"name": "mends", "descriptions": ["the head repairs the tail"]},
        {"name": "rivals", "descriptions": ["both want the same"], "symmetric": True},
        {"name": "never_shown", "descriptions": ["the head ignores the tail"]},
    ],
}


def post_of(text: str, relation: str | None) -> Post:
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
    post_of("Ann lives at Rome", "mends"),
    post_of("Bob sees Oslo", "mends"),
    post_of("Cleo near Kyiv", "rivals"),
]


def logits(model: RelationModel, names: list[str]) -> torch.Tensor:
    asking = Extractor(model)
    (told,) = score_posts(model, asking.bank, [EXAMPLES[0]], [[("h", "t")]], [None])
    return told.logits[0, [1 + asking.bank.names.index(name) for name in names]]


def memory_of(labels: list[str], dim: int = 8, seed: int = 0) -> Memory:
    draw = torch.Generator().manual_seed(seed)
    names = tuple(dict.fromkeys(labels))
    there, back = (
        torch.nn.functional.normalize(torch.randn(len(labels), dim, generator=draw), dim=1)
        for _ in range(2)
    )
    label = torch.tensor([names.index(name) for name in labels])
    return Memory(names, label, there, back, torch.randn(len(labels), 2), torch.arange(len(labels)))


def remembering(model: RelationModel, posts: Sequence[Post]) -> RelationModel:
    model.memory = remember(model, model.bank(), posts, [None] * len(posts))
    return model


OLD = [
    post_of("Eve works at Acme", "works_at"),
    post_of("Dan holds Lima", "none"),
    post_of("Bob moved to Cairo", "lives_in"),
]


def test_only_the_relations_of_the_examples_move(tiny_model: Any) -> None:
    schema = RelationSchema.parse(NEW)
    model = tiny_model(schema=schema_of())
    old = list(model.schema.names)
    model.schema = RelationSchema.merge([model.schema, schema], ["never_shown"])
    before = logits(model, [*old, "mends"])
    plain = remembering(tiny_model(schema=schema_of()), OLD)
    adapted(plain, schema, EXAMPLES)
    after = logits(plain, [*old, "mends"])
    torch.testing.assert_close(after[: len(old)], before[: len(old)])
    assert after[-1] > before[-1]  # it is an example of this one
    assert plain.config.anchored_relations == ("mends", "rivals")
    assert plain.schema.nota == "none" and "never_shown" not in plain.schema.names
    # More examples move their own relation alone, and join those that are remembered.
    first = plain.anchors.clone()
    assert plain.memory is not None and len(plain.memory) == len(OLD) + len(EXAMPLES)
    adapted(plain, schema, [post_of("Ann lives at Lima", "mends")])
    assert set(plain.config.anchored_relations) == {"mends", "rivals"}
    again = dict(zip(plain.config.anchored_relations, plain.anchors, strict=True))
    torch.testing.assert_close(again["rivals"], first[1])
    assert (again["mends"] - first[0]).norm() > 1e-4


def test_what_is_remembered_is_kept_apart_from_the_examples(tiny_model: Any) -> None:
    schema = RelationSchema.parse(NEW)
    near = post_of("Ann lives at Oslo", "lives_in")  # much like the example of "mends"

    def lead(model: RelationModel) -> float:
        adapted(model, schema, EXAMPLES)
        asking = Extractor(model)
        (told,) = score_posts(model, asking.bank, [near], [[("h", "t")]], [None])
        row = told.logits[0, 1:]
        names = asking.bank.names
        return float(row[names.index("lives_in")] - row[names.index("mends")])

    bare = lead(remembering(tiny_model(schema=schema_of()), OLD[:2]))
    assert lead(remembering(tiny_model(schema=schema_of()), [*OLD[:2], near])) > bare + 0.1


def test_remembered_relations_weigh_a_fixed_multiple_of_those_of_the_examples() -> None:
    labels = ["a", "a", "b", "b", "none", "none", "none", "new", "new", "new", "newer", "newer"]
    weights = _weights(memory_of(labels), 7, ["new", "newer"], "none")
    torch.testing.assert_close(weights, torch.tensor([REMEMBERED * 2.5 / 2] * 7 + [1.0] * 5))


def test_a_classifier_takes_no_new_relations(tiny_model: Any) -> None:
    model = tiny_model(schema=schema_of(), relation={"head": "classifier"})
    with pytest.raises(InputError, match="retrieves relations"):
        adapted(model, RelationSchema.parse(NEW), EXAMPLES)


def test_examples_without_a_relation_are_refused(tiny_model: Any) -> None:
    schema = RelationSchema.parse(NEW)
    model = remembering(tiny_model(schema=schema_of()), OLD)
    with pytest.raises(InputError, match="no pair of the examples"):
        adapted(model, schema, [post_of("Ann sees Oslo", None)])
    with pytest.raises(InputError, match="'paints' is not in"):
        adapted(model, schema, [post_of("Ann sees Oslo", "paints")])


def test_without_a_memory_nothing_is_learnt(tiny_model: Any) -> None:
    with pytest.raises(InputError, match="remembers none of its training pairs"):
        adapted(tiny_model(schema=schema_of()), RelationSchema.parse(NEW), EXAMPLES)


@pytest.mark.parametrize(
    ("name", "message"), [("lives_in", "described otherwise"), ("none", "no relation")]
)
def test_a_name_that_the_model_knows_otherwise_is_refused(
    tiny_model: Any, name: str, message: str
) -> None:
    model = remembering(tiny_model(schema=schema_of()), OLD)
    schema = RelationSchema.parse(
        {"name": "new", "relations": [{"name": name, "descriptions": ["the head pays the tail"]}]}
    )
    with pytest.raises(InputError, match=message):
        adapted(model, schema, [post_of("Ann pays Oslo", name)])


def test_an_adapted_model_is_stored_beside_the_weights_it_came_from(
    tiny_model: Any, tmp_path: Path
) -> None:
    model = remembering(tiny_model(schema=schema_of()), OLD)
    model.save(tmp_path / "source", "# card\n")
    before = sha256(tmp_path / "source" / "model.safetensors")
    write(EXAMPLES, tmp_path / "few.jsonl")
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(NEW))
    command = [
        "train", "--from", str(tmp_path / "source"), "--few-shot", str(tmp_path / "few.jsonl"),
        "--schema", str(tmp_path / "new.yaml"), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert sha256(tmp_path / "source" / "model.safetensors") == before
    loaded = RelationModel.from_pretrained(tmp_path / "out")
    assert loaded.config.anchored_relations == ("mends", "rivals")
    assert "`mends`" in (tmp_path / "out" / "README.md").read_text()
    kept = RelationModel.from_pretrained(tmp_path / "source")
    adapted(kept, RelationSchema.parse(NEW), EXAMPLES)
    names = list(loaded.schema.names)
    torch.testing.assert_close(logits(loaded, names), logits(kept, names), atol=2e-3, rtol=1e-3)
    assert loaded.memory is not None
    assert loaded.memory.labels == [p.pairs[0].relation for p in (*OLD, *EXAMPLES)]  # type: ignore
    # Other schemas are asked as before: an anchor is its relation's, by name and description.
    assert Extractor(loaded, schema=schema_of()).bank.anchors is None
    other = {"name": "mends", "descriptions": ["the head is a song of the tail"]}
    named = RelationSchema.parse({"name": "other", "relations": [other]})
    assert Extractor(loaded, schema=named).bank.anchors is None
    # It is not lost by the same command with other examples.
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, InputError) and "is there already" in str(
        refused.exception
    )
    # More examples of an adapted model are told once on its card; a lost memory is told.
    command[2], command[-1] = str(tmp_path / "out"), str(tmp_path / "again")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again" / "README.md").read_text().count("## Adapted") == 1
    (tmp_path / "again" / "memory.safetensors").unlink()
    with pytest.raises(WeightsError, match="memory"):
        RelationModel.from_pretrained(tmp_path / "again")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train"], "nothing to train"),
        (["train", "--from", "mnre"], "needs --few-shot, --schema, --out"),
        (
            ["train", "x.yaml", "--from", "a", "--few-shot", "b", "--schema", "c", "--out", "d"],
            "exclude each other",
        ),
    ],
)
def test_half_a_command_says_what_it_lacks(command: list[str], message: str) -> None:
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0
    told = done.output + str(done.exception)
    assert message in told
