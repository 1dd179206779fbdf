"""Few-shot learning: examples change the relations that they show, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done, schema_of
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.extractor import Extractor
from rukh.modeling.background import EncodedPairs
from rukh.modeling.inference import score_posts
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post
from rukh.schema.schema import RelationSchema
from rukh.training.few_shot import PRIOR_EXAMPLES, adapt, add_relations, make_anchor
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


def logits(model: RelationModel, names: Sequence[str], post: Post = EXAMPLES[0]) -> torch.Tensor:
    bank = Extractor(model, schema=model.schema).bank
    (scores,) = score_posts(model, bank, [post], [[("h", "t")]], [None])
    return scores.logits[0, [1 + bank.names.index(name) for name in names]]


@pytest.fixture
def schema() -> RelationSchema:
    return RelationSchema.parse(NEW)


def test_only_the_relations_of_the_examples_change(tiny_model: Any, schema: RelationSchema) -> None:
    model = tiny_model(schema=schema_of())
    old = list(model.schema.names)
    model.schema = RelationSchema.merge([model.schema, schema])
    before = logits(model, [*old, "mends", "never_shown"])
    model = tiny_model(schema=schema_of())
    counts = add_relations(model, schema, EXAMPLES)
    assert counts == {"mends": 2, "rivals": 1}
    after = logits(model, [*old, "mends", "never_shown"])
    torch.testing.assert_close(after[: len(old)], before[: len(old)])
    assert after[-2] > before[-2] and after[-1] == before[-1]
    assert model.config.anchored_relations == ("mends", "rivals")
    assert model.schema.nota == "none" and model.default_schema.names == schema.names
    assert model.default_schema.name == "new"
    # Further examples change their own relation only.
    first = model.anchors.clone()
    add_relations(model, schema, [make_post("Ann lives at Lima", "mends"), EXAMPLES[2]])
    anchors = dict(zip(model.config.anchored_relations, model.anchors, strict=True))
    assert (anchors["mends"] - first[0]).norm() > 1e-4


def make_pairs(forward: list[list[float]], backward: list[list[float]]) -> EncodedPairs:
    nota = torch.zeros(len(forward), 2)
    return EncodedPairs(torch.tensor(forward), torch.tensor(backward), nota)


def test_an_anchor_is_the_mean_of_the_examples() -> None:
    pairs = make_pairs([[1.0, 0], [1.0, 0], [0, 1.0]], [[0, 1.0]] * 3)
    labels = ["a", "a", None]
    anchor = make_anchor(pairs, labels, "a", symmetric=False, scale=torch.tensor(10.0))
    weight = 2 / (2 + PRIOR_EXAMPLES)
    torch.testing.assert_close(anchor[:2], torch.tensor([weight, 0]))
    gains = [weight * 10 * cosine + float(anchor[2]) for cosine in (1, 1, 0, 0, 0, 0)]
    assert abs(sum(gains)) < 1e-5  # nothing, for the average pair
    both = make_anchor(pairs, labels, "a", symmetric=True, scale=torch.tensor(10.0))
    torch.testing.assert_close(both[0], both[1])


@given(st.integers(1, 30))
def test_more_examples_count_more(count: int) -> None:
    anchors = []
    for number in (count, count + 1):
        pairs = make_pairs([[1.0, 0]] * number + [[0, 1.0]], [[0, 1.0]] * (number + 1))
        labels = [*["a"] * number, None]
        anchors.append(make_anchor(pairs, labels, "a", symmetric=False, scale=torch.tensor(1.0)))
    assert 0 < anchors[0][0] < anchors[1][0] < 1


def test_unrelated_pairs_teach_silence() -> None:
    alike, other = [1.0, 0], [0, 1.0]
    scores = []
    for unrelated in ([other], [other, alike]):
        pairs = make_pairs([alike, *unrelated], [other] * (1 + len(unrelated)))
        labels = ["a", *[None] * len(unrelated)]
        anchor = make_anchor(pairs, labels, "a", symmetric=False, scale=torch.tensor(1.0))
        scores.append(float(anchor[0] + anchor[2]))  # what a pair like these gains
    assert scores[1] < scores[0]


@pytest.mark.parametrize("reason", ["scorer", "unlabelled", "unknown label"])
def test_models_and_examples_that_cannot_be_used(
    tiny_model: Any, schema: RelationSchema, reason: str
) -> None:
    scorer = "classification" if reason == "scorer" else "retrieval"
    model = tiny_model(schema=schema_of(), relation={"scorer": scorer})
    label = {"unlabelled": None, "unknown label": "paints"}.get(reason, "mends")
    with pytest.raises(InputError):
        add_relations(model, schema, [make_post("Ann sees Oslo", label)])


@pytest.mark.parametrize("names", [["near", "lives_in"], ["none"]])
def test_names_with_another_meaning_in_the_model_are_an_error(
    tiny_model: Any, names: list[str]
) -> None:
    model = tiny_model(schema=schema_of())
    relations = [
        {"name": name, "descriptions": [f"the head pays the tail, {name}"]} for name in names
    ]
    schema = RelationSchema.parse({"name": "new", "relations": relations})
    with pytest.raises(InputError, match=", ".join(map(repr, names))):
        add_relations(model, schema, [make_post("Ann pays Oslo", names[0])])


def test_an_adapted_model_is_a_copy_with_more_relations(
    tiny_model: Any, schema: RelationSchema, tmp_path: Path
) -> None:
    model = tiny_model(schema=schema_of())
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
    assert loaded.default_schema.names == ("mends", "rivals", "never_shown")

    # An anchor belongs to a relation with this name and this description.
    assert Extractor(loaded, schema=schema_of()).bank.anchors is None
    namesake = {"name": "mends", "descriptions": ["the head is a song of the tail"]}
    other = RelationSchema.parse({"name": "other", "relations": [namesake]})
    assert Extractor(loaded, schema=other).bank.anchors is None

    adapt(tmp_path / "out", schema, EXAMPLES, tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text().count("`mends`") == 1


def test_the_command_line_adapts_a_model(
    tiny_model: Any, tmp_path: Path, rukh: Callable[..., Done]
) -> None:
    source, few, out = tmp_path / "source", tmp_path / "few.jsonl", tmp_path / "out"
    tiny_model(schema=schema_of()).save(source, "# card\n")
    write(EXAMPLES, few)
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(NEW))
    command = ["train", "--from", source, "--data", few, "--schema", tmp_path / "new.yaml"]
    assert rukh(*command, "--out", out).code == 0
    assert "mends" in RelationModel.from_pretrained(out).schema.names
    assert rukh(*command, "--out", out).code == 2  # it exists, perhaps with other examples


@pytest.mark.parametrize(
    "command", ["", "--from mnre", "x.yaml --from a --data b --schema c --out d"]
)
def test_an_incomplete_command_is_an_error(command: str, rukh: Callable[..., Done]) -> None:
    assert rukh("train", *command.split()).code == 2
