"""Catalogues of relations become schemas."""

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
from rukh.schema.importing import described, import_schema
from rukh.schema.schema import RelationSchema


def put(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_a_catalogue_becomes_a_closed_schema_in_its_order(tmp_path: Path) -> None:
    told = {
        "P17": ["country", " sovereign  state of this item; don't use on humans"],
        "P361": ["part of", "No description defined"],
        "P2": ["has part", ""],
        "P3": ["said: 'x' #1 👩‍🚀", None],
        "P4": "plain",
        "P5": ["short"],
    }
    schema = import_schema(put(tmp_path / "in.json", told), "mine")
    assert (schema.name, schema.nota) == ("mine", None)
    assert [(r.id, r.name, r.descriptions) for r in schema.relations] == [
        (
            "P17",
            "country",
            (
                "The tail is the country of the head.",
                "sovereign state of this item; don't use on humans",
            ),
        ),
        ("P361", "part of", ("The head is part of the tail.", "part of")),
        ("P2", "has part", ("The head has part the tail.", "has part")),
        (
            "P3",
            "said: 'x' #1 👩‍🚀",
            ("The tail is the said: 'x' #1 👩‍🚀 of the head.", "said: 'x' #1 👩‍🚀"),
        ),
        ("P4", "plain", ("The tail is the plain of the head.", "plain")),
        ("P5", "short", ("The tail is the short of the head.", "short")),
    ]
    (tmp_path / "out.yaml").write_text(schema.to_yaml(), encoding="utf-8")
    assert RelationSchema.load(tmp_path / "out.yaml") == schema


def test_names_that_stand_twice_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    told = {"P1": ["part", "a"], "P2": ["whole", "b"], "P3": ["part", "c"], "P4": ["P1", "d"]}
    schema = import_schema(put(tmp_path / "in.json", told), "s")
    assert schema.names == ("part (P1)", "whole", "part (P3)", "P1 (P4)")
    assert [schema.resolve(f"P{i}") for i in range(1, 5)] == list(schema.names)
    assert schema.relations[0].descriptions[0] == "The tail is the part of the head."


def test_thousands_of_relations_are_taken(tmp_path: Path) -> None:
    told = {f"P{i}": [f"relation {i}", f"what {i} says"] for i in range(3000)}
    schema = import_schema(put(tmp_path / "in.json", told), "s")
    assert len(schema.names) == 3000 and schema.resolve("P2999") == "relation 2999"


@pytest.mark.parametrize(
    ("text", "want"),
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
def test_notes_to_editors_are_left_out(text: str, want: str | None) -> None:
    assert described(text) == want


@given(st.text())
def test_a_description_is_one_line_or_none(text: str) -> None:
    told = described(text)
    assert told is None or (told.strip() and told == " ".join(told.split()))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"in\.json:1: not JSON"),
        ("{", r"in\.json:1: not JSON"),
        ("[]", r"in\.json:1: not JSON as expected"),
        ("{} x", r"in\.json:1: not JSON: more"),
        ("{}", r"in\.json: no relation; "),
        ('{"P1": ["a", "b"],\n"P1": ["c", "d"]}', r"in\.json:2: the key 'P1' stands twice"),
        ('{"P1": ["a", "b"],\n"P2": 3}', r"in\.json:2: P2: not \[name, description\]"),
        ('{"P1": ["a", 1]}', r"in\.json:1: P1: not \[name"),
        ('{"P1": ["a", "b", "c"]}', r"in\.json:1: P1: not \[name"),
        ('{"P1": ["  ", "b"]}', r"in\.json:1: P1: a relation without .*; give it one"),
        ('{"": ["a", "b"]}', r'in\.json:1: "": a relation without'),
        ('{"P1": ["\\ud83d", "b"]}', r"in\.json:1: .*surrogate"),
        ('{"P1": ["' + "x" * 1001 + '", "b"]}', r"in\.json: relations\[0\]\.name"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        import_schema(put(tmp_path / "in.json", text), "s")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: cannot read: No such file"):
        import_schema(tmp_path / "nowhere", "s")
    (tmp_path / "latin").write_bytes(b'{"P1": ["\xe9"]}')
    with pytest.raises(InputError, match="latin: not UTF-8 text"):
        import_schema(tmp_path / "latin", "s")


def test_all_of_wikidata_is_taken(rukh_data: Path, tmp_path: Path) -> None:
    source = rukh_data / "wikidata_re" / "relation_descriptions.json"
    schema = import_schema(source, "s")
    assert [r.id for r in schema.relations] == list(json.loads(source.read_text("utf-8")))
    (tmp_path / "s.yaml").write_text(schema.to_yaml(), encoding="utf-8")
    assert RelationSchema.load(tmp_path / "s.yaml") == schema


def test_the_command_replaces_nothing(tmp_path: Path) -> None:
    source, out = put(tmp_path / "in.json", {"P1": ["capital", "a town"]}), tmp_path / "s.yaml"
    before = source.read_bytes()

    def run(to: Path) -> Any:
        return CliRunner().invoke(app, ["import", str(source), "--out", str(to)])

    out.write_text("")  # as of a temporary file
    assert run(out).exit_code == 0 and out.read_text() and run(out).exit_code == 0
    out.write_text("# edited\n")
    for to, why in (
        (out, "is there already"),
        (source, "is no .yaml file"),
        (tmp_path, "it is a folder"),
    ):
        assert why in str(run(to).exception)
    assert (out.read_text(), source.read_bytes()) == ("# edited\n", before)
