"""``rukh schema list`` and ``rukh schema show``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import schema_of
from rukh.schema.schema import RelationSchema, first_sentence, shipped_schemas


def test_list_shows_every_shipped_schema(rukh: Callable[..., Any]) -> None:
    rows = json.loads(rukh("schema", "list", "--json", "-").out)
    assert {"general", "mnre", "wikidata"} <= {row["name"] for row in rows}
    assert [row["name"] for row in rows] == sorted(shipped_schemas())
    lines = rukh("schema", "list").out.splitlines()
    for row, line in zip(rows, lines, strict=True):
        assert row["relations"] == len(RelationSchema.load(row["name"]).names)
        assert row["about"].endswith(".")
        assert line.split()[:2] == [row["name"], str(row["relations"])]
        assert line.endswith(row["about"])


def test_first_sentence_of_a_file() -> None:
    assert (
        first_sentence("# One, of\n# two lines. More.\nname: x\n# Not this.")
        == "One, of two lines."
    )
    assert first_sentence("# No full stop\n\n# Not this.") == "No full stop"
    assert first_sentence("name: x") == first_sentence("") == ""


def test_show_prints_yaml_to_start_from(rukh: Callable[..., Any], tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text(rukh("schema", "show", "mnre").out, encoding="utf-8")
    assert RelationSchema.load(copy) == RelationSchema.load("mnre")
    assert rukh("schema", "show", copy).out == copy.read_text(encoding="utf-8")
    data = json.loads(rukh("schema", "show", copy, "--json", "-").out)
    assert RelationSchema.parse(data) == RelationSchema.load("mnre")


def test_show_prints_a_table(rukh: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(schema_of().to_yaml(), encoding="utf-8")
    assert rukh("schema", "show", path, "--table").out.splitlines() == [
        "none  (any -> any, none of the above)",
        "near  (any -> any, symmetric)",
        "    the head is near the tail",
        "works_at  (PER -> ORG, inverse: employs)",
        "    the head works at the tail",
        "employs  (ORG -> PER, inverse: works_at)",
        "    the tail works at the head",
        "lives_in  (PER -> LOC)",
        "    the head lives in the tail",
    ]


@pytest.mark.parametrize(("name", "problem"), [("mnrr", "'mnre'"), ("no.yaml", "no.yaml")])
def test_show_of_an_unknown_schema(rukh: Callable[..., Any], name: str, problem: str) -> None:
    done = rukh("schema", "show", name)
    assert done.code == 2 and not done.out and problem in done.err


def test_show_does_not_replace_its_input(rukh: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(schema_of().to_yaml(), encoding="utf-8")
    assert rukh("schema", "show", path, "--json", path).code == 2
    assert RelationSchema.load(path) == schema_of()
