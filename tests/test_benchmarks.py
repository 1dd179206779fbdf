"""The benchmarks run, and compute their ratios."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmarks import graph, speed
from benchmarks.__main__ import main


def test_posts_differ_only_in_their_pairs(tmp_path: Path) -> None:
    for pairs in speed.ENTITIES:
        posts = speed.make_posts(2, pairs, tmp_path)
        assert [len(post.pairs or ()) for post in posts] == [pairs, pairs]
        assert [post.surface(e.id) for post in posts for e in post.entities] == 2 * list(
            speed.NAMES[: speed.ENTITIES[pairs]]
        )
        assert all(isinstance(post.image, Path) and post.image.is_file() for post in posts)
    assert len({post.text for n in speed.ENTITIES for post in speed.make_posts(1, n)}) == 1


def test_best_of_alternates_and_takes_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []
    waits = {"a": iter([9.0, 3.0, 2.0]), "b": iter([0.5, 4.0, 5.0])}  # the first is a warm-up

    def act(name: str) -> None:
        calls.append(name)
        clock[0] += next(waits[name])

    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    assert speed.best_of(2, {n: lambda n=n: act(n) for n in "ab"}) == {"a": 2.0, "b": 4.0}
    assert calls == list("ababab")


def test_everything_on_a_tiny_model(
    tmp_path: Path, tiny_text: str, tiny_vision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    small = ["--text", tiny_text, "--vision", tiny_vision, "--posts", "2", "--repeats", "1"]
    main([*small, "--json", str(out)])
    result = json.loads(out.read_text())
    rows = {(row["what"], row["pairs"]): row for row in result["rows"]}
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in result["rows"])
    assert len(rows) == len(result["rows"]) == 2 * 3 + 2 * 2 * 2 + 2
    for markers in speed.MARKERS:
        for pairs in speed.ENTITIES:
            row = rows[f"markers `{markers}`", pairs]
            base = rows["markers `post`", pairs]
            assert row["ratio"] == pytest.approx(row["seconds"] / base["seconds"])
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 2 + len(rows)
    assert result["machine"]["torch"] in printed


def test_a_graph_of_a_hundred_triples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["graph", "100"])
    graph.main()
    out = capsys.readouterr().out
    assert out.startswith("100 triples, ")
    steps = [line.split("|")[1].strip() for line in out.splitlines() if "|" in line]
    assert steps[2:] == ["add", "add the same again", "make the index", "ask"]
