"""Figures against a count by hand, over a model whose every answer is known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import schema_of
from rukh import cli
from rukh.data.readers import write
from rukh.errors import InputError
from rukh.evaluation.evaluate import decisions, evaluate_posts
from rukh.extractor import Extractor
from rukh.modeling.inference import PostScores
from rukh.modeling.model import RelationModel
from rukh.records import Pair, Post

Make = Callable[..., RelationModel]


class Oracle(Extractor):
    """Answers (relation, probability) from a table instead of by its model."""

    table: dict[tuple[str, str], tuple[str, float]]

    def scores(self, posts: Any, pairs: Any) -> list[PostScores]:
        out = []
        for post, asks in zip(posts, pairs, strict=True):
            rows = torch.zeros(len(asks), 1 + len(self.bank.names))
            for row, ask in zip(rows, asks, strict=True):
                name, score = self.table[ask]
                row[self.bank.names.index(name) + 1] = score
                row[0] = 1 - score
            out.append(PostScores(rows.log(), torch.zeros(1), 0.5 if post.image else None))
        return out


def labelled(*pairs: tuple[str, str, str | None], name: str = "p", **more: Any) -> Post:
    entities = [{"id": c, "start": i, "end": i + 1, "type": "X"} for i, c in enumerate("abcd")]
    given = [Pair(head=h, tail=t, relation=r) for h, t, r in pairs]
    return Post(id=name, text="abcd", entities=entities, pairs=given, **more)


def test_figures_by_hand(tiny_model: Make) -> None:
    oracle = Oracle(tiny_model(), threshold=0.5)
    oracle.table = {
        ("a", "b"): ("works_at", 0.9), ("b", "a"): ("employs", 0.6),   # right
        ("a", "c"): ("near", 0.7), ("c", "a"): ("near", 0.2),          # gold none: false positive
        ("b", "c"): ("near", 0.4), ("c", "b"): ("works_at", 0.8),      # forward silent; backward
        ("c", "d"): ("lives_in", 0.3), ("d", "c"): ("lives_in", 0.1),  # gold none, silent: right
        ("b", "d"): ("lives_in", 0.8), ("d", "b"): ("near", 0.1),      # gold near: wrong
    }  # fmt: skip
    posts = [
        labelled(("a", "b", "works_at"), ("a", "c", "none"), ("a", "d", None), image=b"x"),
        labelled(("b", "c", "employs"), ("c", "d", "none"), ("b", "d", "near"), name="q",
                 caption="dog"),
    ]  # fmt: skip
    found = evaluate_posts(oracle, iter(posts))
    # Forward told: works_at (right), near, lives_in; three pairs carry a relation.
    assert found["micro_precision"] == pytest.approx(1 / 3)
    assert found["micro_recall"] == pytest.approx(1 / 3)
    assert found["micro_f1"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(2 / 5)
    # Of both orders, (c, b) says works_at, which read from b to c is employs: right, too.
    assert found["micro_f1_order_free"] == pytest.approx(2 * 2 / (4 + 3))
    assert (found["pairs"], found["positives"], found["posts"]) == (5, 3, 2)
    # (a, c) is invented; (b, d) carries near, and lives_in is told.
    assert found["mistakes"] == {
        "right": 2, "reversed": 0, "confused": 1, "missed": 0, "invented": 1,
        "invented_reversed": 0,
    }  # fmt: skip
    assert found["relation_accuracy"] == pytest.approx(2 / 3)
    # 0.9, 0.8 and 0.8 of the related against 0.7 and 0.3.
    assert found["relation_auroc"] == 1.0
    counted = ("unlabelled", "images_used", "captions_used", "images_missing", "images_broken")
    assert [found[key] for key in counted] == [1, 1, 1, 0, 0]
    json.dumps(found, allow_nan=False)


def test_decisions_without_nota_are_always_told(tiny_model: Make) -> None:
    rows = torch.tensor([[0.8, 0.05, 0.1, 0.03, 0.02]])
    oracle = Oracle(tiny_model(), threshold=0.5)
    assert [d.relation for d in decisions(oracle, rows)] == ["none"]
    closed = schema_of(nota=None, relations=[r.model_dump() for r in schema_of().relations[1:]])
    oracle = Oracle(tiny_model(), threshold=0.5, schema=closed)
    assert [d.relation for d in decisions(oracle, rows)] == ["works_at"]


def test_labels_outside_the_schema_and_no_labels(tiny_model: Make) -> None:
    extractor = Extractor(tiny_model())
    with pytest.raises(InputError, match="relation 'work_at' is not .* did you mean 'works_at'"):
        evaluate_posts(extractor, [labelled(("a", "b", "work_at"))])
    for posts in ([], [labelled(("a", "b", None))], [labelled()]):
        with pytest.raises(InputError, match="no labelled pair"):
            evaluate_posts(extractor, posts)


def test_pictures_that_cannot_be_read_are_counted(tiny_model: Make, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    posts = [
        labelled(("a", "b", "near"), name=name, image=tmp_path / name)
        for name in ("gone.png", "broken.png", "gone.png")
    ]
    found = evaluate_posts(Extractor(tiny_model(vision=True)), posts)
    counted = ("images_used", "images_missing", "images_broken")
    assert [found[key] for key in counted] == [0, 2, 1]


def evaluate(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["rukh", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def files(tiny_model: Make, tmp_path: Path) -> list[object]:
    tiny_model().save(tmp_path / "model", "")
    posts = [labelled(("a", "b", "near"), ("a", "c", "none"), name=f"p{i}") for i in range(3)]
    write(posts, tmp_path / "posts.jsonl")
    return ["--data", tmp_path / "posts.jsonl", "--model", tmp_path / "model"]


def test_no_output_replaces_an_input(
    files: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "posts.jsonl"
    before = data.read_bytes()
    for option in ("--json", "--report", "--plot"):
        assert evaluate(monkeypatch, *files, option, data) == 2
        assert "posts.jsonl: it is the input" in capsys.readouterr().err
        assert evaluate(monkeypatch, *files, option, tmp_path) == 2
        assert "it is a folder" in capsys.readouterr().err
    assert data.read_bytes() == before


def test_the_command_writes_json(
    files: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "figures.json"
    out.write_text("old")
    report = tmp_path / "report.md"
    assert evaluate(monkeypatch, *files, "--json", out, "--report", report) == 0
    said = capsys.readouterr().out
    first = json.loads(out.read_text())
    # Posts with the same text are one; its six pairs stay six.
    assert f"6 pairs of {first['posts']} posts" in said and "order-free micro-F1" in said
    assert (first["pairs"], first["positives"]) == (6, 3)
    assert report.read_text().startswith("#")
    assert evaluate(monkeypatch, *files, "--json", "-") == 0
    second = json.loads(capsys.readouterr().out)
    del first["seconds"], second["seconds"]
    assert first == second
    assert evaluate(monkeypatch, *files, "--limit", 1, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 2


def test_a_format_may_say_that_pairs_stand_from_head_to_tail(
    tiny_model: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"order": "joint"})
    model.save(tmp_path / "model", "")
    post = labelled(("a", "b", "lives_in"))
    post = post.model_copy(update={"entities": post.entities[:2]})  # no others in OpenNRE
    write([post], tmp_path / "posts.jsonl")
    write([post], tmp_path / "posts.txt", "opennre")

    def sureness(name: str, *more: str) -> float:
        files = ("--data", tmp_path / name, "--model", tmp_path / "model")
        assert evaluate(monkeypatch, *files, "--json", "-", *more) == 0
        found: float = json.loads(capsys.readouterr().out)["risk_coverage"][0]["threshold"]
        return found

    either = sureness("posts.jsonl")
    given = sureness("posts.txt", "--format", "opennre")
    assert given > either
    assert sureness("posts.jsonl", "--direction", "given") == pytest.approx(given)
    turned = ("--format", "opennre", "--direction", "either")
    assert sureness("posts.txt", *turned) == pytest.approx(either)


def test_the_command_names_an_unknown_label(
    files: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write([labelled(("a", "b", "neer"))], tmp_path / "posts.jsonl")
    assert evaluate(monkeypatch, *files) == 2
    assert "'neer'" in capsys.readouterr().err


def test_labels_may_be_ids_and_a_closed_schema_rejects_nothing(
    tiny_model: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny_model().save(tmp_path / "model", "")
    told = {"P1": ["near", "they are close"], "P2": ["far", ""], "P3": ["far", "not close"]}
    one = {"tokens": ["Ann", "in", "Rome"], "h": ["Ann", "", [[0]]], "t": ["Rome", "", [[2]]]}
    (tmp_path / "pid2name.json").write_text(json.dumps(told))
    (tmp_path / "val.json").write_text(json.dumps({"P3": [one, one], "P1": [one]}))
    schema = tmp_path / "s.yaml"
    monkeypatch.setattr(
        sys,
        "argv",
        ["rukh", "schema", "import", str(tmp_path / "pid2name.json"), f"--out={schema}"],
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code and "3 relations written" in capsys.readouterr().out
    files = ["--data", tmp_path / "val.json", "--model", tmp_path / "model", "--format", "fewrel"]
    files += ["--schema", schema, "--threshold", 1]
    assert evaluate(monkeypatch, *files, "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["relation"]: (row["support"], row["predicted"]) for row in found["per_relation"]}
    assert list(rows) == ["near", "far (P2)", "far (P3)"]
    assert [support for support, _ in rows.values()] == [1, 0, 2]
    assert sum(predicted for _, predicted in rows.values()) == 3  # none is held back
    assert found["accuracy"] == found["micro_f1"] and None not in found["confusion"]["labels"]
    assert evaluate(monkeypatch, *files, "--limit", 2, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 2
    (tmp_path / "val.json").write_text(json.dumps({"P3": [one], "P8": [one], "P9": [one, one]}))
    assert evaluate(monkeypatch, *files) == 2
    said = capsys.readouterr().err
    assert "val.json: 3 pairs carry labels outside schema 's': 'P9', 'P8'; known: " in said
