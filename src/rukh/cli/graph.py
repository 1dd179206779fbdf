"""``rukh graph``: build a knowledge graph from triples, ask it, and export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from rukh.cli import options
from rukh.cli.logs import print_result, print_status
from rukh.errors import InputError, suggestion

if TYPE_CHECKING:
    from rukh.graph.elements import Edge

app = typer.Typer(
    no_args_is_help=True, help="Build a knowledge graph from triples, ask it, and export it."
)

Store: TypeAlias = Annotated[Path, typer.Option(help="Folder of the graph.")]
Rules: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="YAML file: names that are the `same` entity, or `different` ones."),
]
GraphSchema: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="A YAML file or a shipped schema, which says what relations are symmetric, inverse or "
        "functional. Default: the shipped schema that the triples name."
    ),
]
Relation: TypeAlias = Annotated[str | None, typer.Option(help="Only edges of this relation.")]
Probability: TypeAlias = Annotated[
    float, typer.Option(min=0, max=1, help="Minimum combined probability of an edge.")
]
Since: TypeAlias = Annotated[
    str | None, typer.Option(help="Only edges with a post at this date or time, or later.")
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(help="Only edges with a post at this date or time, or earlier.")
]


@app.command()
def add(
    triples: Annotated[
        list[Path], typer.Argument(help="Output of `rukh extract` (-: standard input).")
    ],
    store: Store,
    schema: GraphSchema = None,
    rules: Rules = None,
) -> None:
    """Add triples to a graph, which is made if it is not there.

    What is there already is not added again, and an interrupted command changes nothing.
    """
    from itertools import chain

    from rukh.data.triples import read_triples
    from rukh.graph.rdf import RdfIndex
    from rukh.graph.resolution import MergeRules
    from rukh.graph.store import KnowledgeGraph
    from rukh.schema.schema import RelationSchema
    from rukh.utils.progress import progress_bar

    own_schema = RelationSchema.load(schema, require_descriptions=False) if schema else None
    own_rules = MergeRules.load(rules) if rules else None
    rows = chain.from_iterable(map(read_triples, triples))
    with KnowledgeGraph(store) as graph:
        added = graph.add(
            progress_bar(rows, unit="triple", delay=2),
            schema=own_schema,
            rules=own_rules,
        )
        RdfIndex(graph)
        counts = graph.counts()
    more = f", {added.known:,} known" if added.known else ""
    more += f", {added.without_relation:,} without a relation" if added.without_relation else ""
    print_status(
        f"{added.new:,} triples added{more}; {counts['entities']:,} entities, "
        f"{counts['edges']:,} edges in {store}"
    )


@app.command()
def remove(
    store: Store,
    post: Annotated[list[str], typer.Option(help="Id of a post; may be repeated.")],
) -> None:
    """Remove posts from a graph, with all that only they state."""
    from rukh.graph.store import KnowledgeGraph

    with KnowledgeGraph(store, create=False) as graph:
        print_status(f"{graph.remove(post):,} triples removed")


@app.command()
def resolve(store: Store, rules: Rules = None, schema: GraphSchema = None) -> None:
    """Decide anew which names are one entity, with other rules or another schema.

    A file of rules replaces the rules that the graph has, so that a merge is undone by a file
    without it.
    """
    from rukh.graph.resolution import MergeRules
    from rukh.graph.store import KnowledgeGraph
    from rukh.schema.schema import RelationSchema

    with KnowledgeGraph(store, create=False) as graph:
        graph.resolve(
            MergeRules.load(rules) if rules else None,
            RelationSchema.load(schema, require_descriptions=False) if schema else None,
        )
        counts = graph.counts()
    print_status(f"{counts['names']:,} names are {counts['entities']:,} entities")


@app.command()
def query(
    store: Store,
    sparql: Annotated[str, typer.Argument(help="The query, or @FILE.")],
    format: Annotated[
        Literal["table", "csv", "tsv", "json"], typer.Option(help="Format of the output.")
    ] = "table",
) -> None:
    """Answer a SPARQL query.

    The prefixes entity:, rel:, edge:, post:, type:, rukh:, rdf:, rdfs:, owl:, skos:, prov:, xsd:
    and wdt: need no declaration.
    """
    from rukh.graph.rdf import RdfIndex, result_table, result_text
    from rukh.graph.store import KnowledgeGraph
    from rukh.utils.files import file_errors

    if sparql.startswith("@"):
        with file_errors(sparql[1:]):
            sparql = Path(sparql[1:]).read_text(encoding="utf-8")
    with KnowledgeGraph(store, read_only=True) as graph:
        result = RdfIndex(graph).query(sparql)
        if format == "table":
            typer.echo(_table(*result_table(result)))
        else:
            typer.echo(result_text(result, format), nl=False)


@app.command()
def neighbors(
    store: Store,
    name: Annotated[str, typer.Argument(help="A name, or an entity's IRI.")],
    relation: Relation = None,
    min_probability: Probability = 0,
    since: Since = None,
    until: Until = None,
    json: options.Json = None,
) -> None:
    """List the edges of an entity, with their support."""
    from rukh.graph.store import KnowledgeGraph

    with KnowledgeGraph(store, read_only=True) as graph:
        found = graph.find(name)
        if not found:
            known = [entity.label for entity in graph.entities()]
            raise InputError(f"no entity is called {name!r}", fix=suggestion(name, known))
        edges = [
            edge
            for entity in found
            for edge in graph.edges(
                entity=entity.iri,
                relation=relation,
                min_probability=min_probability,
                since=since,
                until=until,
            )
        ]
    _print_edges(edges, json)


@app.command()
def conflicts(store: Store, json: options.Json = None) -> None:
    """List the edges that contradict each other, such as two places of birth."""
    from rukh.graph.store import KnowledgeGraph

    with KnowledgeGraph(store, read_only=True) as graph:
        edges = sorted(
            graph.edges(conflicting=True),
            key=lambda edge: (edge.relation, edge.head.label, edge.tail.label),
        )
    _print_edges(edges, json)


@app.command()
def stats(store: Store, json: options.Json = None) -> None:
    """Count posts, triples, entities and edges, and the edges of each relation."""
    from rukh.graph.store import KnowledgeGraph

    with KnowledgeGraph(store, read_only=True) as graph:
        counts, relations = graph.counts(), graph.relation_counts()
    rows = [*counts.items(), *((f"edges: {name}", number) for name, number in relations.items())]
    text = "\n".join(f"{number:>9,}  {name}" for name, number in rows)
    print_result(text, counts | {"relations": relations}, json)


@app.command()
def why(
    store: Store,
    one: Annotated[str, typer.Argument(help="A name.")],
    two: Annotated[str, typer.Argument(help="Another name.")],
) -> None:
    """Say why two names are one entity, or why they are two."""
    from rukh.graph.store import KnowledgeGraph

    with KnowledgeGraph(store, read_only=True) as graph:
        typer.echo("\n".join(graph.why(one, two)))


@app.command()
def export(
    store: Store,
    out: Annotated[
        Path,
        typer.Option(
            help="File to write: .ttl, .nt, .nq, .trig, .jsonld, .graphml, .cypher or .jsonl "
            "(GLiNER's rows), by its ending. A folder: CSV files for neo4j-admin."
        ),
    ],
    rdf12: Annotated[
        bool, typer.Option("--rdf12", help="Link edges to their support by rdf:reifies of RDF 1.2.")
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write Parquet files into the folder, not CSV.")
    ] = False,
    relation: Relation = None,
    min_probability: Probability = 0,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write a graph to a file that other tools read."""
    from rukh.graph.export import export as write
    from rukh.graph.store import KnowledgeGraph

    with KnowledgeGraph(store, read_only=True) as graph:
        count = write(
            graph,
            out,
            rdf12=rdf12,
            parquet=parquet,
            relation=relation,
            min_probability=min_probability,
            since=since,
            until=until,
        )
    print_status(f"{count:,} edges written to {out}")


def _print_edges(edges: list[Edge], json: Path | None) -> None:
    """Print edges as a table, or write them to a JSON file."""
    from dataclasses import asdict

    header = ("head", "relation", "tail", "probability", "posts", "first", "last", "conflict")
    rows = [
        (e.head.label, e.relation, e.tail.label, f"{e.combined:.2f}", e.posts, e.first, e.last,
         e.conflict)
        for e in edges
    ]  # fmt: skip
    print_result(_table(header, rows), [asdict(edge) for edge in edges], json)


def _table(header: Any, rows: Any) -> str:
    """Format rows under a header; a column without values is left out."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    kept = [k for k in range(len(header)) if not cells or any(row[k] for row in cells)]
    lines = [[header[k] for k in kept], *([row[k] for k in kept] for row in cells)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(kept))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
