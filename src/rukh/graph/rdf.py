"""A knowledge graph as RDF: its statements, its files, and an index that answers SPARQL.

Each edge is a statement in a named graph of its own, whose IRI has the edge's support and evidence
in the default graph. Other styles are for formats without named graphs. The index is a store of
Oxigraph in ``rdf``, in the folder of the graph; it follows the graph and can be deleted.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import IO, Any, Literal, TypeAlias, Unpack

from rukh.errors import InputError, MissingDependency
from rukh.graph.elements import Edge, Entity
from rukh.graph.evidence import place_of
from rukh.graph.filters import EdgeFilters
from rukh.graph.iris import BASE, PREFIXES, evidence_iri, post_iri, relation_iri, slug
from rukh.graph.store import KnowledgeGraph
from rukh.records import EntityMention, Mention, Triple
from rukh.schema.schema import RelationSchema
from rukh.utils.files import lock_folder
from rukh.utils.progress import progress_bar

logger = logging.getLogger(__name__)

Style: TypeAlias = Literal["graphs", "reification", "rdf12"]
"""How an edge is linked to its support: as a named graph, by ``rdf:subject`` and so on, or by
``rdf:reifies`` of RDF 1.2."""

DAMAGE = (OSError, RuntimeError, ValueError)
"""What Oxigraph raises for an index that is missing or damaged."""
CHUNK = 10_000
"""Number of edges that are written to the index together."""
STAMP = (f"<{BASE}graph>", f"<{PREFIXES['rukh']}change>")
"""Subject and predicate of the statement that says which change the index follows."""


@cache
def _iri(prefix: str, name: str) -> str:
    return f"<{PREFIXES[prefix]}{name}>"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # the escapes of JSON are those of N-Quads


def _number(value: float) -> str:
    kind = "integer" if isinstance(value, int) else "double"
    return f'"{value!r}"^^{_iri("xsd", kind)}'


def _time(value: str) -> str:
    return f'"{value}"^^{_iri("xsd", "dateTime" if "T" in value else "date")}'


_A, _LABEL, _ALIAS = _iri("rdf", "type"), _iri("rdfs", "label"), _iri("skos", "altLabel")
_RELATION, _EDGE = _iri("owl", "ObjectProperty"), _iri("rukh", "edge")


def entity_lines(entity: Entity) -> Iterator[str]:
    """Yield what is said about an entity, as lines of N-Quads."""
    subject = f"<{entity.iri}>"
    yield f"{subject} {_LABEL} {_text(entity.label)} ."
    if entity.type is not None:
        yield f"{subject} {_A} {_iri('type', slug(entity.type))} ."
    for alias in entity.aliases:
        yield f"{subject} {_ALIAS} {_text(alias)} ."


def edge_lines(edge: Edge, style: Style = "graphs") -> Iterator[str]:
    """Yield an edge and its support, as lines of N-Quads."""
    subject, relation = f"<{edge.iri}>", f"<{relation_iri(edge.relation)}>"
    statement = f"<{edge.head.iri}> {relation} <{edge.tail.iri}>"
    if style == "graphs":
        yield f"{statement} {subject} ."
    else:
        yield f"{statement} ."
    if style == "reification":
        yield f"{subject} {_A} {_iri('rdf', 'Statement')} ."
        for name, value in zip(("subject", "predicate", "object"), statement.split(), strict=True):
            yield f"{subject} {_iri('rdf', name)} {value} ."
    elif style == "rdf12":
        yield f"{subject} {_iri('rdf', 'reifies')} <<( {statement} )>> ."
    support = {
        "posts": _number(edge.posts),
        "mentions": _number(edge.mentions),
        "probability": _number(edge.combined),
        "bestProbability": _number(edge.best),
        "firstSeen": edge.first and _time(edge.first),
        "lastSeen": edge.last and _time(edge.last),
        "conflict": edge.conflict and _text(edge.conflict),
    }
    for name, told in support.items():
        if told is not None:
            yield f"{subject} {_iri('rukh', name)} {told} ."


def evidence_lines(edge: str, triple: Triple) -> Iterator[str]:
    """Yield a triple that states an edge, with its source, as lines of N-Quads."""
    mentions = (triple.head, triple.tail)
    where = [part for m in mentions for part in (place_of(m), m.surface, m.type)]
    source = (triple.relation, triple.model_id, triple.schema_id)
    subject = f"<{evidence_iri(edge, triple.post_id, *where, *source)}>"
    yield f"{subject} {_EDGE} <{edge}> ."
    yield f"{subject} {_iri('prov', 'wasDerivedFrom')} <{post_iri(triple.post_id)}> ."
    yield f"{subject} {_iri('rukh', 'probability')} {_number(triple.score)} ."
    for name, text in (
        ("relation", triple.relation),
        ("description", triple.description),
        ("reason", ", ".join(word.text for word in triple.reason or ()) or None),
        ("model", triple.model_id),
        ("schema", triple.schema_id),
    ):
        if text is not None:
            yield f"{subject} {_iri('rukh', name)} {_text(text)} ."
    for role, mention in zip(("head", "tail"), mentions, strict=True):
        for name, literal in _mention(mention):
            yield f"{subject} {_iri('rukh', role + name)} {literal} ."


def post_lines(post: str, time: str | None) -> Iterator[str]:
    """Yield what is said about a post, as lines of N-Quads."""
    subject = f"<{post_iri(post)}>"
    yield f"{subject} {_LABEL} {_text(post)} ."
    if time is not None:
        yield f"{subject} {_iri('rukh', 'time')} {_time(time)} ."


def _mention(mention: Mention) -> Iterator[tuple[str, str]]:
    yield "Text", _text(mention.surface)
    if isinstance(mention, EntityMention):
        yield "Start", _number(mention.start)
        yield "End", _number(mention.end)
    else:
        yield "Box", _text(json.dumps(mention.box))


def schema_lines(schemas: Iterable[RelationSchema]) -> Iterator[str]:
    """Yield what schemas say about their relations, as lines of N-Quads."""
    for schema in schemas:
        for relation in schema.relations:
            if relation.name == schema.nota:
                continue
            subject = f"<{relation_iri(relation.name)}>"
            yield f"{subject} {_A} {_RELATION} ."
            yield f"{subject} {_LABEL} {_text(relation.name)} ."
            for name in dict.fromkeys((relation.id, *relation.same_as)):
                if name is not None and re.fullmatch(r"P\d+", name):
                    yield f"{subject} {_iri('owl', 'equivalentProperty')} {_iri('wdt', name)} ."
            for text in relation.descriptions[:1]:
                yield f"{subject} {_iri('rdfs', 'comment')} {_text(str(text))} ."


def graph_lines(
    graph: KnowledgeGraph, style: Style = "graphs", **filters: Unpack[EdgeFilters]
) -> Iterator[str]:
    """Yield a graph as lines of N-Quads, with the edges that ``filters`` of ``edges`` leave."""
    yield from schema_lines(graph.schemas())
    for entity in graph.entities(**filters):
        yield from entity_lines(entity)
    for post, time in graph.posts(**filters):
        yield from post_lines(post, time)
    for edge, triples in graph.edges_with_evidence(**filters):
        yield from _edge_and_evidence(edge, triples, style)


def _edge_and_evidence(
    edge: Edge, triples: Iterable[Triple], style: Style = "graphs"
) -> Iterator[str]:
    yield from edge_lines(edge, style)
    for triple in triples:
        yield from evidence_lines(edge.iri, triple)


FORMATS: dict[str, tuple[str, Style]] = {
    ".ttl": ("TURTLE", "reification"),
    ".nt": ("N_TRIPLES", "reification"),
    ".nq": ("N_QUADS", "graphs"),
    ".trig": ("TRIG", "graphs"),
    ".jsonld": ("JSON_LD", "graphs"),
}
"""The format of each ending of a file's name, and how edges are linked to their support."""


def write_rdf(
    graph: KnowledgeGraph,
    stream: IO[bytes],
    ending: str,
    *,
    rdf12: bool = False,
    **filters: Unpack[EdgeFilters],
) -> None:
    """Write a graph to a file in a format of :data:`FORMATS`.

    Args:
        ending: The ending of the file's name, such as ``.ttl``.
        rdf12: Whether edges are linked to their support by ``rdf:reifies``.
        filters: See :func:`graph_lines`.

    Raises:
        InputError: The format has no ``rdf:reifies``.
        MissingDependency: pyoxigraph is not installed.
    """
    ox = oxigraph()
    name, style = FORMATS[ending]
    if rdf12:
        if ending == ".jsonld":
            raise InputError("JSON-LD has no rdf:reifies", fix="name a file that ends in .ttl")
        style = "rdf12"
    lines = graph_lines(graph, style, **filters)
    if ending in (".nq", ".nt"):
        stream.writelines((line + "\n").encode() for line in lines)
        return
    quads = ox.parse(_Stream(lines), format=ox.RdfFormat.N_QUADS)
    ox.serialize(quads, stream, format=getattr(ox.RdfFormat, name), prefixes=PREFIXES)


class _Stream:
    """Lines as a binary file to read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def read(self, size: int = -1) -> bytes:
        some = islice(self._lines, None if size < 0 else max(1, size // 1000))
        return "".join(line + "\n" for line in some).encode()


def oxigraph() -> Any:
    """Return the module of Oxigraph. Raises MissingDependency."""
    try:
        import pyoxigraph
    except ImportError:
        raise MissingDependency("pyoxigraph", "graph") from None
    return pyoxigraph


def _node(term: str) -> Any:
    """Return the node of an IRI in angle brackets."""
    return oxigraph().NamedNode(term[1:-1])


class RdfIndex:
    """The index of a graph, which is brought up to date when this is made.

    Raises:
        InputError: The index has to be updated, but another process is doing so.
        MissingDependency: pyoxigraph is not installed.
    """

    def __init__(self, graph: KnowledgeGraph) -> None:
        self.graph = graph
        self._folder = graph.folder / "rdf"
        self._store: Any = None
        with graph.snapshot():
            change = graph.change
            self._wanted = f"{change} {graph.token(change)}"
            if not self._open_current():
                with lock_folder(graph.folder):  # nobody else makes or deletes an index now
                    self._bring_up_to_date()

    def _open_current(self) -> bool:
        """Open the index to read it; return whether it follows the last change of the graph."""
        try:
            self._store = oxigraph().Store.read_only(str(self._folder))
            return self._stamp() == self._wanted
        except DAMAGE:  # there is none, or it is being made
            return False

    def _bring_up_to_date(self) -> None:
        ox = oxigraph()
        for attempt in (1, 2):
            self._store = None
            try:
                self._store = ox.Store(str(self._folder))
                change, _, token = self._stamp().partition(" ")
                if not token or token != self.graph.token(int(change)):
                    self._store.clear()  # half made, or of another graph or another past
                    change = "0"
                self._update(int(change))
                for quad in self._stamps():
                    self._store.remove(quad)
                self._load([f"{' '.join(STAMP)} {_text(self._wanted)} ."])
                self._store.flush()
                return
            except DAMAGE as error:
                if attempt == 2:
                    problem = f"the index cannot be made: {error}"
                    raise InputError(problem, where=str(self._folder)) from None
                message = "the index in %s is damaged and will be made again: %s"
                logger.warning(message, self._folder, error)
                self._store = None
                if self._folder.is_dir():
                    shutil.rmtree(self._folder, ignore_errors=True)
                else:
                    self._folder.unlink(missing_ok=True)

    def _stamps(self) -> list[Any]:
        """Return the statements that say which change of which graph the index follows."""
        return list(self._store.quads_for_pattern(*map(_node, STAMP), None))

    def _stamp(self) -> str:
        return min((quad.object.value for quad in self._stamps()), default="")

    def _update(self, before: int) -> None:
        """Write what is new since a change of the graph, and remove what is gone."""
        graph, store = self.graph, self._store
        gone, entities, posts = graph.changes(before)
        for name in gone:
            node = _node(f"<{name}>")
            store.remove_graph(node)
            evidence = store.quads_for_pattern(None, _node(_EDGE), node)
            self._forget({node, *(quad.subject for quad in evidence)})
        self._load(line for entity in entities for line in entity_lines(entity))
        self._load(line for post in posts for line in post_lines(*post))
        relations = store.quads_for_pattern(None, _node(_A), _node(_RELATION))
        self._forget({quad.subject for quad in relations})
        self._load(schema_lines(graph.schemas()))
        edges = graph.edges_with_evidence(changed_after=before)
        total, first = graph.num_edges(changed_after=before), before == 0
        with progress_bar(total=total, desc="indexing", unit="edge", delay=2) as progress:
            while some := list(islice(edges, CHUNK)):
                lines = (line for one in some for line in _edge_and_evidence(*one))
                self._load(lines, first=first)
                progress.update(len(some))

    def _forget(self, subjects: Iterable[Any]) -> None:
        """Remove what is said about some nodes, but for their edges, which have own graphs."""
        default = oxigraph().DefaultGraph()
        for subject in subjects:
            for quad in list(self._store.quads_for_pattern(subject, None, None, default)):
                self._store.remove(quad)

    def _load(self, lines: Iterable[str], *, first: bool = False) -> None:
        data = "".join(line + "\n" for line in lines).encode()
        if data:
            n_quads = oxigraph().RdfFormat.N_QUADS
            if first:  # faster, but not one transaction; the stamp is written at the end
                self._store.bulk_load(data, format=n_quads)
            else:
                self._store.load(data, format=n_quads)

    def query(self, sparql: str) -> Any:
        """Answer a SPARQL query over all named graphs at once; :data:`PREFIXES` are declared.

        Returns:
            The result of pyoxigraph: solutions, triples or a boolean.

        Raises:
            InputError: The query is not valid, or asks another server (``SERVICE``).
        """
        check_query(sparql)
        try:
            return self._store.query(sparql, prefixes=PREFIXES, use_default_graph_as_union=True)
        except SyntaxError as error:
            raise InputError(f"not a SPARQL query: {error}", fix="see docs/graph.md") from None
        except (OSError, ValueError) as error:
            raise InputError(f"the query cannot be answered: {error}") from None


def result_text(result: Any, format: str) -> str:
    """Write the result of a query as ``csv``, ``tsv`` or ``json``, or triples as N-Triples."""
    ox = oxigraph()
    if isinstance(result, ox.QueryTriples):
        return bytes(ox.serialize(result, format=ox.RdfFormat.N_TRIPLES)).decode()
    if isinstance(result, ox.QueryBoolean) and format != "json":
        return f"{str(bool(result)).lower()}\n"
    return bytes(result.serialize(format=getattr(ox.QueryResultsFormat, format.upper()))).decode()


def result_table(result: Any) -> tuple[list[str], list[list[str | None]]]:
    """Return the columns and the rows of a result, with the prefixes of :data:`PREFIXES`."""
    ox = oxigraph()
    if isinstance(result, ox.QueryBoolean):
        return ["answer"], [[str(bool(result)).lower()]]
    if isinstance(result, ox.QueryTriples):
        rows = [[_short(part) for part in triple] for triple in result]
        return ["subject", "predicate", "object"], rows
    names = [variable.value for variable in result.variables]
    return names, [[_short(solution[name]) for name in names] for solution in result]


def _short(term: Any) -> str | None:
    if term is None:
        return None
    if isinstance(term, oxigraph().NamedNode):
        for prefix, start in PREFIXES.items():
            if term.value.startswith(start):
                return f"{prefix}:{term.value[len(start) :]}"
        return f"<{term.value}>"
    return str(getattr(term, "value", term))


def check_query(sparql: str) -> None:
    """Raise InputError for a query that may make a request to another server.

    Example:
        >>> check_query("SELECT ?a { ?a rdfs:label 'Rome' }")
    """
    if re.search(r"\\[uU]", sparql):
        problem = "the query has an escaped character"
        raise InputError(problem, fix="write the character itself in place of \\u")
    # Anywhere: where texts, comments and names end, the parser of Oxigraph has its own opinions.
    if "service" in sparql.casefold():
        problem = "a query may not have the word SERVICE, with which it could ask another server"
        raise InputError(problem, fix="search names with regex(?name, 'serv.ce'), for example")
