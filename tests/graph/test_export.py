"""Each format is loaded by the tool that reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers_graph import SCHEMA, married, triple
from rukh.errors import InputError
from rukh.graph.export import export, to_networkx
from rukh.graph.iris import PREFIXES
from rukh.graph.store import KnowledgeGraph
from rukh.records import Triple

TRICKY = 'Ann "A;" Lee\\ \u00e9\u4e2d, \n<b>'


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[KnowledgeGraph]:
    with KnowledgeGraph(tmp_path / "kg") as graph:
        box = {"id": "o1", "box": [0.1, 0.2, 0.3, 0.4], "type": "person"}
        ann = triple("Ann Lee", "born in", "Rome", "1", 0.8, time="2026-11-01")
        graph.add(
            [
                ann,
                triple("Dr. Ann Lee", "born in", "Rome", "2", 0.5),
                triple("Ann Lee", "born in", "Oslo", "3", 0.6),
                married("Ann Lee", TRICKY, "2"),
                Triple(post_id="1", head=ann.head, tail=box, relation="sees", score=0.9),
            ],
            schema=SCHEMA,
        )
        yield graph


RDFLIB = {".ttl": "turtle", ".nt": "nt", ".nq": "nquads", ".trig": "trig", ".jsonld": "json-ld"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib's own code
@pytest.mark.parametrize("ending", RDFLIB)
def test_rdf_in_rdflib(graph: KnowledgeGraph, tmp_path: Path, ending: str) -> None:
    import rdflib

    out = tmp_path / f"graph{ending}"
    assert export(graph, out) == 4
    data = rdflib.Dataset(default_union=True)
    data.parse(out, format=RDFLIB[ending])
    prefixes = "\n".join(f"PREFIX {name}: <{start}>" for name, start in PREFIXES.items())
    query = f"""{prefixes}
        SELECT ?place ?p {{
          ?a rdfs:label "Ann Lee" ; rel:born_in ?b . ?b rdfs:label ?place .
          {{ GRAPH ?e {{ ?a rel:born_in ?b }} }} UNION {{ ?e rdf:subject ?a ; rdf:object ?b }}
          ?e rukh:probability ?p
        }} ORDER BY ?place"""
    found = {(str(row[0]), float(row[1])) for row in data.query(query)}  # type: ignore[index, arg-type]
    assert found == {("Oslo", 0.6), ("Rome", 0.9)}
    labels = {str(one) for one in data.objects(None, rdflib.RDFS.label)}
    assert TRICKY in labels


def test_rdf_12_in_oxigraph(graph: KnowledgeGraph, tmp_path: Path) -> None:
    import pyoxigraph

    out = tmp_path / "graph.ttl"
    export(graph, out, rdf12=True, relation="born in")
    store = pyoxigraph.Store()
    store.load(path=str(out), format=pyoxigraph.RdfFormat.TURTLE)
    query = """
        SELECT ?name ?p { ?e rdf:reifies <<( ?a rel:born_in ?b )>> ; rukh:probability ?p .
          ?b rdfs:label ?name } ORDER BY ?name"""
    found = [(s["name"].value, s["p"].value) for s in store.query(query, prefixes=PREFIXES)]  # type: ignore[union-attr]
    assert found == [("Oslo", "0.6"), ("Rome", "0.9")]


def test_graphml_and_networkx(graph: KnowledgeGraph, tmp_path: Path) -> None:
    import networkx

    out = tmp_path / "graph.graphml"
    export(graph, out)
    read, made = networkx.read_graphml(out, force_multigraph=True), to_networkx(graph)
    assert (read.adj, read.nodes) == (made.adj, made.nodes)
    ann, rome = "urn:rukh:entity:PER:ann_lee", "urn:rukh:entity:LOC:rome"
    assert read.nodes[ann] == {"label": "Ann Lee", "type": "PER", "aliases": "Dr. Ann Lee"}
    (edge,) = read.get_edge_data(ann, rome).values()
    assert edge == {
        "relation": "born in", "posts": 2, "mentions": 2, "probability": 0.9,
        "best_probability": 0.8, "first_seen": "2026-11-01", "last_seen": "2026-11-01",
        "conflict": "several tails",
    }  # fmt: skip


def test_graphml_without_what_xml_cannot_hold(tmp_path: Path) -> None:
    import networkx

    out = tmp_path / "graph.graphml"
    with KnowledgeGraph(tmp_path / "kg") as graph:
        graph.add([triple("x\x0by", "born in", "N\x00ul \ufffe")])
        export(graph, out)
    labels = {node["label"] for _, node in networkx.read_graphml(out).nodes(data=True)}
    assert labels == {"x\ufffdy", "N\ufffdul \ufffd"}


@pytest.mark.parametrize("parquet", [False, True])
def test_files_for_neo4j_in_duckdb(graph: KnowledgeGraph, tmp_path: Path, parquet: bool) -> None:
    import duckdb

    out = tmp_path / "neo4j"
    export(graph, out, parquet=parquet)
    ending = "parquet" if parquet else "csv"
    assert sorted(path.name for path in out.iterdir()) == [f"edges.{ending}", f"entities.{ending}"]
    query = f"""
        SELECT h.label, e.":TYPE", t.label, e."probability:double" FROM '{out}/edges.{ending}' e
        JOIN '{out}/entities.{ending}' h ON h."iri:ID" = e.":START_ID"
        JOIN '{out}/entities.{ending}' t ON t."iri:ID" = e.":END_ID" ORDER BY 2, 3"""
    found = duckdb.sql(query).fetchall()
    assert found == [
        ("Ann Lee", "BORN_IN", "Oslo", 0.6),
        ("Ann Lee", "BORN_IN", "Rome", 0.9),
        (TRICKY, "MARRIED_TO", "Ann Lee", 0.9),
        ("Ann Lee", "SEES", "person", 0.9),
    ]
    with pytest.raises(InputError, match="is not an empty folder"):
        export(graph, out)


def test_parquet_in_pyarrow(graph: KnowledgeGraph, tmp_path: Path) -> None:
    from pyarrow import parquet

    export(graph, tmp_path / "neo4j", parquet=True)
    table = parquet.read_table(tmp_path / "neo4j" / "entities.parquet").to_pylist()
    (ann,) = [row for row in table if row["label"] == "Ann Lee"]
    assert ann["aliases:string[]"] == ["Dr. Ann Lee"]
    assert ann["type"] == "PER"


def test_cypher_in_an_engine(graph: KnowledgeGraph, tmp_path: Path) -> None:
    apsw, graphqlite = pytest.importorskip("apsw"), pytest.importorskip("graphqlite")
    out = tmp_path / "graph.cypher"
    export(graph, out)
    statements = out.read_text(encoding="utf-8").splitlines()
    database = apsw.Connection(":memory:")
    database.enable_load_extension(True)
    database.load_extension(str(graphqlite.loadable_path()))

    def run(statement: str) -> Any:
        ((text,),) = database.execute("SELECT cypher(?)", (statement.removesuffix(";"),))
        return json.loads(text)

    for _ in range(2):  # the second time changes nothing
        for statement in statements:
            run(statement)
        found = run("MATCH (h)-[r]->(t) RETURN h.label AS h, type(r) AS r, t.label AS t,"
                    " r.probability AS p ORDER BY r, t")  # fmt: skip
        assert [tuple(row.values()) for row in found] == [
            ("Ann Lee", "BORN_IN", "Oslo", 0.6),
            ("Ann Lee", "BORN_IN", "Rome", 0.9),
            (TRICKY, "MARRIED_TO", "Ann Lee", 0.9),
            ("Ann Lee", "SEES", "person", 0.9),
        ]
    (count,) = run("MATCH (e:Entity) RETURN count(e) AS n")
    assert count["n"] == graph.counts()["entities"]


def test_gliner_rows(graph: KnowledgeGraph, tmp_path: Path) -> None:
    out = tmp_path / "graph.jsonl"
    export(graph, out, relation="born in", min_probability=0.7)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {
        "head": {"start": 0, "end": 7, "text": "Ann Lee", "type": "PER"},
        "tail": {"start": 50, "end": 54, "text": "Rome", "type": "LOC"},
        "relation": "born in",
        "score": 0.8,
        "post_id": "1",
    }
    assert [row["post_id"] for row in rows] == ["1", "2"]


def test_wrong_outputs(graph: KnowledgeGraph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no format ends in '.xyz'; known: .ttl"):
        export(graph, tmp_path / "graph.xyz")
    with pytest.raises(InputError, match="Parquet files are written to a folder"):
        export(graph, tmp_path / "graph.ttl", parquet=True)
    with pytest.raises(InputError, match="only RDF has rdf:reifies"):
        export(graph, tmp_path / "graph.graphml", rdf12=True)
    with pytest.raises(InputError, match="JSON-LD has no"):
        export(graph, tmp_path / "graph.jsonld", rdf12=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kg"]
