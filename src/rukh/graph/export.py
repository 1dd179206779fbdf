"""A knowledge graph in the formats of other tools; ``rdf`` has those of RDF."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rukh.data.format import suffix
from rukh.errors import InputError, MissingDependency
from rukh.graph.elements import Edge, Entity
from rukh.graph.filters import EdgeFilters
from rukh.graph.rdf import FORMATS, write_rdf
from rukh.graph.store import KnowledgeGraph
from rukh.records import EntityMention
from rukh.utils.files import atomic_folder, atomic_open, check_empty

if TYPE_CHECKING:
    import networkx

NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BATCH = 1_000
"""Number of nodes or edges in one statement of Cypher, or rows written to Parquet at once."""


def export(
    graph: KnowledgeGraph,
    out: Path,
    *,
    rdf12: bool = False,
    parquet: bool = False,
    **filters: Unpack[EdgeFilters],
) -> int:
    """Write a graph to a file in the format of its ending, or to a folder for Neo4j.

    Args:
        graph: The graph.
        out: The file, which is replaced, or the folder, which must be new or empty.
        rdf12: See :func:`rukh.graph.rdf.write_rdf`.
        parquet: Whether the files for Neo4j are Parquet, not CSV.
        filters: Arguments of :meth:`KnowledgeGraph.edges`, which choose edges.

    Returns:
        The number of edges.

    Raises:
        InputError: No format has this ending, or the folder has other files.
        MissingDependency: A package is not installed.
    """
    check_format(out)
    with graph.snapshot():
        return _export(graph, out, rdf12, parquet, **filters)


def _export(
    graph: KnowledgeGraph, out: Path, rdf12: bool, parquet: bool, **filters: Unpack[EdgeFilters]
) -> int:
    ending = suffix(out)
    if parquet and out.suffix:
        raise InputError("Parquet files are written to a folder", where=str(out), field="--parquet")
    if rdf12 and ending not in FORMATS:
        raise InputError("only RDF has rdf:reifies", where=str(out), field="--rdf12")
    if ending in FORMATS:
        with atomic_open(out, "wb") as stream:
            write_rdf(graph, stream, ending, rdf12=rdf12, **filters)
    elif ending == ".graphml":
        write_graphml(graph, out, **filters)
    elif ending == ".cypher":
        with atomic_open(out) as stream:
            stream.writelines(line + "\n" for line in cypher(graph, **filters))
    elif ending == ".jsonl":
        with atomic_open(out) as stream:
            rows = gliner_rows(graph, **filters)
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        write_neo4j(graph, out, parquet=parquet, **filters)
    return graph.num_edges(**filters)


def check_format(out: Path) -> None:
    """Raise InputError if no format has the ending of a file's name. A folder has none."""
    known = [*FORMATS, ".graphml", ".cypher", ".jsonl"]
    if suffix(out) not in known and out.suffix:
        fix = f"known: {', '.join(known)}, or a folder"
        raise InputError(f"no format ends in {out.suffix!r}", where=str(out), fix=fix)


def to_networkx(graph: KnowledgeGraph, **filters: Unpack[EdgeFilters]) -> networkx.MultiDiGraph:
    """Return a graph of networkx: nodes and edges are IRIs, and have the rest as attributes.

    Args:
        filters: Arguments of :meth:`KnowledgeGraph.edges`.

    Raises:
        MissingDependency: networkx is not installed.

    Example:
        >>> with KnowledgeGraph("kg", read_only=True) as graph:  # doctest: +SKIP
        ...     print(to_networkx(graph, min_probability=0.8).number_of_edges())
    """
    try:
        import networkx
    except ImportError:
        raise MissingDependency("networkx", "graph") from None
    result = networkx.MultiDiGraph()
    for entity in graph.entities(**filters):
        result.add_node(entity.iri, **_present(entity_row(entity)))
    for edge in graph.edges(**filters):
        result.add_edge(edge.head.iri, edge.tail.iri, edge.iri, **_present(edge_row(edge)))
    return result


def write_graphml(graph: KnowledgeGraph, out: Path, **filters: Unpack[EdgeFilters]) -> None:
    """Write a graph as GraphML, for Gephi or yEd, for example."""
    result = to_networkx(graph, **filters)
    import networkx

    for _, attributes in result.nodes(data=True):
        _make_printable(attributes)
    for *_, attributes in result.edges(data=True):
        _make_printable(attributes)
    with atomic_open(out, "wb") as stream:
        networkx.write_graphml(result, stream, named_key_ids=True)


def _make_printable(attributes: dict[str, Any]) -> None:
    """Replace the characters that XML cannot hold."""
    for name, value in attributes.items():
        if isinstance(value, str):
            attributes[name] = NOT_IN_XML.sub("\ufffd", value)


def entity_row(entity: Entity) -> dict[str, Any]:
    """Return an entity's attributes as text."""
    return {
        "label": entity.label,
        "type": entity.type,
        "aliases": "; ".join(entity.aliases) or None,
    }


def edge_row(edge: Edge) -> dict[str, Any]:
    """Return an edge's attributes as text and numbers."""
    return {
        "relation": edge.relation,
        "posts": edge.posts,
        "mentions": edge.mentions,
        "probability": edge.combined,
        "best_probability": edge.best,
        "first_seen": edge.first,
        "last_seen": edge.last,
        "conflict": edge.conflict,
    }


def _present(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def gliner_rows(graph: KnowledgeGraph, **filters: Unpack[EdgeFilters]) -> Iterator[dict[str, Any]]:
    """Yield the triples of text of the chosen edges in the form of GLiNER's relation models."""
    for _, triples in graph.edges_with_evidence(**filters):
        for triple in triples:
            if isinstance(triple.head, EntityMention) and isinstance(triple.tail, EntityMention):
                yield {
                    "head": _span(triple.head),
                    "tail": _span(triple.tail),
                    "relation": triple.relation,
                    "score": triple.score,
                    "post_id": triple.post_id,
                }


def _span(mention: EntityMention) -> dict[str, Any]:
    return {
        "start": mention.start,
        "end": mention.end,
        "text": mention.text,
        "type": mention.type,
    }


NODE_FIELDS = {
    "iri:ID": "iri",
    ":LABEL": "labels",
    "label": "label",
    "type": "type",
    "aliases:string[]": "aliases",
}
EDGE_FIELDS = {
    ":START_ID": "head",
    ":TYPE": "relation_type",
    ":END_ID": "tail",
    "iri": "iri",
    "relation": "relation",
    "posts:int": "posts",
    "mentions:int": "mentions",
    "probability:double": "probability",
    "best_probability:double": "best_probability",
    "first_seen": "first_seen",
    "last_seen": "last_seen",
    "conflict": "conflict",
}
"""The columns of ``neo4j-admin database import full``, and where their values come from."""


def write_neo4j(
    graph: KnowledgeGraph, out: Path, *, parquet: bool, **filters: Unpack[EdgeFilters]
) -> None:
    """Write ``entities`` and ``edges`` for ``neo4j-admin database import full``.

    The relation of an edge is its type, as in ``BORN_IN``; the property ``relation`` has its name.
    """
    check_empty(out)
    nodes = (
        entity_row(entity)
        | {"iri": entity.iri, "labels": "Entity", "aliases": list(entity.aliases)}
        for entity in graph.entities(**filters)
    )
    edges = (
        edge_row(edge)
        | {
            "iri": edge.iri,
            "head": edge.head.iri,
            "tail": edge.tail.iri,
            "relation_type": relation_type(edge.relation),
        }
        for edge in graph.edges(**filters)
    )
    write = _write_parquet if parquet else _write_csv
    with atomic_folder(out) as folder:
        write(folder / "entities", NODE_FIELDS, nodes)
        write(folder / "edges", EDGE_FIELDS, edges)


def relation_type(name: str) -> str:
    """Return a relation's name as a type of Neo4j.

    Example:
        >>> relation_type("born in"), relation_type("/per/org/member_of")
        ('BORN_IN', 'PER_ORG_MEMBER_OF')
    """
    words = "".join(c if c.isalnum() else " " for c in name).split()
    return "_".join(words).upper() or "RELATED_TO"


def _write_csv(path: Path, fields: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(fields)
        for row in rows:
            # A separator within an alias would end it.
            cells = (
                ";".join(one.replace(";", ",") for one in value)
                if isinstance(value := row[name], list)
                else value
                for name in fields.values()
            )
            writer.writerow(cells)


def _write_parquet(path: Path, fields: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependency("pyarrow", "parquet") from None
    kinds = {"int": pyarrow.int64(), "double": pyarrow.float64()}
    kinds["string[]"] = pyarrow.list_(pyarrow.string())
    schema = pyarrow.schema(
        [(field, kinds.get(field.partition(":")[2], pyarrow.string())) for field in fields]
    )
    with parquet.ParquetWriter(path.with_suffix(".parquet"), schema) as writer:
        for some in _batches(rows):
            data = [{f: row[name] for f, name in fields.items()} for row in some]
            writer.write_table(pyarrow.Table.from_pylist(data, schema))


def cypher(graph: KnowledgeGraph, **filters: Unpack[EdgeFilters]) -> Iterator[str]:
    """Yield statements of Cypher, one a line, that make the graph; twice is as good as once."""
    yield ("CREATE CONSTRAINT entity_iri IF NOT EXISTS FOR (e:Entity) REQUIRE e.iri IS UNIQUE;")
    for some in _batches(graph.entities(**filters)):
        rows = [{"iri": e.iri, **_present(entity_row(e))} for e in some]
        yield (
            f"UNWIND {_cypher(rows)} AS row MERGE (e:Entity {{iri: row.iri}})"
            " SET e.label = row.label, e.type = row.type, e.aliases = row.aliases;"
        )
    by_type: dict[str, list[dict[str, Any]]] = {}
    for edge in graph.edges(**filters):
        type_ = relation_type(edge.relation)
        rows = by_type.setdefault(type_, [])
        rows.append({"head": edge.head.iri, "tail": edge.tail.iri, "iri": edge.iri,
                     "properties": _present({"iri": edge.iri} | edge_row(edge))})  # fmt: skip
        if len(rows) == BATCH:
            yield _edges_statement(type_, by_type.pop(type_))
    for type_, rows in by_type.items():
        yield _edges_statement(type_, rows)


def _edges_statement(type_: str, rows: list[dict[str, Any]]) -> str:
    return (
        f"UNWIND {_cypher(rows)} AS row MATCH (h:Entity {{iri: row.head}})"
        f" MATCH (t:Entity {{iri: row.tail}}) MERGE (h)-[r:`{type_}` {{iri: row.iri}}]->(t)"
        " SET r = row.properties;"
    )


def _cypher(value: Any) -> str:
    """Write a value as a literal of Cypher."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_cypher(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_cypher, value)) + "]"
    return json.dumps(value, ensure_ascii=True)


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
