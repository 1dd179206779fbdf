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
from rukh.records import ObjectMention, Post, Triple, to_mention
from rukh.schema.schema import RelationSchema

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


def test_both_directions_in_one_post_are_one_mention(graph: KnowledgeGraph) -> None:
    one = married("Ann Lee", "Bo Marsh")
    graph.add([one, one.model_copy(update={"head": one.tail, "tail": one.head})], schema=SCHEMA)
    (edge,) = graph.edges()
    assert (edge.posts, edge.mentions) == (1, 1)


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
    assert tails(since=None, until=None, relation=None, conflicting=False) == tails()
    with pytest.raises(TypeError, match="'probability'"):
        tails(probability=0.5)
    assert graph.num_edges(relation="visited") == 2
    assert graph.relation_counts() == {"visited": 2, "born in": 1}


def test_times_are_compared_post_by_post_and_in_utc(graph: KnowledgeGraph) -> None:
    def found(**filters: str) -> int:
        return len(list(graph.edges(**filters)))  # type: ignore[arg-type]

    graph.add(
        [
            triple("Ann Lee", "born in", "Rome", "1", time="2026-01-05"),
            triple("Ann Lee", "born in", "Rome", "2", time="2026-12-05T23:30:00Z"),
        ]
    )
    assert found(since="2026-03-01", until="2026-06-01") == 0
    assert found(since="2026-12-06T00:00:00+02:00") == found(since="2026-12-05") == 1
    assert found(since="2026-12-06T02:00:00+02:00") == 0
    assert found(until="2026-01-05T00:00:00Z") == found(since="2026-01-05T08:00:00Z") == 1
    assert found(until="2026-01-04") == 0
    with pytest.raises(InputError, match="'yesterday' is no date or time"):
        found(since="yesterday")


def test_times_at_the_ends_of_the_calendar_and_in_other_forms(graph: KnowledgeGraph) -> None:
    times = ["0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-02:00", "20260601", "2026-W23-1"]
    graph.add([triple("Ann Lee", "born in", "Rome", t, time=t) for t in times])
    assert sorted(time or "" for _, time in graph.posts())[1:3] == ["2026-06-01", "2026-06-01"]


def test_ties_are_broken_alike_and_reasons_win(new: Callable[[], KnowledgeGraph]) -> None:
    one, two = (triple("Ann Lee", "born in", "Rome", description=text) for text in "ab")
    first, second = new(), new()
    first.add([one, two])
    second.add([two, one])
    assert content(first) == content(second)
    reason = [{"text": "born", "start": 8, "end": 12, "weight": 1.0}]
    ranking = [{"relation": "born in", "score": 0.9}, {"relation": None, "score": 0.1}]
    data = one.model_dump() | {"reason": reason, "ranking": ranking}
    assert first.add([Triple(**data)]).new == 1
    (found,) = first.evidence()
    assert [word.text for word in found.reason or ()] == ["born"]
    assert [other.relation for other in found.ranking or ()] == ["born in", None]
    assert first.add([two]).new == 0


def test_a_given_schema_comes_before_shipped_ones(graph: KnowledgeGraph) -> None:
    relation = {
        "name": "lives in",
        "descriptions": "The head lives in the tail.",
        "functional": True,
    }
    own = RelationSchema.parse({"name": "zoo", "relations": [relation]})
    some = [
        triple("Ann Lee", "lives in", place, place).model_copy(update={"schema_id": "general@1"})
        for place in ("Rome", "Oslo")
    ]
    graph.add(some)
    assert not list(graph.edges(conflicting=True))
    graph.resolve(schema=own)
    assert len(list(graph.edges(conflicting=True))) == 2


def test_a_schema_that_the_graph_does_not_know(
    graph: KnowledgeGraph, caplog: pytest.LogCaptureFixture
) -> None:
    graph.add([married("Ann Lee", "Bo Marsh").model_copy(update={"schema_id": "small@1"})])
    assert "does not know schema 'small'" in caplog.text


def test_names_of_no_triple_tell_who_is_meant(graph: KnowledgeGraph) -> None:
    text = "Ann Lee came. Lee was born in Rome."
    spans = {"a": (0, 7), "l": (14, 17), "r": (30, 34)}
    types = {"a": "PER", "l": "PER", "r": "LOC"}
    entities = [{"id": k, "start": a, "end": b, "type": types[k]} for k, (a, b) in spans.items()]
    post = Post(id="1", text=text, entities=entities)
    lee, rome = (to_mention(post.argument(k), text) for k in "lr")
    born = Triple(post_id="1", head=lee, tail=rome, relation="born in", score=0.9)
    graph.add([born])
    assert edges(graph) == {("Lee", "born in", "Rome")}
    graph.add([born], posts=[post])
    assert edges(graph) == {("Ann Lee", "born in", "Rome")}
    graph.add([], posts=[post.model_copy(update={"id": "unknown"})])
    assert graph.counts()["entities"] == 2


def test_rules_that_name_nobody_or_join_what_cannot_be_one(
    graph: KnowledgeGraph, caplog: pytest.LogCaptureFixture
) -> None:
    graph.add([triple("Ann Lee", "born in", "Rome")])
    names = [["Ann Lee", "Nobody"], ["Ann Lee", "Rome"]]
    same = [[{"name": name} for name in pair] for pair in names]
    same[1][1]["type"] = "LOC"
    graph.resolve(MergeRules.model_validate({"same": same}))
    assert "no name in the graph is 'Nobody'" in caplog.text
    assert "keep some of 'Ann Lee' and 'Rome' apart" in caplog.text


def test_each_triple_has_the_nota_of_its_own_schema(new: Callable[[], KnowledgeGraph]) -> None:
    data = {"nota": "other", "relations": [{"name": "near", "descriptions": "Near."}]}
    silent = RelationSchema.parse({"name": "silent", **data})
    data = {"relations": [{"name": "other", "descriptions": "Another relation."}]}
    own = RelationSchema.parse({"name": "own", **data})
    one = triple("Ann Lee", "other", "Rome").model_copy(update={"schema_id": "own@1"})
    two = triple("Bo Marsh", "other", "Rome", "2").model_copy(update={"schema_id": "silent@1"})
    for order in ((own, silent), (silent, own)):
        graph = new()
        for schema in order:
            graph.add([], schema=schema)
        assert graph.add([one, two]) == (1, 0, 1)


def test_names_of_relations(graph: KnowledgeGraph) -> None:
    graph.add([triple("Ann Lee", "visited", "Rome")], schema=SCHEMA)
    assert graph.canonical("child of") == "parent of"
    assert graph.canonical("visited") == "visited"
    with pytest.raises(InputError, match="no relation 'vistied'; did you mean 'visited'"):
        graph.canonical("vistied")


def test_one_state_is_read_while_others_write(tmp_path: Path) -> None:
    with KnowledgeGraph(tmp_path) as writer, KnowledgeGraph(tmp_path) as reader:
        writer.add([triple("Ann Lee", "born in", "Rome")])
        with reader.snapshot():
            assert len(list(reader.edges())) == 1
            writer.add([triple("Bo Marsh", "born in", "Oslo")])
            assert len(list(reader.edges())) == 1
        assert len(list(reader.edges())) == 2


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
