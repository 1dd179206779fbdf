"""The language model's answers, counted as rukh's; a server that answers what it is told to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from research.command import main
from research.llm_baseline.__main__ import app
from research.llm_baseline.study import NOWHERE, to_facts
from typer.testing import CliRunner, Result

from chat_server import Server
from conftest import schema_of
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.evaluation.end_to_end import Fact, evaluate_end_to_end
from rukh.extractor import Extractor
from rukh.llm.endpoint import EndpointError
from rukh.llm.label import Answer, Statement, conversation, given_entities
from rukh.records import Pair, Post

pytest.importorskip("openai")
POSTS = """social ||| {a|PER|Ann} lives in {b|LOC|Rome}, {c|PER|Bob} in {d|LOC|Oslo} ||| \
a lives_in b; c lives_in d
news ||| {a|PER|Ann} sees {b|LOC|Rome} |||
work ||| Nobody but {a|PER|Ann} |||
"""


def answer(*triples: tuple[str, str, str]) -> Answer:
    return Answer(triples=[Statement(head=h, relation=r, tail=t) for h, r, t in triples])


def reply(*triples: tuple[str, str, str]) -> tuple[int, str]:
    return 200, answer(*triples).model_dump_json()


RIGHT = ("Ann", "lives_in", "Rome")
REPLIES = [
    reply(RIGHT, ("Bob", "lives_in", "of Oslo"), ("Bob", "eats", "Oslo")),
    reply(("Ann", "near", "Rome")),
    reply(),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three posts in the corpora's form, with their schema beside them."""
    (tmp_path / "posts.txt").write_text(POSTS)
    (tmp_path / "posts.yaml").write_text(schema_of().to_yaml())
    return tmp_path / "posts.txt"


@pytest.fixture
def run(server: Server, cache: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the study on the posts; the server answers them in turn."""
    for name, value in (("BASE_URL", server.url), ("MODEL", "some-model"), ("API_KEY", "")):
        monkeypatch.setenv(f"RUKH_LLM_{name}", value)
    server.script = [*REPLIES]

    def run(*options: object) -> Result:
        given = [] if "--data" in options else ["--data", data]
        return CliRunner().invoke(app, [str(option) for option in (*given, *options)])

    return run


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def test_words_of_the_text_become_spans() -> None:
    schema, text = schema_of(), "Ann, Bob and Ann of Rome"
    facts = to_facts(
        answer(
            ("Bob", "near", "Ann"),
            ("Ann", "near", "Bob"),  # the same, as it is symmetric
            ("Rome", "employs", "Ann"),
            ("Ann", "works_at", "Rome"),  # the same, as it is the inverse
            ("ann", "lives_in", "Rome"),
            ("Anne", "lives_in", "Rome"),
            ("Anne", "lives_in", "Rome"),
            ("", "lives_in", "Rome"),
            ("Ann", "eats", "Rome"),
        ),
        text,
        schema,
        None,
    )
    ann, bob, rome = (0, 3), (5, 8), (20, 24)
    assert facts[:2] == [Fact(ann, "near", bob), Fact(rome, "employs", ann)]
    assert facts[2:5] == [Fact(NOWHERE, "lives_in", rome)] * 3
    assert facts[5:] == [Fact(ann, "eats", rome)]
    everywhere = Fact((0, len(text)), "lives_in", rome)
    assert not any(fact.matches(everywhere, relaxed=True) for fact in facts)


def test_given_entities_are_listed_and_located() -> None:
    post = Post(
        id="p",
        text="Ann of Rome, Ann",
        entities=[
            {"id": "late", "start": 13, "end": 16, "type": "PER"},
            {"id": "r", "start": 7, "end": 11},
            {"id": "a", "start": 0, "end": 3, "type": "PER"},
        ],
    )
    schema, entities = schema_of(), given_entities(post)
    system, question = conversation(post.text, schema, entities)
    assert question["content"].splitlines() == [
        "Text: Ann of Rome, Ann", "Entities:", "- Ann (person)", "- Rome",
    ]  # fmt: skip
    assert "- employs (head: ORG; tail: person): the tail works at the head" in system["content"]
    assert "- near (head: anything; tail: anything): the head is near" in system["content"]
    assert "none (" not in system["content"]
    answered = answer(RIGHT, ("Ann", "lives_in", "of Rome"))
    spans = [(fact.head, fact.tail) for fact in to_facts(answered, post.text, schema, entities)]
    assert spans == [((0, 3), (7, 11)), ((0, 3), NOWHERE)]


def test_triples_are_counted(run: Any, server: Server) -> None:
    result = figures(run("--json", "-"))
    counts = (result["posts"], result["silent_posts"], result["gold_triples"])
    assert counts == (3, 2, 2) and result["schema"] == "tiny"
    (row,) = result["systems"]
    assert (row["system"], row["timed_posts"], row["not_found"]) == ("some-model", 3, 1)
    strict, relaxed = row["strict"], row["relaxed"]
    assert (strict["precision"], strict["recall"], strict["predicted"]) == (0.25, 0.5, 4)
    assert strict["f1_ci"][0] <= strict["f1"] <= strict["f1_ci"][1]
    assert relaxed["recall"] == 0.5  # "of Oslo" is not in the text
    assert row["silent_answered"] == 0.5 and row["unanswered"] == []
    form = server.requests[0]["response_format"]["json_schema"]["schema"]
    properties = form["$defs"]["Statement"]["properties"]
    assert properties["relation"]["enum"] == list(schema_of().names)
    assert "enum" not in properties["head"] and form["properties"]["triples"]["maxItems"] == 20


def test_a_run_is_resumed(run: Any, server: Server) -> None:
    server.script = [REPLIES[0], (418, {})]
    assert isinstance(run().exception, EndpointError)
    server.script, server.requests = REPLIES[1:], []
    (row,) = figures(run("--json", "-"))["systems"]
    assert len(server.requests) == row["timed_posts"] == 2
    assert (row["strict"]["predicted"], row["totals"]["cached"]) == (4, 1)
    again = run()
    assert len(server.requests) == 2 and again.stdout.splitlines()[-1].endswith("| 50.0 |  |")


def test_posts_without_pairs_of_given_entities_are_not_asked(run: Any, server: Server) -> None:
    (row,) = figures(run("--json", "-", "--entities", "given"))["systems"]
    assert len(server.requests) == row["timed_posts"] == 2
    form = server.requests[1]["response_format"]["json_schema"]["schema"]
    assert form["$defs"]["Statement"]["properties"]["head"]["enum"] == ["Ann", "Rome"]
    assert row["not_found"] == 1


def test_an_unusable_answer_is_no_triple(run: Any, server: Server) -> None:
    server.script = [REPLIES[0], (200, "I do not know.")]
    result = run("--json", "-", "--limit", 2)
    assert "warning: 1 posts" in result.stderr
    (row,) = figures(result)["systems"]
    assert row["unanswered"] == ["posts:2"] and row["silent_answered"] == 0
    assert len(server.requests) == 5


@pytest.mark.parametrize("setting", ["raw", "given"])
def test_models_are_measured_by_the_evaluation(
    run: Any, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    def load(name: str, **options: Any) -> Extractor:
        return Extractor(tiny_model(), threshold=0.2, schema=options["schema"])

    monkeypatch.setattr(Extractor, "from_pretrained", load)
    post = Post(
        id="1",
        text="Ann sees Bob",
        entities=[{"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 9, "end": 12}],
        pairs=[Pair(head="b", tail="a", relation="near")],
    )
    write([post], tmp_path / "posts.jsonl")
    command = ["--data", tmp_path / "posts.jsonl", "--schema", tmp_path / "posts.yaml"]
    command += ["--model", "m", "--model", "m", "--entities", setting]
    result = run(*command, "--json", tmp_path / "figures.json")
    assert result.exit_code == 0, result.output
    assert [line.split(" | ")[0] for line in result.stdout.splitlines()] == [
        "| system", "| ---", "| some-model", "| m",
    ]  # fmt: skip
    _, row = json.loads((tmp_path / "figures.json").read_text())["systems"]
    expected = evaluate_end_to_end(load("m", schema=schema_of()), [post])[0][setting]
    assert (row["strict"], row["relaxed"]) == (expected["strict"], expected["relaxed"])
    assert row["seconds_per_post"] > 0


def test_bad_input(
    run: Any, server: Server, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([Post(id="1", text="x", pairs=[])], tmp_path / "posts.jsonl")
    error = run("--data", tmp_path / "posts.jsonl").exception
    assert isinstance(error, InputError) and error.field == "--schema"
    for file, text in (("empty", ""), ("broken", "news ||| {a|PER|Ann}")):
        (tmp_path / f"{file}.txt").write_text(text)
        error = run("--data", tmp_path / f"{file}.txt").exception
        assert isinstance(error, InputError), file
    assert error.where == f"{tmp_path}/broken.txt:1"
    server.script = [(404, {})]
    assert isinstance(run().exception, InputError)
    monkeypatch.delenv("RUKH_LLM_MODEL")
    assert "RUKH_LLM_MODEL" in str(run().exception)


def test_an_error_is_one_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RUKH_LLM_BASE_URL", "RUKH_LLM_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["llm_baseline", "--data", str(data)])
    with pytest.raises(SystemExit) as stop:
        main(app)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "RUKH_LLM_BASE_URL" in line
