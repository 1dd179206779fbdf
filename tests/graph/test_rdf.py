from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers_graph import SCHEMA, married, triple, triples
from rukh.errors import InputError
from rukh.graph.rdf import RdfIndex, graph_lines, result_table, result_text
from rukh.graph.store import KnowledgeGraph
from rukh.records import Triple
from rukh.schema.schema import RelationSchema
from rukh.utils.files import lock_folder

SHARED = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[KnowledgeGraph]:
    with KnowledgeGraph(tmp_path / "kg") as graph:
        some = [
            triple("Ann Lee", "born in", "Rome", "1", 0.8, time="2026-11-01T08:00:00Z"),
            triple("Dr. Ann Lee", "born in", "Rome", "p 2", 0.5, description='It says "born".'),
            married("Ann Lee", "Bo Marsh", "p 2"),
            triple("Bo Marsh", "born in", "New York", "3", 0.9),
        ]
        graph.add(some, schema=SCHEMA)
        yield graph


def rows(graph: KnowledgeGraph, query: str) -> list[list[str | None]]:
    index = RdfIndex(graph)
    return result_table(index.query(query))[1]


def test_questions_over_two_edges(graph: KnowledgeGraph) -> None:
    query = """
        SELECT ?person ?place {
          ?a rdfs:label "Ann Lee" ; rel:married_to ?b . ?b rdfs:label ?person ;
          rel:born_in/rdfs:label ?place
        }"""
    assert rows(graph, query) == [["Bo Marsh", "New York"]]


def test_an_edge_is_a_named_graph_with_its_support(graph: KnowledgeGraph) -> None:
    query = """
        SELECT ?p ?posts ?post ?text ?start ?end ?seen ?said {
          GRAPH ?edge { entity:PER:ann_lee rel:born_in entity:LOC:rome }
          ?edge rukh:probability ?p ; rukh:posts ?posts ; rukh:firstSeen ?seen .
          ?evidence rukh:edge ?edge ; prov:wasDerivedFrom/rdfs:label ?post ;
            rukh:headText ?text ; rukh:headStart ?start ; rukh:headEnd ?end .
          OPTIONAL { ?evidence rukh:description ?said }
        } ORDER BY ?post"""
    seen = "2026-11-01T08:00:00Z"
    assert rows(graph, query) == [
        ["0.9", "2", "1", "Ann Lee", "0", "7", seen, None],
        ["0.9", "2", "p 2", "Dr. Ann Lee", "0", "11", seen, 'It says "born".'],
    ]
    query = "SELECT ?p { rel:born_in owl:equivalentProperty ?p }"
    assert rows(graph, query) == [["wdt:P19"]]


def test_results_in_each_form(graph: KnowledgeGraph) -> None:
    index = RdfIndex(graph)
    query = "SELECT ?name { entity:LOC:rome rdfs:label ?name }"
    assert result_text(index.query(query), "csv") == "name\r\nRome\r\n"
    assert result_text(index.query(query), "tsv") == '?name\n"Rome"\n'
    assert '"value":"Rome"' in result_text(index.query(query), "json")
    ask = "ASK { entity:LOC:rome a type:LOC }"
    assert result_table(index.query(ask)) == (["answer"], [["true"]])
    assert result_text(index.query(ask), "csv") == "true\n"
    construct = "CONSTRUCT { ?a rel:from ?b } WHERE { ?a rel:married_to/rel:born_in ?b }"
    assert result_table(index.query(construct))[1] == [
        ["entity:PER:ann_lee", "rel:from", "entity:LOC:new_york"]
    ]
    assert result_text(index.query(construct), "csv").endswith("<urn:rukh:entity:LOC:new_york> .\n")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(triples(), max_size=6), max_size=3), st.sampled_from(["1", "2", None]))
def test_the_index_follows_the_graph(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[Triple]], removed: str | None
) -> None:
    with KnowledgeGraph(tmp_path_factory.mktemp("kg")) as graph:
        for part in parts:
            graph.add(part, schema=SCHEMA)
            RdfIndex(graph)
        if removed in {one.post_id for part in parts for one in part}:
            graph.remove([str(removed)])
        found = {
            tuple(str(term) for term in quad)
            for quad in RdfIndex(graph)._store
            if "vocabulary:change" not in str(quad)
        }
        import pyoxigraph

        data = "\n".join(graph_lines(graph)).encode()
        wanted = pyoxigraph.parse(data, format=pyoxigraph.RdfFormat.N_QUADS)
        assert found == {tuple(str(term) for term in quad) for quad in wanted}


def test_the_index_can_be_deleted_and_shared(graph: KnowledgeGraph) -> None:
    import shutil

    query = "SELECT (count(*) AS ?n) { ?a rel:born_in ?b }"
    assert rows(graph, query) == [["2"]]
    one, two = RdfIndex(graph), RdfIndex(graph)  # both read
    assert result_table(one.query(query)) == result_table(two.query(query))
    del one, two
    shutil.rmtree(graph.folder / "rdf")
    assert rows(graph, query) == [["2"]]


def test_a_damaged_index_is_made_again(
    graph: KnowledgeGraph, caplog: pytest.LogCaptureFixture
) -> None:
    count = "SELECT (count(*) AS ?n) { ?a rel:born_in ?b }"
    graph.add([triple("Al Hill", "born in", "Rome", "9")])
    assert rows(graph, count) == [["3"]]
    for file in (graph.folder / "rdf").glob("*.sst"):
        file.write_bytes(b"broken")
    for file in (graph.folder / "rdf").glob("MANIFEST*"):
        file.write_bytes(b"broken")
    assert rows(graph, count) == [["3"]]
    assert "damaged and will be made again" in caplog.text


def test_posts_with_similar_ids_and_runs_of_two_schemas_stay_apart(tmp_path: Path) -> None:
    with KnowledgeGraph(tmp_path / "kg") as graph:
        some = [triple("Ann Lee", "born in", "Rome", post) for post in ("a b", "a_b")]
        other = some[0].model_copy(update={"schema_id": "other@1", "score": 0.5})
        graph.add([*some, other], schema=SCHEMA)
        query = """SELECT ?post ?p { ?e prov:wasDerivedFrom/rdfs:label ?post ; rukh:probability ?p }
            ORDER BY ?post ?p"""
        assert rows(graph, query) == [["a b", "0.5"], ["a b", "0.9"], ["a_b", "0.9"]]
        graph.remove(["a b"])
        assert rows(graph, query) == [["a_b", "0.9"]]


def test_a_restored_graph_with_another_past_gets_its_own_index(tmp_path: Path) -> None:
    import shutil

    query = "SELECT ?name { ?a rel:born_in ?b ; rdfs:label ?name } ORDER BY ?name"

    def add(name: str, post: str) -> list[list[str | None]]:
        with KnowledgeGraph(tmp_path / "kg") as graph:
            graph.add([triple(name, "born in", "Rome", post)], schema=SCHEMA)
            return rows(graph, query)

    add("Ann Lee", "1")
    shutil.copy(tmp_path / "kg" / "graph.sqlite", tmp_path / "copy")
    assert add("Bo Marsh", "2") == [["Ann Lee"], ["Bo Marsh"]]
    shutil.copy(tmp_path / "copy", tmp_path / "kg" / "graph.sqlite")
    assert add("Cy Dale", "3") == [["Ann Lee"], ["Cy Dale"]]
    assert add("Di Hill", "4") == [["Ann Lee"], ["Cy Dale"], ["Di Hill"]]


def test_an_index_that_is_a_file_is_replaced(graph: KnowledgeGraph) -> None:
    (graph.folder / "rdf").write_text("x")
    assert rows(graph, "SELECT (count(*) AS ?n) { ?a rel:born_in ?b }") == [["2"]]


def test_a_replaced_schema_replaces_what_is_said_about_relations(tmp_path: Path) -> None:
    def schema(*names: str, id: str) -> RelationSchema:
        relations = [{"name": name, "descriptions": f"{name}, {id}"} for name in names]
        relations[0]["id"] = id
        return RelationSchema.parse({"name": "mine", "relations": relations})

    query = "SELECT ?p { ?r owl:equivalentProperty ?p } ORDER BY ?p"
    with KnowledgeGraph(tmp_path / "kg") as graph:
        graph.add([triple("Ann Lee", "born in", "Rome")], schema=schema("born in", "old", id="P19"))
        assert rows(graph, query) == [["wdt:P19"]]
        graph.resolve(schema=schema("born in", id="P20"))
        assert rows(graph, query) == [["wdt:P20"]]
        assert rows(graph, "SELECT ?r { ?r a owl:ObjectProperty }") == [["rel:born_in"]]


def test_an_index_that_another_process_updates(graph: KnowledgeGraph) -> None:
    with (
        lock_folder(graph.folder),
        pytest.raises(InputError, match="another process is using this folder"),
    ):
        RdfIndex(graph)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * { SERVICE <URL> { ?a ?b ?c } }",
        "SELECT * { ?a ?b 1SERVICE <URL> { ?a ?b ?c } }",
        "PREFIX s: <URL> SELECT * { service s:x { ?a ?b ?c } }",
        "SELECT * { ?a ?b true.SERVICE SILENT <URL> { ?a ?b ?c } } # '",
        'SELECT * { ?a ?b "x\\"" . SERVICE <URL> { ?a ?b ?c } }',
        "SELECT * { \\u0053ERVICE <URL> { ?a ?b ?c } }",
        "SELECT * { ?a ?b '''x''' . SERVICE <URL> { ?a ?b ?c } }",
        "PREFIX x: <urn:a> SELECT * { ?a ?b x:.SERVICE <URL> { ?x ?y ?z } }",
        "SELECT * { # c\rSERVICE <URL> { ?a ?b ?c } }",
        "SELECT ?service { ?service ?b ?c }",
        "SELECT * { FILTER(<a:b> != rel:x\\#) SERVICE <URL> { ?x ?y ?z} }",
        "SELECT * { FILTER(1<2#>'''\n) SERVICE <URL> { ?x ?y ?z } #'''\n }",
        "SELECT * { ?a rdfs:label 'service' }",
    ],
)
def test_no_query_reaches_another_server(graph: KnowledgeGraph, query: str) -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

        do_POST = do_GET

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(InputError, match=r"SERVICE|escaped"):
            RdfIndex(graph).query(query.replace("URL", f"http://127.0.0.1:{server.server_port}/"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == []


def test_wrong_queries(graph: KnowledgeGraph) -> None:
    index = RdfIndex(graph)
    with pytest.raises(InputError, match="not a SPARQL query"):
        index.query("SELEC ?x")
    with pytest.raises(InputError, match="not a SPARQL query"):
        index.query("DELETE WHERE { ?a ?b ?c }")
