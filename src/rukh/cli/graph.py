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
        counts = graph.counts()
    more = f", {added.known:,} known" if added.known else ""
    more += f", {added.without_relation:,} without a relation" if added.without_relation else ""
    print_status(
        f"{added.new:,} triples added{more}; {counts['entities']:,} entities, "
        f"{counts['edges']:,} edges in {store}"
    )


@app.command()
def build(
    posts: Annotated[Path, typer.Argument(help="File of posts (-: standard input).")],
    store: Store,
    model: options.Model = "open",
    tagger: options.Tagger = None,
    schema: options.Schema = None,
    threshold: options.Threshold = None,
    rules: Rules = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Find the words that carried each triple. Slow.")
    ] = False,
    export: Annotated[
        list[Path] | None,
        typer.Option(help="Write the graph to this file as well, see `export`; may be repeated."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report to this HTML file as well.")
    ] = None,
    format: options.InputFormat = None,
    images: options.Images = None,
    captions: options.Captions = None,
    device: options.Device = "auto",
) -> None:
    """Extract triples from posts, and add them to a graph.

    This is `rukh extract`, `graph add`, `graph export` and `graph report` in one. All posts are
    kept in memory.
    """
    from rukh.data.readers import read_posts
    from rukh.explain import embedding_map
    from rukh.explain import explain as explain_triple
    from rukh.extractor import Extractor, PostTriples
    from rukh.graph.export import check_format
    from rukh.graph.export import export as write
    from rukh.graph.report import Attribution, MapPoint, key_of, write_report
    from rukh.graph.resolution import MergeRules
    from rukh.graph.store import KnowledgeGraph
    from rukh.utils.files import check_empty, check_outputs
    from rukh.utils.progress import progress_bar

    check_outputs([report, *(path for path in export or () if path.suffix)], posts, captions, rules)
    for path in export or ():
        check_format(path)
        if not path.suffix:
            check_empty(path)
    merge_rules = MergeRules.load(rules) if rules else None
    extractor = Extractor.from_pretrained(
        model, tagger=tagger, schema=schema, threshold=threshold, device=device
    )
    options.check_captions(captions, extractor)
    read = list(read_posts(posts, format, images=images, captions=captions))
    results, attributions = [], {}
    with KnowledgeGraph(store) as graph:
        found = extractor.stream_posts(read, top_k=3)
        for post, triples in progress_bar(found, total=len(read), unit="post", delay=2):
            kept = [triple for triple in triples if triple.relation in extractor.bank.names]
            for place, triple in enumerate(kept if explain else ()):
                why = explain_triple(extractor, post, triple, with_changes=False)
                regions = [(region.box, region.weight) for region in why.regions]
                attributions[key_of(triple)] = Attribution(why.words, regions)
                kept[place] = triple.model_copy(update={"reason": why.reason})
            results.append(PostTriples(post, kept))
        triples = [triple for one in results for triple in one.triples]
        typed = [one.post for one in results]
        added = graph.add(triples, posts=typed, schema=extractor.schema, rules=merge_rules)
        for path in export or ():
            write(graph, path)
        if report is not None:
            places, relations = embedding_map(extractor, results)
            points = [
                MapPoint(x, y, f"{t.head.surface} -- {t.relation} -> {t.tail.surface}", key_of(t))
                for (x, y), t in zip(places, triples, strict=bool(places))
            ]
            points += [
                MapPoint(x, y, name)
                for (x, y), name in zip(relations, extractor.bank.names, strict=bool(relations))
            ]
            write_report(
                graph, report, title=store.name, posts=read, attributions=attributions,
                points=points,
            )  # fmt: skip
        counts = graph.counts()
    print_status(
        f"{len(read):,} posts, {added.new:,} triples added; {counts['entities']:,} entities, "
        f"{counts['edges']:,} edges in {store}"
    )


@app.command()
def report(
    store: Store,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    posts: Annotated[
        Path | None, typer.Option(help="The posts, whose texts and pictures are then shown.")
    ] = None,
    format: options.InputFormat = None,
    images: options.Images = None,
    relation: Relation = None,
    min_probability: Probability = 0,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write an HTML file that shows a graph with its evidence and its conflicts, offline."""
    from rukh.data.readers import read_posts
    from rukh.graph.report import write_report
    from rukh.graph.store import KnowledgeGraph
    from rukh.utils.files import check_outputs

    check_outputs([out], posts)
    with KnowledgeGraph(store, read_only=True) as graph:
        write_report(
            graph,
            out,
            title=store.absolute().name,
            posts=() if posts is None else read_posts(posts, format, images=images),
            relation=relation and graph.canonical(relation),
            min_probability=min_probability,
            since=since,
            until=until,
        )
    print_status(f"{out} written, {out.stat().st_size / 1e6:.1f} MB")


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
        relation = relation and graph.canonical(relation)
        edges = {
            edge.iri: edge
            for entity in found
            for edge in graph.edges(
                entity=entity.iri,
                relation=relation,
                min_probability=min_probability,
                since=since,
                until=until,
            )
        }
    _print_edges(list(edges.values()), json)


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
            relation=relation and graph.canonical(relation),
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
