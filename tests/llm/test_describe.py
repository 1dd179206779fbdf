"""Drafts: what is requested, what is refused, and that no incomplete draft is written."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from chat_server import Server, completion, error
from rukh import cli
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


def answer(word: str, **changes: str) -> dict[str, str]:
    return {
        "definition": f"The head, a person, {word} the tail, whatever that may be.",
        "paraphrase": f"Look at us two, this is how one {word} the other, every day.",
        "in_text": f"The text says {word} or something like it between two names.",
        "in_image": f"The image shows two things of which one {word} the other.",
        "contrast": f"The head {word} the tail, while others merely stand beside it.",
        **changes,
    }


def replies(change: Callable[[str, int], Any] = lambda name, nth: None) -> Callable[..., Any]:
    """Replies about the requested relation, unless ``change`` returns another reply."""
    seen: dict[str, int] = {}

    def reply(_: Any, request: dict[str, Any]) -> Any:
        questions = [m["content"] for m in request["messages"] if m["role"] == "user"]
        name = questions[1].partition("(label ")[2].partition(")")[0]
        seen[name] = seen.get(name, 0) + 1
        other = change(name, seen[name])
        words = "".join(letter for letter in name if letter.isalpha())
        return (200, json.dumps(answer(words))) if other is None else other

    return reply


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(SCHEMA))
    return path


@pytest.fixture
def run(
    server: Server,
    cache: Path,
    source: Path,
    tiny_text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Done]:
    """Runs ``rukh describe`` on the schema, with the test's server."""
    monkeypatch.setenv("RUKH_LLM_BASE_URL", server.url)
    monkeypatch.setenv("RUKH_LLM_MODEL", "some-model")
    monkeypatch.setenv("RUKH_LLM_API_KEY", KEY)

    def run(*options: str) -> Done:
        command = ["rukh", "describe", str(source), "--encoder", tiny_text, *options]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return run


def cached_answers(cache: Path) -> int:
    with sqlite3.connect(cache / "answers.sqlite") as connection:
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])


def test_a_draft_records_its_author(
    server: Server, run: Any, source: Path, tmp_path: Path, cache: Path
) -> None:
    server.script = [replies()]
    out, before = tmp_path / "draft.yaml", source.read_text()
    done = run("--out", str(out), "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "model": "some-model",
        "relations": ["/per/org/works_at", "employs", "knows"],
        "out": str(out),
        "requests": 3,
        "cached": 0,
        "tokens_in": 30,
        "tokens_out": 12,
        "uncounted": 0,
    }
    draft = RelationSchema.load(out)
    for name in ("/per/org/works_at", "employs", "knows"):
        texts = draft.relation(name).descriptions
        assert [*texts] == [*answer("".join(filter(str.isalpha, name))).values()]
        assert {(text.status, text.author, text.date) for text in texts} == {
            ("draft", "some-model", date.today())
        }
    # The rest of the schema stays as it was.
    original = RelationSchema.parse(SCHEMA, require_descriptions=False)
    assert draft.relation("likes") == original.relation("likes")
    assert draft.relation("likes").descriptions[0].status is None
    assert (draft.nota, draft.types) == ("none", SCHEMA["types"])
    assert draft.inverse_of("employs") == "/per/org/works_at"
    assert source.read_text() == before
    assert KEY not in done.stdout + done.stderr + out.read_text()
    # A draft is never replaced: somebody may have verified it.
    before = out.read_text()
    assert run("--out", str(out)).returncode == 2
    assert out.read_text() == before and len(server.requests) == 3


UNUSABLE: dict[str, Any] = {
    "garbage": (200, b"\x00\xff"),
    "another form": (200, '{"text": "a"}'),
    "refusal": (200, completion(None, message={"refusal": "no"})),
    "polite refusal": (200, json.dumps(answer("x", contrast="I'm sorry, but I cannot do this."))),
    "nonsense": (200, json.dumps(answer("x", definition="head tail " * 9))),
    "the example": (200, EXAMPLE.model_dump_json()),
    "a failure": (500, error("oops")),
    "a wrong key": (401, error(f"bad key {KEY}")),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_without_a_usable_answer_nothing_is_written_and_the_others_are_cached(
    server: Server, run: Any, tmp_path: Path, cache: Path, name: str
) -> None:
    server.script = [replies(lambda relation, _: UNUSABLE[name] if relation == "employs" else None)]
    out = tmp_path / "draft.yaml"
    done = run("--out", str(out), "--retries", "1")
    assert done.returncode == (2 if name == "a wrong key" else 1)
    assert KEY not in done.stderr + done.stdout
    assert not out.exists()
    cached = cached_answers(cache)
    assert cached == (2 if UNUSABLE[name][0] == 200 else 1)
    # The same command requests only what is missing.
    server.script, server.requests = [replies()], []
    done = run("--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 3 - cached and f"{cached} cached" in done.stderr


def test_an_unusable_answer_is_requested_again(server: Server, run: Any, tmp_path: Path) -> None:
    def once(relation: str, nth: int) -> Any:
        return (200, "Sure.") if (relation, nth) == ("employs", 1) else None

    server.script = [replies(once)]
    done = run("--out", str(tmp_path / "draft.yaml"), "--verbose")
    assert done.returncode == 0 and "4 answers" in done.stderr
    assert "info: employs" in done.stderr


def test_an_interrupted_run_is_resumed(
    server: Server, run: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [replies()]
    out, request = tmp_path / "draft.yaml", Endpoint._request

    def interrupted(*arguments: Any) -> Any:
        if len(server.requests) == 2:
            raise KeyboardInterrupt
        return request(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "_request", interrupted)
        assert run("--out", str(out)).returncode == 130
    assert cached_answers(cache) == 2 and not out.exists()
    done = run("--out", str(out))
    assert done.returncode == 0 and "1 answers, 2 cached" in done.stderr


def test_a_dry_run_sends_nothing(run: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"RUKH_LLM_{name}")
    done = run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": system\n") == 3 and not server.requests
    assert '"works at" (label /per/org/works_at)' in done.stdout
    for options, name in (("--out", "x.yaml"), "RUKH_LLM_BASE_URL"), ((), "--out"):
        done = run(*options)
        assert done.returncode == 2 and name in done.stderr


def test_relations_without_descriptions_are_selected() -> None:
    schema = RelationSchema.parse(SCHEMA, require_descriptions=False)
    assert select_relations(schema) == ["/per/org/works_at", "employs", "knows"]
    assert select_relations(schema, all_relations=True) == list(schema.names)
    assert select_relations(schema, ["likes"]) == ["likes"]
    for bad in ("lieks", "none"):
        with pytest.raises(InputError, match=bad):
            select_relations(schema, [bad])
    with pytest.raises(InputError, match="--all"):
        select_relations(RelationSchema.load("mnre"))


def test_old_descriptions_stay_before_new_ones(server: Server, run: Any, tmp_path: Path) -> None:
    server.script = [replies()]
    out = tmp_path / "draft.yaml"
    done = run("--out", str(out), "--relation", "likes")
    assert done.returncode == 0, done.stderr
    draft = RelationSchema.load(out, require_descriptions=False)
    assert [t.status for t in draft.relation("likes").descriptions] == [None, *["draft"] * 5]
    assert draft.relation("knows").descriptions == ()
    assert "The head is fond of the tail." in server.requests[0]["messages"][-1]["content"]


def test_a_prompt_contains_what_the_schema_says() -> None:
    schema = RelationSchema.parse(SCHEMA, require_descriptions=False)
    names = ["/per/org/works_at", "employs", "knows"]
    conversations = prompts(schema, names, lambda texts: np.eye(len(texts), 9, dtype=np.float32))
    works, employs, knows = (conversations[name][-1]["content"] for name in names)
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
    assert find_problems(Answer(**answer("works"))) == []
    problems = find_problems(Answer(**answer("works", **{field: text})))
    assert any(problem.startswith(field) for problem in problems)


def test_descriptions_of_the_schema_are_not_repeated() -> None:
    new = Answer(**answer("works"))
    assert len(find_problems(new, frozenset([normalize_text(new.contrast)]))) == 1


def test_the_example_has_no_problems() -> None:
    assert find_problems(EXAMPLE) == []
