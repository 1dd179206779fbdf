"""Drafts: what is requested, what is refused, and that no incomplete draft is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from chat_server import Server, completion, error
from rukh.errors import InputError
from rukh.llm.describe import EXAMPLE, Answer, find_problems, prompts, select_relations
from rukh.llm.endpoint import Endpoint
from rukh.schema.descriptions import normalize_text
from rukh.schema.schema import RelationSchema

pytest.importorskip("openai")
KEY = "sk-very-secret-1234"
SCHEMA = {
    "name": "s",
    "nota": "none",
    "types": {"PER": "person", "ORG": "organization"},
    "relations": [
        {"name": "none"},
        {"name": "/per/org/works_at", "head": ["PER"], "tail": ["ORG"], "inverse": "employs"},
        {"name": "employs", "head": ["ORG"], "tail": ["PER"]},
        {"name": "knows", "head": ["PER"], "tail": ["PER"], "symmetric": True},
        {"name": "likes", "descriptions": ["The head is fond of the tail."]},
    ],
}
MISSING = ["/per/org/works_at", "employs", "knows"]


def answer(word: str, **changes: str) -> dict[str, str]:
    return {
        "definition": f"The head, a person, {word} the tail, whatever that may be.",
        "paraphrase": f"Look at us two, this is how one {word} the other, every day.",
        "in_text": f"The text says {word} or something like it between two names.",
        "in_image": f"The image shows two things of which one {word} the other.",
        "contrast": f"The head {word} the tail, while others merely stand beside it.",
        **changes,
    }


def answer_to(relation: str) -> dict[str, str]:
    return answer("".join(filter(str.isalpha, relation)))


def replies(**others: Any) -> Callable[..., Any]:
    """Replies about the requested relation, or with what is given for it."""

    def reply(_: Any, request: dict[str, Any]) -> Any:
        questions = [m["content"] for m in request["messages"] if m["role"] == "user"]
        name = questions[1].partition("(label ")[2].partition(")")[0]
        return others.get(name) or (200, json.dumps(answer_to(name)))

    return reply


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(SCHEMA))
    return path


@pytest.fixture
def run(
    endpoint: Server,
    source: Path,
    tiny_text: str,
    monkeypatch: pytest.MonkeyPatch,
    rukh: Callable[..., Any],
) -> Callable[..., Any]:
    """Runs ``rukh describe`` on the schema, with the test's server."""
    monkeypatch.setenv("RUKH_LLM_API_KEY", KEY)
    endpoint.script = [replies()]
    return lambda *options: rukh("describe", source, "--encoder", tiny_text, *options)


def cached_answers(cache: Path) -> int:
    with sqlite3.connect(cache / "answers.sqlite") as connection:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def test_a_draft_records_its_author(server: Server, run: Any, source: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "draft.yaml", source.read_text()
    done = run("--out", out, "--json", "-", "--verbose")
    assert done.code == 0 and "info: employs" in done.err
    summary = {"model": "some-model", "relations": MISSING, "out": str(out)}
    counts = {"requests": 3, "cached": 0, "tokens_in": 30, "tokens_out": 12, "uncounted": 0}
    assert json.loads(done.out) == summary | counts
    draft = RelationSchema.load(out)
    for name in MISSING:
        texts = draft.relation(name).descriptions
        assert [*texts] == [*answer_to(name).values()]
        sources = {(text.status, text.author, text.date) for text in texts}
        assert sources == {("draft", "some-model", date.today())}
    # The rest of the schema stays as it was.
    undescribed = [r.model_copy(update={"descriptions": ()}) for r in draft.relations[:4]]
    original = RelationSchema.parse(SCHEMA, require_descriptions=False)
    rest = {"relations": (*undescribed, draft.relation("likes"))}
    assert draft.model_copy(update=rest) == original
    assert source.read_text() == before
    assert KEY not in done.out + done.err + out.read_text()
    # A draft is never replaced: somebody may have verified it.
    before = out.read_text()
    assert run("--out", out).code == 2
    assert out.read_text() == before and len(server.requests) == 3


UNUSABLE: dict[str, Any] = {
    "refusal": (200, completion(None, message={"refusal": "no"})),
    "polite refusal": (200, json.dumps(answer("x", contrast="I'm sorry, but I cannot do this."))),
    "the example": (200, EXAMPLE.model_dump_json()),
    "a failure": (500, error("oops")),
    "a wrong key": (401, error(f"bad key {KEY}")),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_without_a_usable_answer_nothing_is_written_and_the_others_are_cached(
    server: Server, run: Any, tmp_path: Path, cache: Path, name: str
) -> None:
    server.script = [replies(employs=UNUSABLE[name])]
    out = tmp_path / "draft.yaml"
    done = run("--out", out)
    assert done.code == (2 if name == "a wrong key" else 1)
    assert KEY not in done.err + done.out
    assert not out.exists()
    cached = cached_answers(cache)
    assert cached == (2 if UNUSABLE[name][0] == 200 else 1)
    # The same command requests only what is missing.
    server.script, server.requests = [replies()], []
    done = run("--out", out)
    assert done.code == 0 and f"{cached} cached" in done.err
    assert len(server.requests) == 3 - cached


def test_an_interrupted_run_is_resumed(
    server: Server, run: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, request = tmp_path / "draft.yaml", Endpoint._request

    def interrupted(*arguments: Any) -> Any:
        if len(server.requests) == 2:
            raise KeyboardInterrupt
        return request(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "_request", interrupted)
        assert run("--out", out).code == 130
    assert cached_answers(cache) == 2 and not out.exists()
    done = run("--out", out)
    assert done.code == 0 and "1 answers, 2 cached" in done.err


def test_a_dry_run_sends_nothing(run: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"RUKH_LLM_{name}")
    done = run("--dry-run")
    assert done.code == 0 and not server.requests
    assert done.out.count(": system\n") == 3
    assert f'"works at" (label {MISSING[0]})' in done.out
    for options, name in (("--out", "x.yaml"), "RUKH_LLM_BASE_URL"), ((), "--out"):
        done = run(*options)
        assert done.code == 2 and name in done.err


def test_relations_without_descriptions_are_selected() -> None:
    schema = RelationSchema.parse(SCHEMA, require_descriptions=False)
    assert select_relations(schema) == MISSING
    assert select_relations(schema, all_relations=True) == list(schema.names)
    assert select_relations(schema, ["likes"]) == ["likes"]
    for bad in ("lieks", "none"):
        with pytest.raises(InputError, match=bad):
            select_relations(schema, [bad])
    with pytest.raises(InputError, match="--all"):
        select_relations(RelationSchema.load("mnre"))


def test_old_descriptions_stay_before_new_ones(server: Server, run: Any, tmp_path: Path) -> None:
    out = tmp_path / "draft.yaml"
    assert run("--out", out, "--relation", "likes").code == 0
    draft = RelationSchema.load(out, require_descriptions=False)
    assert [t.status for t in draft.relation("likes").descriptions] == [None, *["draft"] * 5]
    assert draft.relation("knows").descriptions == ()
    assert "The head is fond of the tail." in server.requests[0]["messages"][-1]["content"]


def test_a_prompt_contains_what_the_schema_says() -> None:
    schema = RelationSchema.parse(SCHEMA, require_descriptions=False)
    conversations = prompts(schema, MISSING, lambda texts: np.eye(len(texts), 9, dtype=np.float32))
    works, employs, knows = (conversations[name][-1]["content"] for name in MISSING)
    assert "Head: person. Tail: organization." in works
    assert '"employs"' in works and '"works at"' in employs
    assert "symmetric" in knows
    assert '- "likes", head: anything, tail: anything: The head is fond of the tail.' in works
    assert '"none"' not in works + employs + knows


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("definition", "Somebody works for somebody else here."),
        ("definition", "The head tail head tail head tail."),
        ("contrast", "Head, tail."),
        ("contrast", "The head and other words. " * 20),
        ("paraphrase", "Look, the head is at the tail again, every day."),
        ("in_text", "Words such as hello, there and you."),
        ("in_image", "The image shows [a thing] that somebody holds."),
        ("contrast", "Unlike /per/per/couple this one is about work."),
        ("contrast", "See https://example.org for how these two differ."),
        ("contrast", "As an AI I have no view on how these two differ."),
        ("contrast", "\u0440\u0430\u0431 \ufffd broken letters in a sentence here"),
        ("contrast", answer("works")["definition"].upper()),
    ],
)
def test_unusable_descriptions_have_problems(field: str, text: str) -> None:
    good = Answer(**answer("works"))
    assert find_problems(good) == find_problems(EXAMPLE) == []
    problems = find_problems(good.model_copy(update={field: text}))
    assert any(problem.startswith(field) for problem in problems)
    # Nor may an answer repeat a description that the schema has.
    assert len(find_problems(good, frozenset([normalize_text(good.contrast)]))) == 1
