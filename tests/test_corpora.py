"""The corpus: its inline form, its checks, and its conversion to posts and schemas."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from corpora.build import app
from corpora.check import main, near_duplicates
from corpora.inline import POSTS, TYPES, field_schema, fields, parse_post, read_lines
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rukh.data.readers import read_posts
from rukh.errors import InputError
from rukh.records import Post
from rukh.schema.schema import RelationSchema
from rukh.utils.files import parse_yaml

FIELD = "relations: [{name: flows into, head: [LOC], tail: [LOC], descriptions: [its mouth]}]"
LINES = """social ||| @{a|PER|ann_lee} \N{GRINNING FACE} {b|LOC|Rome} ||| a lives in b

wiki ||| The {r|LOC|Aare} ends in the {s|LOC|Rhine}, far from {t|PER|Bo}. ||| r flows into s
work ||| {a|PER|Ann} met {b|PER|Bo}. |||
"""


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    (tmp_path / "rivers.yaml").write_text(FIELD)
    (tmp_path / "rivers.txt").write_text(LINES)
    return tmp_path


@cache
def schema() -> RelationSchema:
    return field_schema(POSTS / "sport.txt")


def test_the_inline_form(posts: Path) -> None:
    file = posts / "rivers.txt"
    first, second, third = read_lines(file, field_schema(file))
    assert isinstance(first, Post) and isinstance(second, Post) and isinstance(third, Post)
    assert first.text == "@ann_lee \N{GRINNING FACE} Rome"
    assert [first.surface(e.id) for e in first.entities] == ["ann_lee", "Rome"]
    assert first.meta == {"register": "social"} and first.id == "rivers:1"
    assert second.id == "rivers:3"  # the number of its line
    (pair,) = second.pairs or ()
    assert (pair.head, pair.relation, pair.tail) == ("r", "flows into", "s")
    assert third.pairs == ()


@given(st.lists(st.tuples(st.text("ab é\N{GRINNING FACE}"), st.sampled_from(sorted(TYPES)))))
def test_the_offsets_of_entities_fit_any_text(parts: list[tuple[str, str]]) -> None:
    marked = "".join(f"{text}{{e{i}|{kind}|x{i}}}" for i, (text, kind) in enumerate(parts))
    post = parse_post(f"news ||| {marked} end |||", "1", schema())
    plain = "".join(f"{text}x{i}" for i, (text, _) in enumerate(parts))
    assert post.text == f"{plain} end".strip()
    assert [post.surface(e.id) for e in post.entities] == [f"x{i}" for i in range(len(parts))]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("news ||| {a|PER|Ann}", "2 fields"),
        ("blog ||| {a|PER|Ann} |||", "register"),
        ("news ||| {a|DOG|Rex} |||", "type 'DOG'"),
        ("news ||| {a|PER|@ann} |||", "edge"),
        ("news ||| {a|PER|Ann |||", "brace"),
        ("news ||| {a|PER|Ann} {a|PER|Bo} |||", "'a'"),
        ("news ||| {a|PER|Ann} {b|PER|Bo} ||| a sibling b", "'sibling'"),
        ("news ||| {a|PER|Ann} {b|PER|Bo} ||| a b", "no triple"),
        ("news ||| {a|PER|Ann} {b|PER|Bo} ||| a sibling of a", "head"),
        ("news ||| {a|PER|Ann} {b|PER|Bo} ||| a sibling of c", "'c'"),
        ("news ||| {a|PER|Ann} {b|LOC|Oslo} ||| b lives in a", "LOC -> PER"),
        ("news ||| {a|PER|Ann} {b|PER|Bo} ||| a sibling of b; b sibling of a", "twice"),
    ],
)
def test_a_broken_line_is_an_error_that_says_why(line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse_post(line, "1", schema())


def test_check_counts_and_names_broken_lines(
    posts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = posts / "rivers.txt"
    assert main([file]) == 0
    assert "3 posts" in capsys.readouterr().out
    file.write_text(LINES + "news ||| nothing\n")
    assert main([file]) == 1
    assert f"{file}:5" in capsys.readouterr().out


def test_the_relations_of_a_file(posts: Path) -> None:
    general = RelationSchema.load("general")
    assert field_schema(posts / "nowhere.txt") == general
    assert field_schema(posts / "rivers.txt").names == (*general.names, "flows into")
    (posts / "rivers.yaml").write_text(f"{FIELD}\nname: rivers")
    assert field_schema(posts / "rivers.txt").names == ("flows into",)
    (posts / "rivers.yaml").write_text("relations: [1]")
    with pytest.raises(InputError, match=r"rivers\.yaml"):
        field_schema(posts / "rivers.txt")


def test_near_duplicates() -> None:
    words = "one two three four five six seven eight nine ten"
    texts = [words, f"{words} eleven", "a b c d e f", words[:18]]
    posts = [Post(id=str(i), text=text) for i, text in enumerate(texts)]
    assert near_duplicates(posts) == [("0", "1")]


def test_build_writes_each_field_with_its_schema(posts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["--out", str(out), "--source", str(posts)])
    assert result.exit_code == 0, result.output
    parts = {part: read_posts(out / part / "rivers.jsonl") for part in ("train", "held_out")}
    assert len(parts["train"]) == 2 and len(parts["held_out"]) == 1
    schema = RelationSchema.load(out / "train/rivers.yaml")
    assert (
        schema
        == RelationSchema.load(out / "held_out/rivers.yaml")
        == field_schema(posts / "rivers.txt")
    )
    ids = {schema.resolve_labels(post).id for some in parts.values() for post in some}
    assert ids == {"rivers:1", "rivers:3", "rivers:4"}
    CliRunner().invoke(app, ["--out", str(tmp_path / "all"), "--source", str(posts), "--whole"])
    assert len(read_posts(tmp_path / "all/rivers.jsonl")) == 3
    (posts / "rivers.txt").write_text("news ||| nothing\n")
    broken = CliRunner().invoke(app, ["--out", str(out), "--source", str(posts)])
    assert isinstance(broken.exception, InputError)


def test_the_shipped_corpus_is_valid() -> None:
    seen: dict[str, str] = {}
    for path in fields():
        results = list(read_lines(path, field_schema(path)))
        assert not [str(result) for result in results if isinstance(result, InputError)]
        for post in results:
            assert isinstance(post, Post)
            assert seen.setdefault(post.text, post.id) == post.id
    schemas = [field_schema(path) for path in fields()]
    relations = [schema.relation(name) for schema in schemas for name in schema.names]
    definitions = {r.name: r for r in relations}
    assert all(definitions[r.name] == r for r in relations)  # names mean one thing
    unseen = parse_yaml((POSTS.parent / "development/unseen.yaml").read_text(), "unseen.yaml")
    assert not definitions.keys() & {*unseen}  # synonyms are up to the readers
