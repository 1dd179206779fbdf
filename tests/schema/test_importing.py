"""Tests of the import of relation catalogues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rukh.cli.schema import app
from rukh.errors import InputError
from rukh.schema.importing import clean_description, import_schema
from rukh.schema.schema import RelationSchema


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_catalogue_becomes_a_closed_schema(tmp_path: Path) -> None:
    advice = "sovereign state of this item; don't use on humans"
    catalogue = {
        "P17": ["country", f" {advice.replace(' state', '  state')}"],
        "P361": ["part of", "No description defined"],
        "P2": ["has part", ""],
        "P3": ["a: 'x' #1 👩‍🚀", None],
        "P4": "plain",
        "P5": ["short"],
    }
    schema = import_schema(write(tmp_path / "in.json", catalogue), "mine")
    assert (schema.name, schema.nota) == ("mine", None)
    assert [(r.id, r.name, *r.descriptions) for r in schema.relations] == [
        ("P17", "country", "The tail is the country of the head.", advice),
        ("P361", "part of", "The head is part of the tail.", "part of"),
        ("P2", "has part", "The head has part the tail.", "has part"),
        ("P3", "a: 'x' #1 👩‍🚀", "The tail is the a: 'x' #1 👩‍🚀 of the head.", "a: 'x' #1 👩‍🚀"),
        ("P4", "plain", "The tail is the plain of the head.", "plain"),
        ("P5", "short", "The tail is the short of the head.", "short"),
    ]  # fmt: skip
    (tmp_path / "out.yaml").write_text(schema.to_yaml(), encoding="utf-8")
    assert RelationSchema.load(tmp_path / "out.yaml") == schema


def test_repeated_names_get_their_ids(tmp_path: Path) -> None:
    catalogue = {"P1": ["part", "a"], "P2": ["whole", "b"], "P3": ["part", "c"], "P4": ["P1", "d"]}
    schema = import_schema(write(tmp_path / "in.json", catalogue), "s")
    assert schema.names == ("part (P1)", "whole", "part (P3)", "P1 (P4)")
    assert [schema.resolve(f"P{i}") for i in range(1, 5)] == list(schema.names)
    assert schema.relations[0].descriptions[0] == "The tail is the part of the head."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("who wrote it [for words, use P676 (a)]", "who wrote it"),
        ("place of it. Use P131 for a town. See also P276.", "place of it."),
        ("leader, below the chair (P488)", "leader, below the chair"),
        ("see P2", "see"),
        ("a; b e.g. c", "a; b e.g. c"),
        ("P12", None),
        (" \n", None),
        ("No description defined", None),
    ],
)
def test_notes_to_editors_are_removed(text: str, expected: str | None) -> None:
    assert clean_description(text) == expected


@given(st.text())
def test_cleaned_description_is_one_line_or_none(text: str) -> None:
    cleaned = clean_description(text)
    assert cleaned is None or (cleaned.strip() and cleaned == " ".join(cleaned.split()))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"P1":\n', None),
        ("[]", None),
        ("{}", None),
        ('{"P1": ["a", "b"], "P2": 3}', "P2"),
        ('{"P1": ["a", 1]}', "P1"),
        ('{"P1": ["a", "b", "c"]}', "P1"),
        ('{"P1": ["  ", "b"]}', "P1"),
        ('{"": ["a", "b"]}', '""'),
        ('{"P1": ["\\ud83d", "b"]}', None),
        ('{"P1": ["' + "x" * 1001 + '", "b"]}', "relations[0].name"),
    ],
)
def test_malformed_catalogue(tmp_path: Path, text: str, field: str | None) -> None:
    with pytest.raises(InputError) as caught:
        import_schema(write(tmp_path / "in.json", text), "s")
    assert (caught.value.where, caught.value.field) == (str(tmp_path / "in.json"), field)


def test_all_of_wikidata(rukh_data: Path, tmp_path: Path) -> None:
    source = rukh_data / "wikidata_re" / "relation_descriptions.json"
    schema = import_schema(source, "s")
    assert [r.id for r in schema.relations] == list(json.loads(source.read_text("utf-8")))
    (tmp_path / "s.yaml").write_text(schema.to_yaml(), encoding="utf-8")
    assert RelationSchema.load(tmp_path / "s.yaml") == schema


def test_command_does_not_replace_edited_files(tmp_path: Path) -> None:
    source = write(tmp_path / "in.json", {"P1": ["capital", "a town"]})
    out, before = tmp_path / "s.yaml", source.read_bytes()

    def run(path: Path) -> Any:
        return CliRunner().invoke(app, ["import", str(source), "--out", str(path)])

    out.write_text("")
    assert run(out).exit_code == 0 and out.read_text() and run(out).exit_code == 0
    out.write_text("# edited\n")
    for path in (out, source, tmp_path):
        assert isinstance(run(path).exception, InputError)
    assert (out.read_text(), source.read_bytes()) == ("# edited\n", before)
