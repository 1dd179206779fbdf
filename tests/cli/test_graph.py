"""``rukh graph``: from posts or triples to a graph, questions and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers_graph import married, triple
from rukh.data.triples import ParquetTriples, TripleLines

Run = Callable[..., Any]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    some = [
        triple("Ann Lee", "born in", "Rome", "1", 0.8, time="2026-11-01", schema_id="general@1"),
        triple("Dr. Ann Lee", "born in", "Oslo", "2", 0.5, schema_id="general@1"),
        married("Ann Lee", "Bo Marsh", "2"),
        triple("Ann Lee", None, "Lima", "3"),
    ]
    path = tmp_path / "triples.jsonl"
    path.write_text("".join(line + "\n" for line in TripleLines(path)(some)))
    return path


@pytest.fixture
def store(rukh: Run, rows: Path, tmp_path: Path) -> Path:
    assert rukh("graph", "add", rows, "--store", tmp_path / "kg").code == 0
    return tmp_path / "kg"


def test_add_says_what_is_new(rukh: Run, rows: Path, store: Path) -> None:
    again = rukh("graph", "add", rows, rows, "--store", store)
    assert again.code == 0
    assert again.err.startswith("0 triples added, 6 known, 2 without a relation; 4 entities")


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl.gz"])
def test_add_reads_what_extract_writes(
    rukh: Run, rows: Path, store: Path, tmp_path: Path, ending: str
) -> None:
    import gzip

    from rukh.data.triples import read_triples

    some, out = list(read_triples(rows)), tmp_path / f"other.{ending}"
    if ending == "parquet":
        with out.open("wb") as stream:
            table = ParquetTriples(stream)
            table.write(some)
            table.close()
    elif ending == "jsonl.gz":
        out.write_bytes(gzip.compress(rows.read_bytes()))
    else:
        lines = TripleLines(out)
        out.write_text("\n".join([str(lines.header), *lines(some)]))
    assert list(read_triples(out)) == some
    assert "0 triples added, 3 known" in rukh("graph", "add", out, "--store", store).err


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("bad.csv", b"post_id,head\n1,\xff\n", ":2: not UTF-8"),
        ("bad.parquet", b"no table", ": not readable Parquet"),
    ],
)
def test_damaged_tables_are_refused(
    rukh: Run, store: Path, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    bad = tmp_path / name
    bad.write_bytes(data)
    done = rukh("graph", "add", bad, "--store", store)
    assert done.code == 2 and f"{bad}{message}" in done.err


def test_add_reads_standard_input(
    rukh: Run, rows: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.read_bytes())))
    assert "0 triples added, 3 known" in rukh("graph", "add", "-", "--store", store).err


def test_a_wrong_time_has_its_line(rukh: Run, rows: Path, store: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(rows.read_text().replace("2026-11-01", "yesterday"))
    done = rukh("graph", "add", bad, "--store", store)
    assert done.code == 2 and f"{bad}:1: time: must be a date or time" in done.err


def test_questions(rukh: Run, store: Path, tmp_path: Path) -> None:
    query = 'SELECT ?place { ?a rdfs:label "Ann Lee" ; rel:born_in/rdfs:label ?place } ORDER BY 1'
    query = query.replace("ORDER BY 1", "ORDER BY ?place")
    assert rukh("graph", "query", "--store", store, query).out.split() == ["place", "Oslo", "Rome"]
    assert rukh("graph", "query", "--store", store, query, "--format", "csv").out == (
        "place\r\nOslo\r\nRome\r\n"
    )
    file = tmp_path / "question.rq"
    file.write_text(query)
    assert "Rome" in rukh("graph", "query", "--store", store, f"@{file}").out
    lines = rukh("graph", "neighbors", "--store", store, "ann lee", "--relation", "born in").out
    assert lines.splitlines()[0].split() == [
        "head", "relation", "tail", "probability", "posts", "first", "last", "conflict"
    ]  # fmt: skip
    assert "Rome" in lines and "several tails" in lines and "married" not in lines
    found = json.loads(rukh("graph", "conflicts", "--store", store, "--json", "-").out)
    assert {edge["tail"]["label"] for edge in found} == {"Rome", "Oslo"}
    stats = json.loads(rukh("graph", "stats", "--store", store, "--json", "-").out)
    assert stats["edges"] == 3 and stats["relations"] == {"born in": 2, "married to": 1}
    why = rukh("graph", "why", "--store", store, "Ann Lee", "Dr. Ann Lee").out
    assert why.startswith("one entity: ")


def test_rules_and_removal(rukh: Run, store: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("different: [[Ann Lee, Dr. Ann Lee]]")
    done = rukh("graph", "resolve", "--store", store, "--rules", rules)
    assert "5 names are 5 entities" in done.err
    rules.write_text("same: []")
    done = rukh("graph", "resolve", "--store", store, "--rules", rules)
    assert "5 names are 4 entities" in done.err
    assert "2 triples removed" in rukh("graph", "remove", "--store", store, "--post", "2").err
    done = rukh("graph", "remove", "--store", store, "--post", "2")
    assert done.code == 2 and "not in the graph" in done.err


@pytest.mark.parametrize(
    "name", ["kg.ttl", "kg.nq", "kg.graphml", "kg.cypher", "kg.jsonl", "neo4j"]
)
def test_exports(rukh: Run, store: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    done = rukh("graph", "export", "--store", store, "--out", out, "--min-probability", 0.6)
    assert done.code == 0 and done.err.startswith("2 edges written to")
    text = (out / "edges.csv" if out.is_dir() else out).read_text()
    assert "Oslo" not in text and "oslo" not in text


def test_wrong_input(rukh: Run, store: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"post_id": "1"}\n')
    done = rukh("graph", "add", bad, "--store", tmp_path / "new")
    assert done.code == 2
    assert f"{bad}:1: head: a value is needed" in done.err
    done = rukh("graph", "build", bad, "--store", tmp_path / "new", "--export", tmp_path / "x.xyz")
    assert done.code == 2 and "no format ends in '.xyz'" in done.err
    done = rukh("graph", "neighbors", "--store", store, "Ann Lee", "--relation", "bron in")
    assert done.code == 2 and "did you mean 'born in'" in done.err
    for command in ("stats", "conflicts"):
        done = rukh("graph", command, "--store", tmp_path / "nothing")
        assert done.code == 2 and "make one with `rukh graph add`" in done.err
    done = rukh("graph", "neighbors", "--store", store, "Ann Le")
    assert done.code == 2 and "did you mean 'Ann Lee'" in done.err
    done = rukh("graph", "query", "--store", store, "SELECT")
    assert done.code == 2 and "not a SPARQL query" in done.err
    done = rukh("graph", "query", "--store", store, "@nothing.rq")
    assert done.code == 2 and "nothing.rq" in done.err


def test_from_posts_to_a_graph_with_files_and_a_report(rukh: Run, tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    texts = ["Ann Lee was born in Rome.", "Dr. Ann Lee married Bo Marsh.", "</script><b>Nobody"]
    lines = [
        json.dumps({"id": str(k), "text": text, "time": "2026-11-01"})
        for k, text in enumerate(texts)
    ]
    posts.write_text("\n".join(lines))
    done = rukh(
        "graph", "build", posts, "--store", tmp_path / "kg", "--export", tmp_path / "kg.ttl",
        "--report", tmp_path / "kg.html", "--explain",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "rel:born_in" in (tmp_path / "kg.ttl").read_text()
    page = (tmp_path / "kg.html").read_text()
    data = _data(page)
    assert data["counts"]["edges"] == 2
    assert {post["text"] for post in data["posts"]} == set(texts[:2])
    (born,) = [one for one in data["evidence"] if one["r"] == "born in"]
    words = {texts[0][start:end]: weight for start, end, weight in born["tokens"]}
    assert words["born"] == 1 and abs(words["was"]) < 0.2
    assert born["ranking"][0][0] == "born in"
    kinds = [point["kind"] for point in data["map"]]
    assert kinds.count("pair") == 2 and kinds.count("relation") > 50
    done = rukh("graph", "report", "--store", tmp_path / "kg", "--out", tmp_path / "two.html")
    assert done.code == 0
    other = _data((tmp_path / "two.html").read_text())
    assert other["posts"] == [] and other["counts"] == data["counts"]
    # Without the posts, the words that carried the decision are still there.
    assert all(one["tokens"] for one in other["evidence"])


def _data(page: str) -> dict[str, Any]:
    before, _, rest = page.partition('id="data">')
    assert before
    text, _, _ = rest.partition("</script>")
    data: dict[str, Any] = json.loads(text)
    return data
