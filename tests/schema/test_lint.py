"""Tests of the schema checks: each rule on a minimal example, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from rukh.cli.schema import app, load_embedder
from rukh.errors import InputError, WeightsError
from rukh.hub import find_weights
from rukh.schema.lint import Finding, lint, named_types
from rukh.schema.schema import RelationSchema

TYPES = {"PER": "person", "ORG": "organization", "LOC": "location"}


def bag_of_words(texts: list[str]) -> Any:
    words = sorted({word for text in texts for word in text.lower().split()})
    table = np.array([[t.lower().split().count(w) for w in words] for t in texts], np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def excess_tokens(text: str) -> int:
    return max(0, len(text.split()) - 12)


def relation(name: str, *texts: Any, **fields: Any) -> dict[str, Any]:
    return {"name": name, "descriptions": list(texts), **fields}


def findings(*relations: dict[str, Any], near: float = 0.9, **fields: Any) -> list[Finding]:
    data = {"name": "s", "types": TYPES, "relations": list(relations)} | fields
    schema = RelationSchema.parse(data, require_descriptions=False)
    return lint(schema, bag_of_words, excess_tokens=excess_tokens, near=near)


LIVES = relation("lives", "The head lives somewhere.", head=["PER"], tail=["LOC"])
WORKS = relation("works", "One works for money elsewhere.", head=["PER"], tail=["ORG"])
CASES: dict[str, tuple[list[dict[str, Any]], str, str, tuple[str, ...]]] = {
    "one description for two relations": (
        [LIVES, relation("dwells", "The HEAD lives, somewhere", "He dwells.")],
        "duplicate", "error", ("lives", "dwells"),
    ),
    "one description twice": (
        [LIVES | {"descriptions": ["The head lives.", "The head lives!"]}],
        "repeated", "warning", ("lives",),
    ),
    "similar descriptions": (
        [relation("a", "apple pie with the cream of milk and a apple"),
         relation("b", "apple pie with the cream of milk and b apple")],
        "near-duplicate", "warning", ("a", "b"),
    ),
    "symmetric with different types": (
        [LIVES | {"symmetric": True}], "symmetric-types", "error", ("lives",),
    ),
    "inverse with other types": (
        [WORKS | {"inverse": "employs"},
         relation("employs", "It employs people.", head=["LOC"], tail=["PER"])],
        "inverse-types", "error", ("works", "employs"),
    ),
    "inverse with other types, declared by both": (
        [WORKS | {"inverse": "employs"},
         relation("employs", "It employs.", head=["LOC"], tail=["PER"], inverse="works")],
        "inverse-types", "error", ("employs", "works"),
    ),
    "description with another type": (
        [LIVES | {"descriptions": ["The head, an organization, lives in the tail."]}],
        "type-outside", "warning", ("lives",),
    ),
    "type without a word": (
        [relation("eats", "He eats it.", head=["PER"], tail=["FOOD"]),
         relation("cooks", "Dinner is when she cooks.", tail=["FOOD"])],
        "type-words", "warning", ("eats", "cooks"),
    ),
    "label that no description uses": (
        [LIVES | {"name": "/per/loc/place_of_residence"}],
        "label-words", "warning", ("/per/loc/place_of_residence",),
    ),
    "sentence split by YAML": (
        [relation("lives", "The head", "a person", "lives in the tail.")],
        "split", "warning", ("lives",),
    ),
    "truncated": (
        [relation("lives", "lives " + "on and on " * 5)], "truncated", "error", ("lives",),
    ),
    "draft": (
        [relation("lives", "Lives.", {"text": "He lives.", "status": "draft"})],
        "draft", "warning", ("lives",),
    ),
    "no description": ([LIVES, relation("works")], "undescribed", "error", ("works",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    relations, rule, level, names = CASES[name]
    (finding,) = findings(*relations)
    assert (finding.rule, finding.level, finding.relations) == (rule, level, names)


def test_sound_schema_has_no_findings() -> None:
    employs = relation("employs", "It employs people.", head=["ORG"], tail=["PER"])
    near = relation("near", "The two are near.", head=["LOC"], tail=["LOC"], symmetric=True)
    checked = {"text": "Verified: he lives there.", "status": "verified"}
    assert not findings(
        LIVES | {"descriptions": ["The head, a person, lives somewhere.", checked]},
        WORKS | {"inverse": "employs"}, employs, near, {"name": "none"}, nota="none",
    )  # fmt: skip


def test_near_threshold() -> None:
    relations = relation("a", "one two three a"), relation("b", "one two three b")
    assert not findings(*relations)
    (finding,) = findings(*relations, near=0.75)
    assert finding.texts == ("one two three a", "one two three b")


def test_errors_come_first_and_truncation_is_optional() -> None:
    levels = [one.level for one in findings(LIVES | {"name": "dwells", "symmetric": True}, WORKS)]
    assert levels == sorted(levels) and set(levels) == {"error", "warning"}
    long = RelationSchema.parse({"name": "s", "relations": [relation("on", "on and " * 20)]})
    assert lint(long, bag_of_words) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The head, a person, is at the tail, a location.", [("head", "PER"), ("tail", "LOC")]),
        ("The head and the tail are two persons who meet.", [("head", "PER"), ("tail", "PER")]),
        ("The tail is a very large organization.", [("tail", "ORG")]),
        ("The head is not a person.", []),
        ("A person stands beside the tail.", []),
        ("The head, a person or a organization, speaks.", [("head", "PER")]),
        ("The tail is one member of an organization.", []),
        ("The head, a C++ thing.", []),
    ],
)
def test_named_types(text: str, expected: list[tuple[str, str]]) -> None:
    assert named_types(text, TYPES | {"X": "C++", "Y": "(", "Z": ".*"}) == expected


@pytest.fixture(scope="module")
def default_encoder() -> Any:
    try:
        find_weights("all-MiniLM-L6-v2", "text")
    except WeightsError as error:
        pytest.skip(str(error))
    return load_embedder(None)


@pytest.mark.parametrize("name", ["mnre", "umre"])
def test_shipped_schemas_have_no_errors(default_encoder: Any, name: str) -> None:
    embed, excess = default_encoder
    rules = {one.rule for one in lint(RelationSchema.load(name), embed, excess_tokens=excess)}
    assert rules <= {"label-words"}


def test_inverse_relations_are_near_duplicates(default_encoder: Any) -> None:
    employs = relation("employs", "The tail works at the head, so it employs it.")
    works = relation("works", "The head works at the tail, so it employs it.")
    schema = RelationSchema.parse({"name": "s", "relations": [works, employs]})
    (finding,) = lint(schema, default_encoder[0])
    assert (finding.rule, finding.relations) == ("near-duplicate", ("works", "employs"))


def test_command(tmp_path: Path, tiny_text: str) -> None:
    path, out = tmp_path / "s.yaml", tmp_path / "findings.json"

    def run(*relations: dict[str, Any], json_path: str = str(out)) -> Any:
        path.write_text(yaml.safe_dump({"name": "s", "types": TYPES, "relations": list(relations)}))
        options = ["--json", json_path, "--near", "1", "--encoder", tiny_text]
        return CliRunner().invoke(app, ["lint", str(path), *options])

    def rules() -> list[str]:
        return [finding["rule"] for finding in json.loads(out.read_text())["findings"]]

    draft = {"descriptions": [{"text": "He lives here.", "status": "draft"}]}
    result = run(LIVES | draft, WORKS)
    assert result.exit_code == 0, result.output
    assert rules() == ["draft"]
    result = run(WORKS, LIVES | {"symmetric": True}, json_path="-")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["findings"][0]["rule"] == "symmetric-types"
    result = run(relation("lives", "He lives " + "and lives " * 100))
    assert result.exit_code == 1 and "truncated" in result.stdout
    assert isinstance(run({"name": 3}).exception, InputError)
    # Only some of very many findings are printed; the file has all of them.
    result = run(*(relation(f"r{i}", {"text": f"{i}.", "status": "draft"}) for i in range(110)))
    assert 100 <= result.stdout.count("[draft]") < 110
    assert rules().count("draft") == 110
