from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers_graph import SCHEMA, married, triple, triples
from rukh.errors import InputError
from rukh.graph.names import broad_type, compatible
from rukh.graph.rdf import graph_lines
from rukh.graph.resolution import MergeRules
from rukh.graph.store import KnowledgeGraph
from rukh.records import ObjectMention, Triple

Edges = set[tuple[str, str, str]]

SHARED = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Callable[[], KnowledgeGraph]]:
    """Makes empty graphs, which are closed at the end."""
    made: list[KnowledgeGraph] = []

    def make() -> KnowledgeGraph:
        made.append(KnowledgeGraph(tmp_path / f"kg{len(made)}"))
        return made[-1]

    yield make
    for graph in made:
        graph.close()


@pytest.fixture
def graph(new: Callable[[], KnowledgeGraph]) -> KnowledgeGraph:
    return new()


def edges(graph: KnowledgeGraph) -> Edges:
    return {(edge.head.label, edge.relation, edge.tail.label) for edge in graph.edges()}


def content(graph: KnowledgeGraph) -> list[str]:
    return sorted(graph_lines(graph))


def test_edges_keep_their_support(graph: KnowledgeGraph) -> None:
    graph.add(
        [
            triple("Ann Lee", "born in", "Rome", "1", 0.5, time="2026-11-02T09:00:00+02:00"),
            triple("Dr. Ann Lee", "born in", "#rome", "2", 0.8, time="2026-11-01"),
            triple("Ann Lee", "born in", "Rome", "3", 0.4),
            triple("Ann Lee", None, "Paris", "3", 0.4),
        ],
        schema=SCHEMA,
    )
    (edge,) = graph.edges()
    assert (edge.head.label, edge.relation, edge.tail.label) == ("Ann Lee", "born in", "Rome")
    assert edge.head.aliases == ("Dr. Ann Lee",)
    assert (edge.posts, edge.mentions, edge.best) == (3, 3, 0.8)
    assert edge.combined == pytest.approx(1 - 0.5 * 0.2 * 0.6)
    assert (edge.first, edge.last) == ("2026-11-01", "2026-11-02T07:00:00Z")
    assert [one.score for one in graph.evidence(edge.iri)] == [0.5, 0.8, 0.4]
    assert graph.counts()["posts"] == 3


def test_two_statements_of_one_post_count_once_in_the_probability(graph: KnowledgeGraph) -> None:
    again = triple("Ann Lee", "born in", "Rome").model_dump()
    again["head"] |= {"start": 100, "end": 107}
    graph.add([triple("Ann Lee", "born in", "Rome"), Triple(**again)])
    (edge,) = graph.edges()
    assert (edge.posts, edge.mentions, edge.combined) == (1, 2, 0.9)


def test_evidence_is_what_was_added(graph: KnowledgeGraph) -> None:
    box = {"id": "o1", "box": [0.1, 0.2, 0.3, 0.4], "type": "person", "label": "a man"}
    first = triple(
        "Ann Lee", "born in", "Rome", description="The head.", model_id="m@1", schema_id="s@2",
        time="2026-11-01",
    )  # fmt: skip
    second = Triple(post_id="1", head=first.head, tail=box, relation="sees", score=0.75)
    graph.add([first, second])
    one, two = sorted(graph.evidence(), key=lambda found: found.relation or "")
    assert one.model_dump(exclude={"head", "tail"}) == first.model_dump(exclude={"head", "tail"})
    assert (one.head.surface, one.head.start, one.head.type) == ("Ann Lee", 0, "PER")  # type: ignore[union-attr]
    assert isinstance(two.tail, ObjectMention)
    assert two.tail == second.tail


def test_adding_twice_changes_nothing(graph: KnowledgeGraph) -> None:
    some = [triple("Ann Lee", "born in", "Rome"), married("Ann Lee", "Bo Marsh")]
    assert graph.add(some, schema=SCHEMA) == (2, 0, 0)
    before, change = content(graph), graph.change
    assert graph.add(some) == (0, 2, 0)
    less = triple("Ann Lee", "born in", "Rome", score=0.1)
    assert graph.add([less, triple("Ann Lee", "none", "Rome")]) == (0, 1, 1)
    assert content(graph) == before
    assert graph.change == change
    assert graph.add([triple("Ann Lee", "born in", "Rome", score=0.95)]) == (1, 0, 0)
    assert {edge.best for edge in graph.edges(relation="born in")} == {0.95}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(triples(), max_size=12), st.randoms(), st.integers(1, 3))
def test_the_graph_is_a_function_of_its_triples(
    new: Callable[[], KnowledgeGraph], some: list[Triple], random: object, parts: int
) -> None:
    whole, split = new(), new()
    whole.add(some, schema=SCHEMA)
    shuffled = [*some, *some]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for k in range(parts):
        split.add(shuffled[k::parts], schema=SCHEMA)
    assert content(whole) == content(split)
    _check(whole)
    for post in {one.post_id for one in some} - {"1"}:
        whole.remove([post])
    rest = new()
    rest.add([one for one in some if one.post_id == "1"], schema=SCHEMA)
    assert content(whole) == content(rest)


def _check(graph: KnowledgeGraph) -> None:
    """No edge is there twice, none is within an entity, and contradictions are marked."""
    every = list(graph.edges())
    keys = {(edge.head.iri, edge.relation, edge.tail.iri) for edge in every}
    assert len(keys) == len(every)
    places: dict[str, set[str]] = {}
    for edge in every:
        assert edge.head.iri != edge.tail.iri
        assert edge.relation != "child of"
        swapped = (edge.tail.iri, edge.relation, edge.head.iri) in keys
        if SCHEMA.has_label(edge.relation) and SCHEMA.relation(edge.relation).symmetric:
            assert not swapped
        if edge.relation == "parent of":
            assert (edge.conflict == "both directions") == swapped
        if edge.relation == "born in":
            places.setdefault(edge.head.iri, set()).add(edge.tail.iri)
        assert list(graph.evidence(edge.iri))
    for edge in every:
        if edge.relation == "born in":
            assert (edge.conflict == "several tails") == (len(places[edge.head.iri]) > 1)
    for entity in graph.entities():
        kinds = {broad_type(one) for one in _types(graph, entity.iri)}
        assert all(compatible(a, b) for a in kinds for b in kinds)


def _types(graph: KnowledgeGraph, iri: str) -> Sequence[str]:
    query = "SELECT n.type FROM names n JOIN entities e ON e.id = n.entity WHERE e.iri = ?"
    return [type_ for (type_,) in graph._rows(query, [iri])]


def test_symmetric_and_inverse_relations_are_one_edge(graph: KnowledgeGraph) -> None:
    graph.add(
        [
            married("Ann Lee", "Bo Marsh"),
            married("Bo Marsh", "Ann Lee", "2"),
            triple("Ann Lee", "parent of", "Cy Lee", types=("PER", "PER")),
            triple("Cy Lee", "child of", "Ann Lee", "2", types=("PER", "PER")),
        ],
        schema=SCHEMA,
    )
    assert edges(graph) == {
        ("Ann Lee", "married to", "Bo Marsh"), ("Ann Lee", "parent of", "Cy Lee")
    }  # fmt: skip
    assert {edge.posts for edge in graph.edges()} == {2}


def test_aliases_merge_entities_unless_types_forbid(graph: KnowledgeGraph) -> None:
    graph.add(
        [
            triple("Ann Lee", "also known as", "The Hawk", types=("PER", "PER")),
            triple("Bo Marsh", "also known as", "Kit", "2", 0.6, ("PER", "PER")),
            triple("Cy Lee", "also known as", "Hill", "3", types=("PER", "LOC")),
            triple("The Hawk", "born in", "Rome", "4"),
        ],
        schema=SCHEMA,
    )
    found = edges(graph)
    assert ("Ann Lee", "born in", "Rome") in found or ("The Hawk", "born in", "Rome") in found
    assert len(graph.find("Ann Lee")[0].aliases) == 1
    assert not graph.find("Kit")[0].aliases  # not probable enough
    assert graph.counts()["triples within one entity"] == 1
    assert {edge.relation for edge in graph.edges()} == {"born in", "also known as"}


def test_short_names_count_for_the_person_of_their_post(graph: KnowledgeGraph) -> None:
    graph.add(
        [
            triple("Ann Lee", "born in", "Rome", "1"),
            triple("Lee", "visited", "Oslo", "1"),
            triple("Bo Lee", "born in", "Lima", "2"),
            triple("Lee", "visited", "Oslo", "2"),
            triple("Lee", "visited", "Oslo", "3"),
        ]
    )
    assert edges(graph) >= {
        ("Ann Lee", "visited", "Oslo"), ("Bo Lee", "visited", "Oslo"), ("Lee", "visited", "Oslo")
    }  # fmt: skip
    (why,) = graph.why("Lee", "Ann Lee")
    assert why.startswith("two entities") and "in the posts '1'" in why


def test_titles_and_pronouns_are_nobody_in_particular(graph: KnowledgeGraph) -> None:
    some = [triple("Dr.", "born in", "Rome", post) for post in ("1", "2")]
    graph.add(
        [*some, triple("AnnLee", "born in", "Rome", "3"), triple("Ann Lee", "visited", "Rome")]
    )
    assert len(list(graph.edges(relation="born in"))) == 3
    assert [entity.label for entity in graph.find("Ann Lee")] == ["Ann Lee"]
    assert next(graph.evidence()).head.surface in ("Dr.", "AnnLee", "Ann Lee")
    assert graph.counts()["entities"] == 4


def test_why_names_the_rule(graph: KnowledgeGraph) -> None:
    graph.add([triple("Ann Lee", "born in", "Jordan"), triple("A. Lee", "born in", "Rome", "2"),
               triple("Jordan", "visited", "Oslo", "3")])  # fmt: skip
    assert graph.why("A. Lee", "Ann Lee") == [
        "one entity: 'A. Lee' (PER) is 'Ann Lee' (PER): a person's name with initials; nobody "
        "else here fits"
    ]
    assert graph.why("Jordan", "Jordan")[0].endswith("cannot be one")
    assert graph.why("Rome", "Oslo")[0].endswith("no rule says that they are one")
    graph.resolve(
        MergeRules.model_validate({"different": [[{"name": "A. Lee"}, {"name": "Ann Lee"}]]})
    )
    assert graph.why("A. Lee", "Ann Lee")[0].endswith("a person's rule keeps them apart")
    graph.resolve(MergeRules())
    assert graph.why("A. Lee", "Ann Lee")[0].startswith("one entity")
    with pytest.raises(InputError, match="no name 'Ann Le'.*did you mean 'Ann Lee'"):
        graph.why("Ann Le", "Rome")


def test_filters(graph: KnowledgeGraph) -> None:
    graph.add(
        [
            triple("Ann Lee", "born in", "Rome", "1", 0.5, time="2026-11-01"),
            triple("Bo Marsh", "visited", "Oslo", "2", 0.9, time="2026-11-20T10:00:00Z"),
            triple("Bo Marsh", "visited", "Lima", "3", 0.9),
        ]
    )

    def tails(**filters: object) -> set[str]:
        return {edge.tail.label for edge in graph.edges(**filters)}  # type: ignore[arg-type]

    assert tails(relation="visited") == {"Oslo", "Lima"}
    assert tails(min_probability=0.6) == {"Oslo", "Lima"}
    assert tails(since="2026-11-10") == {"Oslo"}
    assert tails(until="2026-11-10") == {"Rome"}
    assert tails(since="2026-11-20", until="2026-11-20") == {"Oslo"}
    assert graph.relation_counts() == {"visited": 2, "born in": 1}


def test_find_by_any_name(graph: KnowledgeGraph) -> None:
    graph.add([triple("Dr. Ann Lee", "born in", "New York")])
    for name in ("ann lee", "@AnnLee", "Dr. Ann Lee", "urn:rukh:entity:PER:ann_lee"):
        assert [entity.label for entity in graph.find(name)] == ["Dr. Ann Lee"]
    assert graph.find("Lee") == []


def test_shipped_schemas_are_known_by_name(graph: KnowledgeGraph) -> None:
    some = married("Ann Lee", "Bo Marsh").model_copy(update={"schema_id": "general@123"})
    swapped = married("Bo Marsh", "Ann Lee", "2").model_copy(update={"schema_id": "general@123"})
    nothing = some.model_copy(update={"relation": "none"})
    assert graph.add([some, swapped, nothing]) == (2, 0, 1)
    assert len(list(graph.edges())) == 1
    assert [schema.name for schema in graph.schemas()] == ["general"]


def test_removing_an_unknown_post(graph: KnowledgeGraph) -> None:
    graph.add([triple("Ann Lee", "born in", "Rome", "post-1")])
    with pytest.raises(
        InputError, match="post 'post-2' is not in the graph; did you mean 'post-1'"
    ):
        graph.remove(["post-1", "post-2"])
    assert len(list(graph.edges())) == 1
    assert graph.remove(["post-1"]) == 1
    assert set(graph.counts().values()) == {0}


def test_a_failed_addition_changes_nothing(graph: KnowledgeGraph) -> None:
    graph.add([triple("Ann Lee", "born in", "Rome")])

    def some() -> Iterator[Triple]:
        yield triple("Bo Marsh", "born in", "Oslo")
        raise InputError("line 2 is broken")

    before = content(graph)
    with pytest.raises(InputError, match="line 2"):
        graph.add(some())
    assert content(graph) == before


def test_one_writer_at_a_time_and_readers_beside(tmp_path: Path) -> None:
    with KnowledgeGraph(tmp_path) as writer, KnowledgeGraph(tmp_path) as other:
        writer.add([triple("Ann Lee", "born in", "Rome")])
        other._connection.execute("PRAGMA busy_timeout = 1")
        reader = KnowledgeGraph(tmp_path, read_only=True)

        def slow() -> Iterator[Triple]:
            yield triple("Bo Marsh", "born in", "Oslo")
            with pytest.raises(InputError, match="locked; wait until the other process ends"):
                other.add([])
            assert len(list(reader.edges())) == 1

        writer.add(slow())
        assert len(list(reader.edges())) == 2
        with pytest.raises(InputError, match="opened to be read only"):
            reader.add([])
        reader.close()


def test_folders_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no knowledge graph in this folder; make one with"):
        KnowledgeGraph(tmp_path / "kg", read_only=True)
    with pytest.raises(InputError, match="no knowledge graph"):
        KnowledgeGraph(tmp_path / "kg", create=False)
    assert not (tmp_path / "kg").exists()
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="name a new or an empty folder"):
            KnowledgeGraph(folder)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "graph.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="no store of a graph: file is not a database"):
        KnowledgeGraph(tmp_path / "bad")
    with KnowledgeGraph(tmp_path / "old") as graph:
        graph._write("version", "0")
    with pytest.raises(InputError, match="version 0, not 1"):
        KnowledgeGraph(tmp_path / "old")


def test_a_killed_addition_changes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from helpers_graph import triple
        from rukh.graph.store import KnowledgeGraph

        def some():
            for k in range(2000):
                if k == int(sys.argv[1]):
                    print("half", flush=True)
                    sys.stdin.read()
                yield triple(f"Ann Lee{{k}}", "born in", f"Rome{{k % 7}}", str(k // 3))

        with KnowledgeGraph({str(tmp_path / "kg")!r}) as graph:
            graph.add(some())
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen([*command, "1000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"half\n"
        os.kill(run.pid, signal.SIGKILL)
    with KnowledgeGraph(tmp_path / "kg", read_only=True) as graph:
        assert list(graph.edges()) == []
    subprocess.run([*command, "-1"], check=True)
    with KnowledgeGraph(tmp_path / "kg", read_only=True) as graph:
        assert len(list(graph.edges())) == 2000
