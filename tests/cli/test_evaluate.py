"""``rukh evaluate``: what it writes, and how formats and schemas matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rukh.data.readers import write
from rukh.records import Pair, Post


def labelled(*pairs: tuple[str, str, str], name: str = "p", entities: str = "abc") -> Post:
    return Post(
        id=name,
        text="abc",
        entities=[{"id": c, "start": i, "end": i + 1} for i, c in enumerate(entities)],
        pairs=[Pair(head=h, tail=t, relation=r) for h, t, r in pairs],
    )


@pytest.fixture
def evaluate(tiny_model: Any, tmp_path: Path, rukh: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluates a model with a joint decision on three posts or on the file that is named."""
    model = tiny_model()
    model.config = model.config.model_copy(update={"direction_mode": "joint"})
    model.save(tmp_path / "model", "")
    posts = [labelled(("a", "b", "near"), ("a", "c", "none"), name=f"p{i}") for i in range(3)]
    write(posts, tmp_path / "posts.jsonl")

    def evaluate(*more: object, data: str = "posts.jsonl") -> Any:
        files = ("--data", tmp_path / data, "--model", tmp_path / "model")
        return rukh("evaluate", *files, *more)

    return evaluate


def result(done: Any) -> dict[str, Any]:
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_outputs(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    out, report = tmp_path / "figures.json", tmp_path / "report.md"
    out.write_text("old")
    done = evaluate("--json", out, "--report", report)
    assert done.code == 0 and "found " in done.out
    first = json.loads(out.read_text())
    # Posts with the same text are one; their six pairs stay six.
    assert (first["pairs"], first["positives"]) == (6, 3)
    assert report.read_text().startswith("#")
    second = result(evaluate("--json", "-"))
    assert second | {"seconds": 0} == first | {"seconds": 0}
    assert result(evaluate("--json", "-", "--limit", 1))["pairs"] == 2


def test_no_output_replaces_an_input(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    before = (tmp_path / "posts.jsonl").read_bytes()
    for option in ("--json", "--report"):
        for path in (tmp_path / "posts.jsonl", tmp_path):
            assert evaluate(option, path).code == 2
    assert (tmp_path / "posts.jsonl").read_bytes() == before


def test_a_format_may_be_directed(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    post = labelled(("a", "b", "lives_in"), entities="ab")
    write([post], tmp_path / "one.jsonl")
    write([post], tmp_path / "one.txt", "opennre")

    def score(data: str, *more: str) -> float:
        found = result(evaluate("--json", "-", *more, data=data))
        score: float = found["expected_calibration_error"]
        return 1 - score if found["accuracy"] else score

    undirected = score("one.jsonl")
    directed = score("one.txt", "--format", "opennre")
    assert directed > undirected
    assert score("one.jsonl", "--directed") == pytest.approx(directed)
    assert score("one.txt", "--format", "opennre", "--undirected") == pytest.approx(undirected)


def test_labels_may_be_ids_and_a_closed_schema_has_no_nota(
    evaluate: Callable[..., Any], rukh: Callable[..., Any], tmp_path: Path
) -> None:
    names = {"P1": ["near", "they are close"], "P2": ["far", ""], "P3": ["far", "not close"]}
    one = {"tokens": ["Ann", "in", "Rome"], "h": ["Ann", "", [[0]]], "t": ["Rome", "", [[2]]]}
    (tmp_path / "pid2name.json").write_text(json.dumps(names))
    (tmp_path / "val.json").write_text(json.dumps({"P3": [one, one], "P1": [one]}))
    schema = tmp_path / "s.yaml"
    assert rukh("schema", "import", tmp_path / "pid2name.json", "--out", schema).code == 0
    options = ("--format", "fewrel", "--schema", schema, "--threshold", 1, "--json", "-")
    found = result(evaluate(*options, data="val.json"))
    rows = {row["relation"]: (row["support"], row["predicted"]) for row in found["per_relation"]}
    assert list(rows) == ["near", "far (P2)", "far (P3)"]
    assert [support for support, _ in rows.values()] == [1, 0, 2]
    assert sum(predicted for _, predicted in rows.values()) == 3  # the threshold is ignored
    assert found["accuracy"] == found["micro_f1"] and None not in found["confusion"]["labels"]
    (tmp_path / "val.json").write_text(json.dumps({"P3": [one], "P8": [one], "P9": [one, one]}))
    done = evaluate(*options, data="val.json")
    assert done.code == 2 and "'P9', 'P8'" in done.err


def test_end_to_end(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    done = evaluate("--end-to-end", "--predictions", rows, "--threshold", 0)
    assert done.code == 0 and "triples, raw text" in done.out
    (row,) = map(json.loads, rows.read_text().splitlines())  # posts with the same text are one
    assert {"post_id", "text", "gold", "given", "raw"} == {*row} and len(row["gold"]) == 1
    assert {"head", "relation", "tail", "score"} == {*row["given"][0]}
    assert result(evaluate("--end-to-end", "--json", "-"))["gold_triples"] == 1
    for options in (("--predictions", rows), ("--end-to-end", "--report", tmp_path / "r.md")):
        assert evaluate(*options).code == 2
