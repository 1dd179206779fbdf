"""A schema that contradicts itself is refused, by name of what is wrong and where."""

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
    ("data", "said"),
    [
        ({"relations": [relation("a"), relation("a")]}, ["'a'", "2 times"]),
        ({"relations": [relation("a", descriptions=[])]}, ["'a'", "no description"]),
        ({"relations": [relation("a", descriptions=["fine.", " "])]}, ["description 1", "'a'"]),
        (
            {"relations": [relation("a", descriptions="text")]},
            ["relations[0].descriptions", "text"],
        ),
        ({"relations": [relation("a", inverse="lieks"), relation("likes")]}, ["'a'", "'likes'?"]),
        ({"relations": [relation("a", inverse="n"), relation("n")], "nota": "n"}, ["'a'", "'n'"]),
        ({"relations": [relation("a", inverse="a")]}, ["'a'", "symmetric: true"]),
        (
            {"relations": [relation("a", inverse="b", symmetric=True), relation("b")]},
            ["'a'", "symmetric and has an inverse"],
        ),
        (
            {"relations": [relation("a", inverse="b"), relation("b", symmetric=True)]},
            ["inverse of 'a' is 'b'", "inverse of 'b' is 'b'"],
        ),
        (
            {"relations": [relation("a", inverse="b"), relation("b", inverse="c"), relation("c")]},
            ["inverse of 'a' is 'b'", "inverse of 'b' is 'c'"],
        ),
        (
            {"relations": [relation("a", inverse="c"), relation("b", inverse="c"), relation("c")]},
            ["inverse of 'b' is 'c'", "inverse of 'c' is 'a'"],
        ),
        ({"relations": []}, ["relations", "at least 1"]),
        ({"relations": [relation("n")], "nota": "n"}, ["at least one relation besides"]),
        ({"relations": [{"descriptions": ["x."]}]}, ["relations[0].name", "required"]),
        ({"relations": [relation("a", heads=["PER"])]}, ["relations[0].heads"]),
        ({"relations": [relation("a")], "nota": 5}, ["nota", "not 5"]),
        ({"relations": [relation("a")], "type": {}}, ["type"]),
    ],
)
def test_a_violated_constraint_names_what_and_where(data: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        RelationSchema.parse({"name": "s", **data}, "s.yaml")
    message = str(caught.value)
    assert message.startswith("s.yaml: ")
    for words in said:
        assert words in message


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_a_schema_is_a_mapping(data: object) -> None:
    with pytest.raises(InputError, match=r"s\.yaml: a schema is a mapping"):
        RelationSchema.parse(data, "s.yaml")


def test_no_nota_is_accepted() -> None:
    closed = schema(relation("a"), relation("b"))
    assert closed.nota is None
    assert closed.names == closed.labels == ("a", "b")


def test_nota_needs_no_description_and_is_no_name() -> None:
    opened = schema(relation("a"), {"name": "none"}, nota="none")
    assert opened.names == ("a",)
    assert opened.labels == ("none", "a")
    assert schema(relation("a"), nota="none").labels == ("none", "a")


def test_reverse_is_itself_the_inverse_or_nota() -> None:
    made = schema(
        relation("parent", inverse="child"),
        relation("child"),
        relation("couple", symmetric=True),
        relation("lives"),
        {"name": "none"},
        nota="none",
    )
    assert made.reverse("parent") == "child"
    assert made.reverse("child") == "parent"
    assert made.reverse("couple") == "couple"
    assert made.reverse("lives") is made.reverse("none") is made.reverse(None) is None
    with pytest.raises(InputError, match=r"'copule'.*did you mean 'couple'"):
        made.reverse("copule")


def test_types_allow_what_they_list_and_what_is_not_known() -> None:
    lives = Relation(name="lives", descriptions=("x.",), head=("PER",), tail=("LOC", "GPE"))
    assert lives.allows("PER", "GPE") and lives.allows(None, "LOC") and lives.allows(None, None)
    assert not lives.allows("LOC", "PER") and not lives.allows("PER", "ORG")
    assert Relation(name="any", descriptions=("x.",)).allows("X", "Y")


def test_a_schema_allows_a_pair_that_any_relation_but_nota_allows() -> None:
    made = schema(relation("lives", head=["PER"], tail=["LOC"]), {"name": "none"}, nota="none")
    ann = TextEntity(id="a", start=0, end=3, type="PER")
    rome = VisualObject(id="r", box=(0, 0, 1, 1), type="LOC")
    assert made.allows(ann, rome)
    assert not made.allows(rome, ann)


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c",
        "a: 1\na: 2",
        "[[[",
        "a: !!python/object/apply:os.getcwd []",
        "a: 2020-13-45",
        "\x00",
    ],
)
def test_bad_yaml_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.yaml(:\d)?: not YAML: "):
        RelationSchema.load(path)


def test_a_file_that_is_missing_or_not_text_names_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml: cannot read schema: No such file"):
        RelationSchema.load(tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match=r"bytes\.yaml: not UTF-8"):
        RelationSchema.load(tmp_path / "bytes.yaml")


def test_a_file_is_read_and_its_constraints_name_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nrelations:\n- name: a\n  descriptions: [The head likes the tail.]\n"
    )
    assert RelationSchema.load(path).names == ("a",)
    path.write_text("name: mine\nrelations:\n- name: a\n")
    with pytest.raises(InputError, match=r"mine\.yaml: relation 'a' has no description"):
        RelationSchema.load(str(path))


@pytest.mark.parametrize("name", ["mnrr", "", "x" * 300])
def test_an_unknown_name_suggests_the_shipped_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"no schema named .*mnre"):
        RelationSchema.load(name)


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnre").mkdir()
    monkeypatch.chdir(tmp_path)
    assert RelationSchema.load("mnre").name == "mnre"


def test_a_label_that_data_may_not_carry_is_told_with_its_place() -> None:
    schema = RelationSchema.load("mnre")
    assert schema.resolve("None", "here") == "None"
    with pytest.raises(InputError, match=r"post 'p': relation '/per/per/peers'.*/per/per/peer"):
        schema.resolve("/per/per/peers", "post 'p'")


def test_merged_schemas_keep_one_none_and_refuse_two_meanings() -> None:
    first = schema_of()
    other = RelationSchema.parse(
        {
            "name": "other",
            "nota": "no",
            "relations": [{"name": "no"}, {"name": "visits", "descriptions": ["goes to see"]}],
            "types": {"PER": "someone", "NUM": "number"},
        }
    )
    merged = RelationSchema.merged([first, other, first], without=["employs"])
    assert merged.nota == "none" and merged.names == ("near", "works_at", "lives_in", "visits")
    assert merged.relation("works_at").inverse is None
    assert merged.types["NUM"] == "number" and merged.types["PER"] == first.types.get(
        "PER", "someone"
    )
    near = first.relation("near").model_copy(update={"descriptions": ("far away",)})
    changed = other.model_copy(update={"relations": (*other.relations, near)})
    with pytest.raises(InputError, match="'near' is described otherwise"):
        RelationSchema.merged([first, changed])


def test_ids_stand_for_names_and_are_unique() -> None:
    relations = [
        {"name": "a", "id": "P1", "descriptions": ["x"]},
        {"name": "b", "id": "P2", "descriptions": ["x"]},
    ]
    schema = RelationSchema.parse({"name": "s", "nota": "no", "relations": relations})
    assert [schema.resolve(label) for label in ("P1", "b", "no")] == ["a", "b", "no"]
    assert [schema.knows(label) for label in ("P1", "b", "no", "P3")] == [True, True, True, False]
    entities = [TextEntity(id="h", start=0, end=1), TextEntity(id="t", start=1, end=2)]
    labels = ["P2", None, "a", "no"]
    pairs = [Pair(head="h", tail="t", relation=label, meta={"k": 1}) for label in labels]
    post = Post(id="p", text="xy", entities=entities, pairs=pairs)
    named = schema.named(post)
    assert [p.relation for p in named.pairs or ()] == ["b", None, "a", "no"]
    assert schema.named(named) is named and (named.pairs or ())[0].meta == {"k": 1}
    raw = post.model_copy(update={"pairs": None})
    assert schema.named(raw) is raw
    with pytest.raises(InputError, match=r"f: post 'p': relation 'P2' is not in"):
        RelationSchema.parse({"name": "s", "relations": relations[:1]}).named(post, "f")
    for changed in ({"id": "P1"}, {"id": "a"}):
        broken = [relations[0], relations[1] | changed]
        with pytest.raises(InputError, match=r"id '(P1|a)' of relation 'b' is that of 'a' too"):
            RelationSchema.parse({"name": "s", "relations": broken})
    with pytest.raises(InputError, match="id 'P1' of relation 'a' is that of 'P1' too"):
        RelationSchema.parse({"name": "s", "relations": [
            {"name": "P1", "descriptions": ["x"]}, relations[0]]})  # fmt: skip


def test_the_types_that_a_schema_speaks_of() -> None:
    relation = {"name": "a", "descriptions": ["x"], "head": ["Drug"], "tail": ["PER", "Gene"]}
    schema = RelationSchema.parse({"name": "s", "relations": [relation], "types": {"LOC": "place"}})
    assert schema.argument_types == {"Drug", "PER", "Gene", "LOC"}


def test_what_is_looked_up_is_what_a_walk_over_all_relations_finds(
    tiny_schema: RelationSchema,
) -> None:
    ids = [r.model_copy(update={"id": f"P{i}"}) for i, r in enumerate(tiny_schema.relations)]
    made = tiny_schema.model_copy(update={"relations": tuple(ids)})
    for i, relation in enumerate(made.relations):
        assert made.relation(relation.name) is relation
        assert made.resolve(f"P{i}") == made.resolve(relation.name) == relation.name
    assert made.reverse("works_at") == "employs" and made.reverse("employs") == "works_at"


def test_a_copy_with_other_relations_looks_its_own_up(tiny_schema: RelationSchema) -> None:
    assert tiny_schema.knows("near")
    data, equal = tiny_schema.model_dump(), schema_of()
    assert tiny_schema == equal and "_lookup" not in data
    others = tuple(r for r in tiny_schema.relations if r.name != "near")
    fewer = tiny_schema.model_copy(update={"relations": others})
    assert not fewer.knows("near") and tiny_schema.knows("near")
    with pytest.raises(InputError, match="'near' is not in schema"):
        fewer.relation("near")


def test_ten_thousand_relations_are_checked_without_walking_over_all_for_each() -> None:
    pairs = [
        relation(f"r{i}", inverse=f"r{i ^ 1}", head=["A"], tail=[f"T{i % 5}"])
        for i in range(10_000)
    ]
    start = time.process_time()
    made = schema(*pairs)
    assert all(made.reverse(name) == f"r{int(name[1:]) ^ 1}" for name in made.names)
    thing = VisualObject(id="o", box=(0, 0, 1, 1), type="NONE")
    assert not any(made.allows(thing, thing) for _ in range(1000))
    assert time.process_time() - start < 5  # a walk for each took a minute


def test_a_broken_file_is_told_alike_by_both_parsers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    path = tmp_path / "broken.yaml"
    path.write_text("name: x\nrelations: [\n")
    with pytest.raises(InputError, match=r"broken\.yaml:3: not YAML: "):
        RelationSchema.load(path)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    with pytest.raises(InputError, match=r"broken\.yaml:3: not YAML: "):
        RelationSchema.load(path)
    assert RelationSchema.load("mnre").nota == "None"
