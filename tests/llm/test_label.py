"""Labels of a language model: what is asked, what is kept, and what a run leaves behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat_server import Server, completion, error
from conftest import schema_of
from rukh.data.readers import read_posts, write
from rukh.llm.endpoint import Endpoint, EndpointConfig
from rukh.llm.label import (
    MAX_ENTITIES,
    Annotator,
    Answer,
    Statement,
    Totals,
    conversation,
    given_entities,
    label_posts,
    to_pairs,
)
from rukh.records import Post, TextEntity

pytest.importorskip("openai")
TEXTS = ("Ann of Rome met Bob", "Bob left Rome", "Ann sat")


def make_posts() -> list[Post]:
    """Posts whose entities are the words with a capital letter."""
    posts = []
    for number, text in enumerate(TEXTS):
        words = [(w, text.index(w)) for w in text.split() if w.istitle()]
        entities = [
            TextEntity(
                id=w.lower(), start=at, end=at + len(w), type="LOC" if w == "Rome" else "PER"
            )
            for w, at in words
        ]
        posts.append(Post(id=str(number), text=text, entities=entities))
    return posts


def answer(*triples: tuple[str, str, str]) -> str:
    statements = [Statement(head=h, relation=r, tail=t) for h, r, t in triples]
    return Answer(triples=statements).model_dump_json()


def replies(*answers: tuple[str, str]) -> Callable[..., Any]:
    """Reply to a request whose text starts with some words; the first match counts."""

    def reply(_: Any, request: dict[str, Any]) -> Any:
        text = request["messages"][1]["content"].removeprefix("Text: ")
        found = [said for start, said in answers if text.startswith(start)]
        return 200, found[0] if found else answer()

    return reply


@pytest.fixture
def run(endpoint: Server, tmp_path: Path, rukh: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``rukh label`` on the posts, with the test's server."""
    (tmp_path / "schema.yaml").write_text(schema_of().to_yaml())
    write(make_posts(), tmp_path / "posts.jsonl")
    files = [tmp_path / "posts.jsonl", "--schema", tmp_path / "schema.yaml"]
    return lambda *options: rukh("label", *files, "--out", tmp_path / "out.jsonl", *options)


def test_statements_are_checked_against_the_post() -> None:
    post, dropped = make_posts()[0], Counter[str]()
    said = Answer(
        triples=[
            Statement(head=h, relation=r, tail=t)
            for h, r, t in (
                ("Ann", "lives_in", "Rome"),
                ("Ann", "lives_in", "Rome"),
                ("Bob", "near", "Ann"),  # symmetric: stated from the first in the text
                ("Ann", "lives_in", "Paris"),
                ("ann", "lives_in", "Rome"),
                ("Ann", "eats", "Bob"),
                ("Ann", "near", "Ann"),
                ("Rome", "lives_in", "Ann"),
            )
        ]
    )
    kept = to_pairs(said, post, schema_of(), dropped)
    assert kept == {("ann", "lives_in", "rome"), ("ann", "near", "bob")}
    expected = {"not an entity": 2, "not a relation": 1, "head is tail": 1}
    allowed = schema_of().relation("lives_in").allows("LOC", "PER")
    assert dropped == expected | ({} if allowed else {"types": 1})


def test_each_prompt_lists_all_relations_in_another_order() -> None:
    post, schema = make_posts()[0], schema_of()
    systems = [
        conversation(post.text, schema, given_entities(post), prompt)[0]["content"].splitlines()
        for prompt in range(2)
    ]
    assert systems[0] != systems[1] and sorted(systems[0]) == sorted(systems[1])


def test_posts_list_all_their_pairs(run: Any, server: Server, tmp_path: Path) -> None:
    said = answer(("Ann", "lives_in", "Rome"), ("Ann", "lives_in", "Oslo"))
    server.script = [replies(("Ann of", said))]
    done = run("--price", "1e6", "2e6", "--json", "-")
    assert done.code == 0, done.err
    first, second, third = read_posts(tmp_path / "out.jsonl")
    nota = schema_of().nota
    labels = {(p.head, p.tail): p.relation for p in first.pairs or ()}
    assert labels == {("ann", "rome"): "lives_in", ("ann", "bob"): nota, ("rome", "bob"): nota}
    assert [p.relation for p in second.pairs or ()] == [nota] and not third.pairs
    assert {post.meta["labelled_by"] for post in (first, second, third)} == {"some-model"}
    counts = json.loads(done.out)
    assert (counts["posts"], counts["silent"], counts["triples"]) == (3, 2, 1)
    assert counts["dropped"]["not an entity"] == 1 and counts["agreement"] is None
    assert len(server.requests) == 2  # a single entity has no pairs to ask about
    assert "cost: 36.00" in done.err
    before = (tmp_path / "out.jsonl").read_text()
    assert run().code == 2 and (tmp_path / "out.jsonl").read_text() == before  # not replaced
    (tmp_path / "out.jsonl").unlink()
    done = run()
    assert done.code == 0 and "0 answers, 2 cached" in done.err
    assert (tmp_path / "out.jsonl").read_text() == before


def test_models_vote(run: Any, server: Server, tmp_path: Path) -> None:
    both, one = ("Ann", "lives_in", "Rome"), ("Ann", "near", "Bob")

    def reply(_: Any, request: dict[str, Any]) -> Any:
        if not request["messages"][-1]["content"].startswith("Text: Ann of"):
            return 200, answer()
        return 200, answer(both, one) if request["model"] == "first" else answer(both)

    server.script = [reply]
    done = run("--llm", "first", "--llm", "second", "--json", "-")
    assert done.code == 0, done.err
    counts = json.loads(done.out)
    assert counts["agreement"] == 0.5 and counts["dropped"]["outvoted"] == 1
    (first, *_) = read_posts(tmp_path / "out.jsonl")
    assert [p.relation for p in first.pairs or ()].count("lives_in") == 1
    assert first.meta["labelled_by"] == "first, second"


def test_an_unusable_answer_leaves_its_post_out(run: Any, server: Server, tmp_path: Path) -> None:
    server.script = [replies(("Ann of", "I would rather not."))]
    done = run()
    assert done.code == 0 and "1 posts without a usable answer" in done.out + done.err
    assert [post.id for post in read_posts(tmp_path / "out.jsonl")] == ["1", "2"]


@pytest.mark.parametrize("problem", [(500, error("oops")), (200, completion(None)), (429, {})])
def test_a_run_can_be_repeated_after_a_failure(
    run: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Any
) -> None:
    monkeypatch.setattr("rukh.cli.label.CHUNK", 1)
    monkeypatch.setattr(EndpointConfig.model_fields["retries"], "default", 0)
    fine = replies(("Ann of", answer(("Ann", "lives_in", "Rome"))))
    server.script = [fine, problem]
    done = run()
    failed = problem[0] != 200
    assert done.code == (1 if failed else 0)
    assert (tmp_path / "out.jsonl").exists() != failed
    server.script, server.requests = [fine], []
    assert run().code == (0 if failed else 2)
    assert len(read_posts(tmp_path / "out.jsonl")) == 2 + failed
    assert len(server.requests) == failed  # the first answer is in the output or in the cache


def test_a_post_with_too_many_entities_is_left_out(server: Server, cache: Path) -> None:
    text = " ".join("Abc" for _ in range(MAX_ENTITIES + 1))
    entities = [TextEntity(id=str(i), start=4 * i, end=4 * i + 3) for i in range(MAX_ENTITIES + 1)]
    endpoint = Endpoint(EndpointConfig(base_url=server.url, model="m"))
    totals = Totals()
    posts = [Post(id="1", text=text, entities=entities)]
    assert label_posts(posts, schema_of(), [Annotator(endpoint)], totals) == []
    assert totals.skipped == 1 and not server.requests


def test_only_a_sample_is_labelled(run: Any, server: Server, tmp_path: Path) -> None:
    server.script = [replies()]
    assert run("--sample", "2").code == 0
    assert len(read_posts(tmp_path / "out.jsonl")) == 2


def test_a_dry_run_shows_the_prompt(run: Any, server: Server, tmp_path: Path) -> None:
    done = run("--dry-run")
    assert done.code == 0 and "Text: Ann of Rome met Bob" in done.out
    assert not server.requests and not (tmp_path / "out.jsonl").exists()
