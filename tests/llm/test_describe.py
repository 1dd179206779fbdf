"""Drafts: what is asked, what is refused, and that nothing is written which is not whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chat_server import Server, completion, error
from rukh import cli
from rukh.errors import InputError
from rukh.llm.describe import EXAMPLE, Answer, chosen, faults, prompts
from rukh.schema.schema import RelationSchema

pytest.importorskip("openai")
KEY = "sk-very-secret-1234"
RUKH = [sys.executable, "-c", "from rukh.cli import main; main()"]
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
        "in_picture": f"The picture shows two things of which one {word} the other.",
        "contrast": f"The head {word} the tail, while others merely stand beside it.",
        **changes,
    }


def replies(change: Callable[[str, int], Any] = lambda name, nth: None) -> Callable[..., Any]:
    """Answers by the relation that is asked for, unless ``change`` gives another answer."""
    seen: dict[str, int] = {}

    def reply(_: Any, request: dict[str, Any]) -> Any:
        asked = [m["content"] for m in request["messages"] if m["role"] == "user"]
        name = asked[1].partition("(label ")[2].partition(")")[0]
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
    """Runs ``rukh describe`` on the schema, by the test's server."""
    monkeypatch.setenv("RUKH_LLM_BASE_URL", server.url)
    monkeypatch.setenv("RUKH_LLM_MODEL", "some-model")
    monkeypatch.setenv("RUKH_LLM_API_KEY", KEY)

    def made(*options: str) -> Done:
        command = ["rukh", "describe", str(source), "--encoder", tiny_text, *options]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return made


def test_a_draft_says_who_wrote_it(
    server: Server, run: Any, source: Path, tmp_path: Path, cache: Path
) -> None:
    server.script = [replies()]
    out, before = tmp_path / "draft.yaml", source.read_text()
    done = run("--out", str(out), "--json", "-", "--price-in", "1", "--price-out", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "model": "some-model",
        "relations": ["/per/org/works_at", "employs", "knows"],
        "out": str(out),
        "requests": 3, "cached": 0, "tokens_in": 30, "tokens_out": 12, "uncounted": 0,
        "cost": pytest.approx(54e-6),
    }  # fmt: skip
    assert "3 answers, 0 kept from before; 30 tokens asked, 12 answered; cost 0.0001" in done.stderr
    made = RelationSchema.load(out)
    for name in ("/per/org/works_at", "employs", "knows"):
        texts = made.relation(name).descriptions
        assert [*texts] == [*answer("".join(filter(str.isalpha, name))).values()]
        assert {(t.status, t.author, t.date) for t in texts} == {
            ("draft", "some-model", date.today())
        }
    # What was there stays, and the rest of the schema with it.
    assert made.relation("likes") == RelationSchema.parse(SCHEMA, undescribed=True).relation(
        "likes"
    )
    assert made.relation("likes").descriptions[0].status is None
    assert (made.nota, made.types, made.reverse("employs")) == (
        "none", SCHEMA["types"], "/per/org/works_at"
    )  # fmt: skip
    assert "'some-model'" in out.read_text().splitlines()[0]
    assert source.read_text() == before
    written = done.stdout + done.stderr + out.read_text()
    written += "".join(f.read_text() for f in cache.rglob("*.json"))
    assert KEY not in written
    # It is there now, and may hold reviewed work.
    before = out.read_text()
    done = run("--out", str(out))
    assert done.returncode == 2 and "may hold reviewed work" in done.stderr
    assert out.read_text() == before and len(server.requests) == 3


def test_a_schema_of_23_relations_is_one_command(
    server: Server, run: Any, source: Path, tmp_path: Path
) -> None:
    mnre = RelationSchema.load("mnre").model_dump(mode="json")
    for one in mnre["relations"]:
        one.pop("descriptions")
    source.write_text(yaml.safe_dump(mnre))
    server.script = [replies()]
    out = tmp_path / "draft.yaml"
    done = run("--out", str(out))
    assert done.returncode == 0, done.stderr
    made = RelationSchema.load(out)
    assert len(made.labels) == 23
    assert {len(made.relation(name).descriptions) for name in made.names} == {5}
    assert len(server.requests) == 22


USELESS: dict[str, Any] = {
    "garbage": (200, b"\x00\xff"),
    "no JSON": (200, "Here you are!"),
    "wrong schema": (200, '{"text": "a"}'),
    "empty": (200, ""),
    "refusal": (200, completion(None, message={"refusal": "no"})),
    "nonsense": (200, json.dumps(answer("x", definition="head tail " * 9))),
    "polite refusal": (200, json.dumps(answer("x", contrast="I'm sorry, but I cannot do this."))),
    "the example": (200, EXAMPLE.model_dump_json()),
    "the server fails": (500, error("oops")),
    "too many": (429, error("slow down")),
    "not the key": (401, error(f"bad key {KEY}")),
}


@pytest.mark.parametrize("name", USELESS)
def test_a_useless_answer_writes_nothing_and_the_rest_is_kept(
    server: Server, run: Any, source: Path, tmp_path: Path, cache: Path, name: str
) -> None:
    server.script = [replies(lambda relation, _: USELESS[name] if relation == "employs" else None)]
    out, before = tmp_path / "draft.yaml", source.read_text()
    done = run("--out", str(out), "--retries", "1")
    assert done.returncode == (2 if name == "not the key" else 1)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert KEY not in done.stderr + done.stdout
    assert not out.exists() and source.read_text() == before
    kept = len(list(cache.rglob("answers/*.json")))
    assert kept == (1 if USELESS[name][0] != 200 else 2)
    # The same command asks for what is missing alone.
    server.script, server.requests = [replies()], []
    done = run("--out", str(out))
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 3 - kept and f"{kept} kept from before" in done.stderr


def test_a_useless_answer_is_mended_on_the_way(server: Server, run: Any, tmp_path: Path) -> None:
    def once(relation: str, nth: int) -> Any:
        return (200, "Sure.") if (relation, nth) == ("employs", 1) else None

    server.script = [replies(once)]
    done = run("--out", str(tmp_path / "draft.yaml"))
    assert done.returncode == 0 and "4 answers" in done.stderr


def test_a_killed_run_goes_on(
    server: Server, run: Any, source: Path, tmp_path: Path, tiny_text: str, cache: Path
) -> None:
    def hang(relation: str, nth: int) -> Any:
        if relation == "knows":
            time.sleep(20)

    server.script = [replies(hang)]
    out = tmp_path / "draft.yaml"
    command = [*RUKH, "describe", str(source), "--encoder", tiny_text, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(server.requests) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(cache.rglob("answers/*.json"))) == 2 and not out.exists()
    server.script = [replies()]
    done = run("--out", str(out))
    assert done.returncode == 0 and "1 answers, 2 kept from before" in done.stderr


def test_a_dry_run_asks_nothing(run: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASE_URL", "MODEL", "API_KEY"):
        monkeypatch.delenv(f"RUKH_LLM_{name}")
    done = run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": system\n") == 3 and not server.requests
    assert '"works at" (label /per/org/works_at)' in done.stdout
    done = run("--out", "x.yaml")
    assert done.returncode == 2 and "RUKH_LLM_BASE_URL" in done.stderr
    done = run()
    assert done.returncode == 2 and "--out" in done.stderr


def test_chosen_are_those_without_descriptions() -> None:
    schema = RelationSchema.parse(SCHEMA, undescribed=True)
    assert chosen(schema) == ["/per/org/works_at", "employs", "knows"]
    assert chosen(schema, again=True) == list(schema.names)
    assert chosen(schema, ["likes"]) == ["likes"]
    for bad in ("lieks", "none"):
        with pytest.raises(InputError, match=bad):
            chosen(schema, [bad])
    with pytest.raises(InputError, match="--all"):
        chosen(RelationSchema.load("mnre"))


def test_old_descriptions_stay_before_new_ones(server: Server, run: Any, tmp_path: Path) -> None:
    server.script = [replies()]
    out = tmp_path / "draft.yaml"
    done = run("--out", str(out), "--relation", "likes")
    assert done.returncode == 0, done.stderr
    made = RelationSchema.load(out, undescribed=True)
    assert [t.status for t in made.relation("likes").descriptions] == [None, *["draft"] * 5]
    assert made.relation("knows").descriptions == ()
    assert "The head is fond of the tail." in server.requests[0]["messages"][-1]["content"]


def test_a_question_tells_what_the_schema_knows() -> None:
    import numpy as np

    schema = RelationSchema.parse(SCHEMA, undescribed=True)
    names = ["/per/org/works_at", "employs", "knows"]
    asked = prompts(schema, names, lambda texts: np.eye(len(texts), 9, dtype=np.float32))
    works, employs, knows = (asked[name][-1]["content"] for name in names)
    assert "Head: person. Tail: organization." in works
    assert 'holds its inverse, "employs"' in works and 'its inverse, "works at"' in employs
    assert "symmetric: it holds both ways" in knows
    assert '- "likes", head: anything, tail: anything: The head is fond of the tail.' in works
    assert '"none"' not in works + employs + knows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"definition": "Somebody works for somebody else here."}, "definition must say"),
        ({"definition": "The head tail head tail head tail."}, "is no sentence"),
        ({"contrast": "Head, tail."}, "contrast has 11 characters"),
        ({"contrast": "The head and other words. " * 20}, "characters"),
        ({"paraphrase": "Look, the head is at the tail again, every day."}, "paraphrase must be"),
        ({"in_text": "Words such as hello, there and you."}, 'in_text must begin with "The text"'),
        ({"in_picture": "The picture shows [a thing] that somebody holds."}, "markup"),
        ({"contrast": "Unlike /per/per/couple this one is about work."}, "markup or a label"),
        ({"contrast": "See https://example.org for how these two differ."}, "markup"),
        ({"contrast": "As an AI I have no view on how these two differ."}, "speaks of the writer"),
        ({"contrast": "\u0440\u0430\u0431 \ufffd broken letters in a sentence here"}, "markup"),
        ({"contrast": answer("works")["definition"].upper()}, "repeats another"),
    ],
)
def test_useless_descriptions_are_told_apart(change: dict[str, str], said: str) -> None:
    assert faults(Answer(**answer("works"))) == []
    found = faults(Answer(**answer("works", **change)))
    assert any(said in fault for fault in found), found


def test_what_stands_elsewhere_is_refused() -> None:
    from rukh.schema.descriptions import bare

    one = Answer(**answer("works"))
    assert faults(one, frozenset([bare(one.contrast)])) == ["contrast repeats another description"]


def test_the_example_passes_its_own_checks() -> None:
    assert faults(EXAMPLE) == []


@given(st.lists(st.text(), min_size=5, max_size=5))
def test_any_text_has_faults_or_none(texts: list[str]) -> None:
    fields = dict(zip(Answer.model_fields, texts, strict=True))
    assert all(isinstance(fault, str) for fault in faults(Answer.model_construct(**fields)))
