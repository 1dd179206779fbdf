"""Tests of the shipped schemas: labels as in the data, and sound descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rukh.modeling.text_encoder import TextEncoder
from rukh.schema.schema import RelationSchema

# Labels, symmetric relations, and which description is a phrase, not a sentence.
SCHEMAS = {
    "mnre": (23, "siblings couple neighbor peer alumi alternate_names", None),
    "umre": (28, "self opponent partner relatives alumni", None),
    "wikidata": (110, "", 3),
    "conll04": (6, "", 3),
}


@pytest.fixture(params=SCHEMAS)
def schema(request: pytest.FixtureRequest) -> RelationSchema:
    return RelationSchema.load(request.param)


def test_relations(schema: RelationSchema) -> None:
    count, symmetric, _ = SCHEMAS[schema.name]
    assert len(schema.labels) == count and schema.nota in ("None", "none")
    assert schema.argument_types == set(schema.types)
    for relation in schema.relations:
        if relation.name != schema.nota:
            assert relation.head and relation.tail
            assert not relation.symmetric or relation.head == relation.tail
        if schema.name in ("mnre", "umre") and relation.name != schema.nota:
            _, head, tail, label = relation.name.split("/")
            assert (relation.head, relation.tail) == ((head.upper(),), (tail.upper(),))
            reverse = relation.name if label in symmetric.split() else None
            assert schema.inverse_of(relation.name) == reverse


def test_descriptions(schema: RelationSchema) -> None:
    texts = [text for relation in schema.relations for text in relation.descriptions]
    assert len(set(texts)) == len(texts)
    for name in schema.names:
        descriptions = schema.relation(name).descriptions
        assert 4 <= len(descriptions) <= 5
        assert "head" in descriptions[0] and "tail" in descriptions[0]
        for i, text in enumerate(descriptions):
            assert text == " ".join(text.split())
            assert text.endswith(".") != (i == SCHEMAS[schema.name][2]), text


def test_descriptions_fit_the_relation_encoder(schema: RelationSchema) -> None:
    encoder = TextEncoder.load("all-MiniLM-L6-v2")
    for relation in schema.relations:
        assert all(len(encoder.tokenize(text).ids) < 62 for text in relation.descriptions)


@pytest.mark.parametrize(
    ("name", "file"), [("mnre", "mnre/rel2id.json"), ("umre", "schemas/umre_rel2id.json")]
)
def test_label_order_is_that_of_the_data(name: str, file: str, rukh_data: Path) -> None:
    ids: dict[str, int] = json.loads((rukh_data / file).read_text(encoding="utf-8"))
    assert list(RelationSchema.load(name).labels) == sorted(ids, key=ids.__getitem__)


def test_wikidata_inverses() -> None:
    schema = RelationSchema.load("wikidata")
    inverses = {name: schema.inverse_of(name) for name in schema.names if schema.inverse_of(name)}
    assert {name for name, inverse in inverses.items() if name == inverse} == {
        "said to be the same as", "sibling", "twinned administrative body"
    }  # fmt: skip
    assert {name: inverse for name, inverse in inverses.items() if name < str(inverse)} == {
        "capital": "capital of",
        "characters": "present in work",
        "mouth of the watercourse": "tributary",
        "parent organization": "subsidiary",
        "participant": "participant of",
        "replaced by": "replaces",
    }


def test_wikidata_has_every_label_of_its_data(rukh_data: Path) -> None:
    schema = RelationSchema.load("wikidata")
    folder = rukh_data / "wikidata_re"
    rows = [
        json.loads(line)
        for split in ("train", "dev")
        for line in (folder / f"wiki80_{split}.jsonl").open(encoding="utf-8")
    ]
    documents = json.loads((folder / "redocred_dev.json").read_text(encoding="utf-8"))
    labels = {row["relation"] for row in rows}
    labels |= {label["r"] for document in documents for label in document["labels"]}
    assert {schema.resolve(label) for label in labels} == set(schema.names)
    catalogue = json.loads((folder / "relation_descriptions.json").read_text(encoding="utf-8"))
    names = {relation.id: relation.name for relation in schema.relations if relation.id}
    shared = names.keys() & catalogue.keys()
    assert len(shared) == 101  # the file lacks the eight relations to dates
    assert all(catalogue[key][0] == names[key] for key in shared)
    theirs = {text for _, text in catalogue.values()}
    assert not theirs & {text for r in schema.relations for text in r.descriptions}
