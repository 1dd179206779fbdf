"""Posts composed from templates."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora.compose import RelationTemplates, Templates, app, compose
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rukh.config import load_config
from rukh.data.readers import read
from rukh.errors import InputError
from rukh.schema.schema import RelationSchema

TEMPLATES = """
name: tools
relations:
  - id: P1
    name: mends
    descriptions: [The head repairs the tail., who repairs it]
    head: PER
    tail: MISC
    heads: [Ann Lee, Bo]
    tails: [clocks, the town's bells, a pump]
    templates:
      - "{head} has mended {tail} since 1990."
      - "In Rome {tail} are mended by {head}, a tailor's son."
"""
WORDS = st.text(min_size=1, max_size=12).filter(lambda t: t.strip() == t and "{" not in t and t)


def test_composed_posts_and_their_schema_are_written(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TEMPLATES)
    out = tmp_path / "out"
    command = [str(tmp_path / "t.yaml"), "--out", str(out), "--fills", "3"]
    assert CliRunner().invoke(app, command).exit_code == 0
    posts = list(read(out / "posts.jsonl"))
    schema = RelationSchema.load(out / "schema.yaml")
    assert schema.names == ("mends",) and schema.nota == "none"
    assert schema.relation("mends").id == "P1"
    assert len(posts) == 6 and len({post.text for post in posts}) == 6
    assert {post.surface("h") for post in posts} == {"Ann Lee", "Bo"}
    assert posts == list(compose(load_config(tmp_path / "t.yaml", Templates).relations, 3))


@example("ß", "b", "c", "head", "tail", False)
@settings(max_examples=30, deadline=None)
@given(WORDS, WORDS, WORDS, WORDS, WORDS, st.booleans())
def test_the_offsets_are_those_of_the_words(
    a: str, b: str, c: str, head: str, tail: str, tail_first: bool
) -> None:
    first, second = ("{tail}", "{head}") if tail_first else ("{head}", "{tail}")
    relation = RelationTemplates(
        name="r", descriptions=("d",), head="X", tail="Y", heads=(head,), tails=(tail,),
        templates=(f"{a} {first} {b} {second} {c}",),
    )  # fmt: skip
    (post,) = compose([relation], 1)
    assert (post.surface("h"), post.surface("t")) == (head, tail)
    capital = a[0].upper() if len(a[0].upper()) == 1 else a[0]  # "ß" has none of its length
    assert "{" not in post.text and post.text[0] == capital


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("{head} has", "Ann has", "relations[0].templates[0]"),
        ("heads: [Ann Lee, Bo]", "heads: []", "relations[0].heads"),
        ("name: mends", "nome: mends", "relations[0].nome"),
    ],
)
def test_an_invalid_file_is_named_with_the_key(
    tmp_path: Path, old: str, new: str, field: str
) -> None:
    (tmp_path / "t.yaml").write_text(TEMPLATES.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "t.yaml", Templates)
    assert (caught.value.where, caught.value.field) == (str(tmp_path / "t.yaml"), field)
