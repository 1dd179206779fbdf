"""Each rule finds what it is for, and a schema without faults has none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from rukh.cli.schema import app
from rukh.errors import InputError, WeightsError
from rukh.hub import find_weights
from rukh.schema.lint import Finding, lint, named_types
from rukh.schema.schema import RelationSchema
from rukh.schema.similarity import Embedder


class Words(Embedder):
    """Each text is the bag of its words; it reads twelve of them."""

    def __call__(self, texts: Sequence[str]) -> Any:
        words = sorted({word for text in texts for word in text.lower().split()})
        table = np.array([[t.lower().split().count(w) for w in words] for t in texts], np.float32)
        return table / np.linalg.norm(table, axis=1, keepdims=True)

    def excess(self, text: str) -> int:
        return max(0, len(text.split()) - 12)


def relation(name: str, *texts: Any, **fields: Any) -> dict[str, Any]:
    return {"name": name, "descriptions": list(texts), **fields}


def found(*relations: dict[str, Any], near: float = 0.9, **fields: Any) -> list[Finding]:
    data = {"name": "s", "types": {"PER": "person", "ORG": "organization", "LOC": "location"}}
    schema = RelationSchema.parse(data | {"relations": list(relations)} | fields, undescribed=True)
    return lint(schema, Words(), near)


LIVES = relation("lives", "The head lives somewhere.", head=["PER"], tail=["LOC"])
WORKS = relation("works", "One works for money elsewhere.", head=["PER"], tail=["ORG"])
CASES: dict[str, tuple[list[dict[str, Any]], str, str, tuple[str, ...]]] = {
    "one text for two": (
        [LIVES, relation("dwells", "The HEAD lives, somewhere", "He dwells.")],
        "duplicate", "error", ("lives", "dwells"),
    ),
    "one text twice": (
        [LIVES | {"descriptions": ["The head lives.", "The head lives!"]}],
        "duplicate", "warning", ("lives",),
    ),
    "too near": (
        [relation("a", "apple pie with the cream of milk and a apple"),
         relation("b", "apple pie with the cream of milk and b apple")],
        "near-duplicate", "warning", ("a", "b"),
    ),
    "symmetric but not alike": (
        [LIVES | {"symmetric": True}], "symmetric-types", "error", ("lives",),
    ),
    "inverse not mirrored": (
        [WORKS | {"inverse": "employs"},
         relation("employs", "It employs people.", head=["LOC"], tail=["PER"])],
        "inverse-types", "error", ("works", "employs"),
    ),
    "inverse not mirrored, told by both": (
        [WORKS | {"inverse": "employs"},
         relation("employs", "It employs.", head=["LOC"], tail=["PER"], inverse="works")],
        "inverse-types", "error", ("employs", "works"),
    ),
    "another type": (
        [LIVES | {"descriptions": ["The head, an organization, lives in the tail."]}],
        "type-outside", "warning", ("lives",),
    ),
    "a type without words": (
        [relation("eats", "He eats it.", head=["PER"], tail=["FOOD"]),
         relation("cooks", "Dinner is when she cooks.", tail=["FOOD"])],
        "type-words", "warning", ("eats", "cooks"),
    ),
    "a label without words": (
        [LIVES | {"name": "/per/loc/place_of_residence"}],
        "label-words", "warning", ("/per/loc/place_of_residence",),
    ),
    "too long": (
        [relation("lives", "lives " + "on and on " * 5)], "truncated", "error", ("lives",),
    ),
    "a draft": (
        [relation("lives", "Lives.", {"text": "He lives.", "status": "draft"})],
        "draft", "warning", ("lives",),
    ),
    "nothing": ([LIVES, relation("works")], "undescribed", "error", ("works",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_alone(name: str) -> None:
    relations, rule, level, names = CASES[name]
    (one,) = found(*relations)
    assert (one.rule, one.level, one.relations) == (rule, level, names)


def test_a_sound_schema_has_no_findings() -> None:
    employs = relation("employs", "It employs people.", head=["ORG"], tail=["PER"])
    near = relation("near", "The two are near.", head=["LOC"], tail=["LOC"], symmetric=True)
    checked = {"text": "Verified: he lives there.", "status": "verified"}
    assert not found(
        LIVES | {"descriptions": ["The head, a person, lives somewhere.", checked]},
        WORKS | {"inverse": "employs"}, employs, near, {"name": "none"}, nota="none",
    )  # fmt: skip


def test_the_threshold_decides_what_is_near() -> None:
    two = relation("a", "one two three a"), relation("b", "one two three b")
    assert not found(*two)
    (one,) = found(*two, near=0.75)
    assert one.texts == ("one two three a", "one two three b") and "0.750" in one.message


def test_errors_come_first() -> None:
    levels = [one.level for one in found(LIVES | {"name": "dwells", "symmetric": True}, WORKS)]
    assert levels == sorted(levels) and set(levels) == {"error", "warning"}


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
    ],
)
def test_types_are_read_off_plain_forms(text: str, expected: list[tuple[str, str]]) -> None:
    types = {"PER": "person", "LOC": "location", "ORG": "organization"}
    assert named_types(text, types) == expected


def test_words_of_types_are_words_not_patterns() -> None:
    assert named_types("The head, a C++ thing.", {"X": "C++", "Y": "(", "Z": ".*"}) == []


@pytest.fixture
def shipped_encoder() -> None:
    try:
        find_weights("all-MiniLM-L6-v2", "text")
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("shipped_encoder")
@pytest.mark.parametrize("name", ["mnre", "umre"])
def test_the_shipped_schemas_have_no_errors(name: str) -> None:
    rules = {one.rule for one in lint(RelationSchema.load(name), Embedder())}
    assert rules <= {"label-words"}


@pytest.mark.usefixtures("shipped_encoder")
def test_the_shipped_encoder_cannot_tell_who_works_for_whom() -> None:
    turned = relation("employs", "The tail works at the head, so it employs it.")
    works = relation("works", "The head works at the tail, so it employs it.")
    schema = RelationSchema.parse({"name": "s", "relations": [works, turned]})
    (one,) = lint(schema, Embedder())
    assert (one.rule, one.relations) == ("near-duplicate", ("works", "employs"))


def test_the_command_by_its_exit_code(tmp_path: Path, tiny_text: str) -> None:
    path, out = tmp_path / "s.yaml", tmp_path / "found.json"

    def run(*relations: dict[str, Any], json_to: str = str(out)) -> Any:
        data = {"name": "s", "types": {"PER": "person", "LOC": "location", "ORG": "company"}}
        path.write_text(yaml.safe_dump(data | {"relations": list(relations)}))
        asked = ["lint", str(path), "--json", json_to, "--near", "1", "--encoder", tiny_text]
        return CliRunner().invoke(app, asked)

    draft = LIVES | {"descriptions": [{"text": "He lives here.", "status": "draft"}]}
    done = run(draft, WORKS)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("s.yaml: 0 errors, 1 warnings\n")
    assert json.loads(out.read_text())["findings"][0]["rule"] == "draft"
    done = run(WORKS, LIVES | {"symmetric": True}, json_to="-")
    assert done.exit_code == 1 and "1 errors, 0 warnings" in done.stderr
    assert json.loads(done.stdout)["findings"][0]["rule"] == "symmetric-types"
    done = run(relation("lives", "He lives " + "and lives " * 100))
    assert done.exit_code == 1 and "truncated" in done.stdout
    assert isinstance(run({"name": 3}).exception, InputError)
    # Of very many findings some are printed, and all are in the file.
    drafts = [
        relation(f"r{i}") | {"descriptions": [{"text": f"Number {i}.", "status": "draft"}]}
        for i in range(110)
    ]
    done = run(*drafts)
    assert "10 more [draft]" in done.stdout and done.stdout.count("[draft]") == 101
    rules = [one["rule"] for one in json.loads(out.read_text())["findings"]]
    assert rules.count("draft") == 110
