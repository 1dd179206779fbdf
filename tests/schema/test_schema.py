"""Tests of relation schemas: validation, lookups, files and merging."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from conftest import schema_of
from rukh.errors import InputError
from rukh.records import Pair, Post, TextEntity, VisualObject
from rukh.schema.schema import Relation, RelationSchema


def relation(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "descriptions": [f"The head {name} the tail."], **fields}


def schema(*relations: dict[str, Any], **fields: Any) -> RelationSchema:
    return RelationSchema.parse({"name": "s", "relations": list(relations), **fields}, "s.yaml")


@pytest.mark.parametrize(
    ("relations", "names"),
    [
        ([relation("a"), relation("a")], ["'a'"]),
        ([relation("a", descriptions=[])], ["'a'"]),
        ([relation("a", descriptions=["fine.", " "])], ["description 1", "'a'"]),
        ([relation("a", inverse="lieks"), relation("likes")], ["'a'", "'likes'?"]),
        ([relation("a", inverse="n"), relation("n")], ["'a'", "'n'"]),
        ([relation("a", inverse="a")], ["'a'", "symmetric: true"]),
        ([relation("a", inverse="b", symmetric=True), relation("b")], ["'a'"]),
        ([relation("a", inverse="P1"), relation("b", id="P1")], ["'a'", "'P1'"]),
        ([relation("a", inverse="b"), relation("b", symmetric=True)], ["'a'", "'b'"]),
        ([relation("a", inverse="b"), relation("b", inverse="c"), relation("c")], ["'a'", "'b'"]),
        ([relation("a", inverse="c"), relation("b", inverse="c"), relation("c")], ["'b'", "'a'"]),
        ([relation("n")], ["NOTA"]),
        ([relation("a"), relation("b", id="a")], ["'a'", "'b'"]),
        ([relation("P1"), relation("a", id="P1")], ["'a'", "'P1'"]),
        ([relation("a", id="P1"), relation("b", id="P1")], ["'a'", "'b'", "'P1'"]),
    ],
)
def test_contradictions_are_errors(relations: list[dict[str, Any]], names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        schema(*relations, nota="n")
    assert caught.value.where == "s.yaml"
    assert all(name in caught.value.problem for name in names)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"relations": []}, "relations"),
        ({"relations": [{"descriptions": ["x."]}]}, "relations[0].name"),
        ({"relations": [relation("a", descriptions=5)]}, "relations[0].descriptions"),
        ({"relations": [relation("a", heads=["PER"])]}, "relations[0].heads"),
        ({"relations": [relation("a")], "nota": 5}, "nota"),
        ({"relations": [relation("a")], "type": {}}, "type"),
        (None, None),
        ([], None),
        ("text", None),
    ],
)
def test_malformed_data_is_an_error(data: Any, field: str | None) -> None:
    with pytest.raises(InputError) as caught:
        RelationSchema.parse({"name": "s", **data} if isinstance(data, dict) else data, "s.yaml")
    assert (caught.value.where, caught.value.field) == ("s.yaml", field)


def problems_of(text: str, path: Path) -> list[str]:
    """The problems of a file, without its name."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        RelationSchema.load(path)
    lines = str(caught.value).splitlines()
    assert all(line.strip().startswith(f"{path}:") for line in lines)
    return [line.strip().removeprefix(f"{path}:") for line in lines]


def test_all_problems_of_a_file_have_their_lines(tmp_path: Path) -> None:
    text = """\
name: no
kind: x
types: {PER: 5, LOC: place}
relations:
  - name: born in
    heads: [PER]
    tail: 5
    symmetric: maybe
    descriptions: [fine., {txt: fine., status: drft, date: yesterday}]
  - born
  -
    nam: x
    head:
    same_as: 3
    descriptions: {text: 4}
  - name: ""
    descriptions: [The head pays: the tail is paid.]
"""
    assert problems_of(text, tmp_path / "s.yaml") == [
        "1: name: must be text, not false; write it in quotes",
        "2: kind: no such field; known: name, nota, relations, types",
        "3: types.PER: must be text, not 5; write it in quotes",
        "6: relations[0].heads: no such field; did you mean 'head'?",
        "7: relations[0].tail: must be a list, such as [PER, ORG], not 5",
        "8: relations[0].symmetric: must be true or false, not 'maybe'",
        "9: relations[0].descriptions[1].txt: no such field; did you mean 'text'?",
        "9: relations[0].descriptions[1].text: a value is needed",
        "9: relations[0].descriptions[1].status: must be draft or verified, not 'drft'",
        "9: relations[0].descriptions[1].date: must be a date, such as 2026-11-25, not 'yesterday'",
        "10: relations[1]: must be a mapping with `name`, not 'born'",
        "12: relations[2].nam: no such field; did you mean 'name'?",
        "12: relations[2].name: a value is needed",
        "13: relations[2].head: must be a list, such as [PER, ORG], but has no value",
        "14: relations[2].same_as: must be a list, such as [P463], not 3",
        "15: relations[2].descriptions.text: must be text, not 4; write it in quotes",
        "16: relations[3].name: must not be empty",
        "17: relations[3].descriptions[0].The head pays: YAML takes what stands before ': ' for a "
        "field; write the text in quotes",
        "17: relations[3].descriptions[0].text: a value is needed",
    ]


def test_all_contradictions_of_a_file_have_their_lines(tmp_path: Path) -> None:
    text = """\
name: s
relations:
  - name: a
    inverse: bb
    descriptions: {text: " "}
  - &a
    name: a
    descriptions:
      - fine.
      - " "
  - name: "{b}"
    id: a
    symmetric: true
    inverse: a
  - {<<: *a, name: c, inverse: c}
"""
    assert problems_of(text, tmp_path / "s.yaml") == [
        "4: relations[0].inverse: inverse 'bb' of relation 'a' is not a relation of this schema; "
        "known: a, c, {b}",
        "5: relations[0].descriptions[0]: description 0 of relation 'a' is empty",
        "7: relations[1].name: relation 'a' is listed 2 times",
        "10: relations[1].descriptions[1]: description 1 of relation 'a' is empty",
        "11: relations[2]: relation '{b}' has no description",
        "12: relations[2].id: id 'a' of relation '{b}' also belongs to 'a'",
        "14: relations[2].inverse: relation '{b}' is symmetric and has an inverse",
        "15: relations[3].descriptions[1]: description 1 of relation 'c' is empty",
        "15: relations[3].inverse: relation 'c' is its own inverse; write symmetric: true",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be a mapping with `name` and `relations`, but has no value"),
        ("- a", "must be a mapping with `name` and `relations`, not a list"),
        (
            "name: s\nrelations: {a: b}",
            "2: relations: must be a list of relations, each with `name`",
        ),
        ("name: s\nrelations: []", "2: relations: must not be empty"),
        (
            "name: s\nrelations: [{name: a, 5: b}]",
            "2: relations[0][5]: must be text",
        ),
        (
            "name: s\ntypes: {5: b}\nrelations: [{name: a}]",
            "2: types[5]: must be text",
        ),
    ],
)
def test_problems_of_the_whole_file(text: str, problem: str, tmp_path: Path) -> None:
    assert problem in "\n".join(problems_of(text, tmp_path / "s.yaml"))


def test_long_lists_of_problems_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\nrelations:\n" + "- {name: a b}\n" * 50)
    with pytest.raises(InputError) as caught:
        RelationSchema.load(path)
    *listed, last = str(caught.value).splitlines()
    assert len(listed) == 30 and last.strip() == "and 69 more"


def test_names_and_labels() -> None:
    closed = schema(relation("a", head=["Drug"]), relation("b", tail=["PER"]), types={"LOC": "x"})
    assert closed.nota is None and closed.names == closed.labels == ("a", "b")
    assert closed.argument_types == {"Drug", "PER", "LOC"}
    opened = schema(relation("a"), {"name": "none"}, nota="none")
    assert (opened.names, opened.labels) == (("a",), ("none", "a"))
    assert schema(relation("a"), nota="none").labels == ("none", "a")


def test_inverse_of() -> None:
    made = schema(
        relation("parent", inverse="child"),
        relation("child"),
        relation("couple", symmetric=True),
        relation("lives"),
        {"name": "none"},
        nota="none",
    )
    assert made.inverse_of("parent") == "child"
    assert made.inverse_of("child") == "parent"
    assert made.inverse_of("couple") == "couple"
    assert made.inverse_of("lives") is made.inverse_of("none") is made.inverse_of(None) is None
    with pytest.raises(InputError, match=r"'copule'.*'couple'"):
        made.inverse_of("copule")


def test_relation_allows_listed_and_unknown_types() -> None:
    lives = Relation(name="lives", descriptions=("x.",), head=("PER",), tail=("LOC", "GPE"))
    assert lives.allows("PER", "GPE") and lives.allows(None, "LOC") and lives.allows(None, None)
    assert not lives.allows("LOC", "PER") and not lives.allows("PER", "ORG")
    assert Relation(name="any", descriptions=("x.",)).allows("X", "Y")


def test_schema_allows_what_any_relation_except_nota_allows() -> None:
    made = schema(relation("lives", head=["PER"], tail=["LOC"]), {"name": "none"}, nota="none")
    ann = TextEntity(id="a", start=0, end=3, type="PER")
    rome = VisualObject(id="r", box=(0, 0, 1, 1), type="LOC")
    assert made.allows(ann, rome)
    assert not made.allows(rome, ann)


@pytest.mark.parametrize("text", [b"[[[", b"name: \xff", b"name: s\nrelations:\n- name: a\n"])
def test_bad_files(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"broken\.yaml"):
        RelationSchema.load(path)


def test_load_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(InputError, match=r"mine\.yaml"):
        RelationSchema.load(path)
    path.write_text("name: mine\nrelations:\n- name: a\n  descriptions: [The head is the tail.]\n")
    assert RelationSchema.load(path).names == RelationSchema.load(str(path)).names == ("a",)


def test_shipped_schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mnrr", "", "x" * 300):
        with pytest.raises(InputError) as caught:
            RelationSchema.load(name)
        assert "mnre" in str(caught.value.fix)
    (tmp_path / "mnre").mkdir()  # a folder does not hide a shipped schema
    monkeypatch.chdir(tmp_path)
    assert RelationSchema.load("mnre").name == "mnre"


def test_merge() -> None:
    first = schema_of()
    types = {"PER": "someone", "NUM": "number"}
    other = schema({"name": "no"}, relation("visits"), nota="no", types=types)
    merged = RelationSchema.merge([first, other, first], exclude=["employs"])
    assert merged.nota == "none" and merged.names == ("near", "works_at", "lives_in", "visits")
    assert merged.relation("works_at").inverse is None
    assert (merged.types["NUM"], merged.types["PER"]) == ("number", first.types["PER"])
    near = first.relation("near").model_copy(update={"descriptions": ("far away",), "id": "P1"})
    changed = other.model_copy(update={"relations": (*other.relations, near)})
    both = RelationSchema.merge([first, changed]).relation("near")
    assert both.descriptions == (*first.relation("near").descriptions, "far away")
    assert both.id == "P1" and both.symmetric
    works = first.relation("works_at").model_copy(update={"head": ("X",), "tail": ()})
    widened = first.model_copy(update={"relations": (works, *first.relations[1:])})
    either = RelationSchema.merge([first, widened]).relation("works_at")
    assert either.head == (*first.relation("works_at").head, "X") and either.tail == ()
    for change in ({"symmetric": False}, {"id": "P2"}):
        clash = near.model_copy(update=change)
        wrong = other.model_copy(update={"relations": (*other.relations, clash)})
        with pytest.raises(InputError, match="'near'"):
            RelationSchema.merge([changed, wrong])


def test_labels_are_names_or_ids() -> None:
    made = schema(relation("a", id="P1"), relation("b", id="P2"), nota="no")
    assert [made.resolve(label) for label in ("P1", "b", "no")] == ["a", "b", "no"]
    assert made.relation("P1") is made.relation("a")
    assert [made.has_label(x) for x in ("P1", "b", "no", "P3")] == [True, True, True, False]
    with pytest.raises(InputError) as caught:
        RelationSchema.load("mnre").resolve("/per/per/peers", "here")
    assert caught.value.where == "here" and "/per/per/peer'" in str(caught.value.fix)


def test_resolve_labels_of_a_post() -> None:
    made = schema(relation("a", id="P1"), relation("b", id="P2"), nota="no")
    entities = [TextEntity(id="h", start=0, end=1), TextEntity(id="t", start=1, end=2)]
    labels = ["P2", None, "a", "no"]
    pairs = [Pair(head="h", tail="t", relation=label, meta={"k": 1}) for label in labels]
    post = Post(id="p", text="xy", entities=entities, pairs=pairs)
    resolved = made.resolve_labels(post)
    assert [p.relation for p in resolved.pairs or ()] == ["b", None, "a", "no"]
    assert made.resolve_labels(resolved) is resolved and (resolved.pairs or ())[0].meta == {"k": 1}
    raw = post.model_copy(update={"pairs": None})
    assert made.resolve_labels(raw) is raw
    with pytest.raises(InputError) as caught:
        schema(relation("a", id="P1")).resolve_labels(post, "f")
    assert caught.value.where == "f: post 'p'"


def test_copy_has_its_own_lookup_tables(tiny_schema: RelationSchema) -> None:
    assert tiny_schema.has_label("near") and tiny_schema.inverse_of("near") == "near"
    assert tiny_schema == schema_of() and tiny_schema.model_dump() == schema_of().model_dump()
    others = tuple(r for r in tiny_schema.relations if r.name != "near")
    fewer = tiny_schema.model_copy(update={"relations": others})
    assert not fewer.has_label("near") and tiny_schema.has_label("near")
    with pytest.raises(InputError):
        fewer.relation("near")


def test_lookups_are_fast_with_ten_thousand_relations() -> None:
    start = time.process_time()
    places = [{"inverse": f"r{i ^ 1}", "head": ["A"], "tail": [f"T{i % 5}"]} for i in range(10_000)]
    made = schema(*(relation(f"r{i}", **fields) for i, fields in enumerate(places)))
    assert all(made.inverse_of(name) == f"r{int(name[1:]) ^ 1}" for name in made.names)
    thing = VisualObject(id="o", box=(0, 0, 1, 1), type="NONE")
    assert not any(made.allows(thing, thing) for _ in range(1000))
    assert time.process_time() - start < 5  # without lookup tables: a minute


def test_single_values_need_no_brackets() -> None:
    relation = Relation(name="r", head="PER", tail="LOC", same_as="P1", descriptions="the head")
    assert relation.head == ("PER",) and relation.tail == ("LOC",) and relation.same_as == ("P1",)
    assert relation.descriptions == ("the head",)
    drafted = {"text": "the head", "status": "draft"}
    (description,) = Relation(name="r", descriptions=drafted).descriptions
    assert description.status == "draft"


def test_merged_relations_keep_what_either_schema_says_of_them() -> None:
    plain = {"name": "born in", "descriptions": "The head was born in the tail."}
    schemas = [
        RelationSchema.parse({"name": name, "relations": [plain | more]})
        for name, more in (("one", {}), ("two", {"functional": True}), ("three", {"alias": True}))
    ]
    for order in (schemas, schemas[::-1]):
        (merged,) = RelationSchema.merge(order).relations
        assert merged.functional and merged.alias
