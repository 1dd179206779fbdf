"""One HTML file that shows a knowledge graph with its posts, evidence and conflicts, offline."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, Unpack

from rukh import __version__
from rukh.errors import InputError
from rukh.graph.evidence import place_of
from rukh.graph.filters import EdgeFilters
from rukh.graph.store import KnowledgeGraph
from rukh.records import Box, EntityMention, Mention, Post, Triple, WordWeight
from rukh.utils.files import atomic_open

TEMPLATE = "report.html"
SLOT = "/*DATA*/null/*DATA*/"
"""Where the template has its data."""
IMAGE_SIZE = 640
"""Maximum width and height of a picture in a report, in pixels."""

Key: TypeAlias = tuple[str, str, str, str | None]


class Attribution(NamedTuple):
    """The weights of the words of a post and of the parts of its picture, for one triple."""

    words: Sequence[WordWeight]
    regions: Sequence[tuple[Box, float]]


@dataclass(frozen=True)
class MapPoint:
    """A pair of arguments or a relation in the plane.

    Attributes:
        key: The triple of a pair, see :func:`key_of`; None for a relation.
    """

    x: float
    y: float
    label: str
    key: Key | None = None


def key_of(triple: Triple) -> Key:
    """Return what tells the triples of a graph apart."""
    return triple.post_id, place_of(triple.head), place_of(triple.tail), triple.relation


def write_report(
    graph: KnowledgeGraph,
    out: Path,
    *,
    title: str = "Knowledge graph",
    posts: Iterable[Post] = (),
    attributions: Mapping[Key, Attribution] | None = None,
    points: Sequence[MapPoint] = (),
    **filters: Unpack[EdgeFilters],
) -> None:
    """Write a report of a graph. It needs no network and runs no code of its data.

    Args:
        graph: The graph.
        out: The HTML file, which is replaced.
        title: The heading.
        posts: Posts of the graph, whose texts and pictures are shown. Of other posts, only the
            names and their offsets are.
        attributions: Weights of words and image regions, by :func:`key_of`. Without them, the
            reasons of the triples are shown.
        points: The map of pairs and relations.
        filters: Arguments of :meth:`KnowledgeGraph.edges`, which choose the edges to show.
    """
    with graph.snapshot():
        data = report_data(graph, title, posts, attributions or {}, points, **filters)
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    template = (resources.files("rukh.graph") / TEMPLATE).read_text(encoding="utf-8")
    before, _, after = template.partition(SLOT)
    with atomic_open(out) as stream:
        stream.write(before + text + after)


def report_data(
    graph: KnowledgeGraph,
    title: str,
    posts: Iterable[Post],
    attributions: Mapping[Key, Attribution],
    points: Sequence[MapPoint],
    **filters: Unpack[EdgeFilters],
) -> dict[str, Any]:
    """Return what the template shows."""
    entities = list(graph.entities(**filters))
    number = {entity.iri: k for k, entity in enumerate(entities)}
    wanted = {name for name, _ in graph.posts(**filters)}
    shown = {post.id: post for post in posts if post.id in wanted}
    post_number = {name: k for k, name in enumerate(shown)}
    evidence: list[dict[str, Any]] = []
    edge_rows: list[dict[str, Any]] = []
    edge_of: dict[Key, int] = {}
    times: dict[str, str | None] = {}
    for place, (edge, triples) in enumerate(graph.edges_with_evidence(**filters)):
        first = len(evidence)
        for triple in triples:
            edge_of[key_of(triple)] = place
            times[triple.post_id] = triple.time
            attribution = attributions.get(key_of(triple))
            evidence.append(_evidence_row(triple, post_number.get(triple.post_id), attribution))
        edge_rows.append(
            {
                "h": number[edge.head.iri],
                "t": number[edge.tail.iri],
                "r": edge.relation,
                "p": edge.combined,
                "posts": edge.posts,
                "mentions": edge.mentions,
                "first": edge.first,
                "last": edge.last,
                "conflict": edge.conflict,
                "ev": list(range(first, len(evidence))),
            }
        )
    counts = graph.counts()
    return {
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "version": __version__,
        "counts": {
            "posts": counts["posts"],
            "triples": len(evidence),
            "entities": len(entities),
            "edges": len(edge_rows),
            "conflicts": sum(edge["conflict"] is not None for edge in edge_rows),
        },
        "entities": [
            {"label": e.label, "type": e.type, "aliases": e.aliases, "iri": e.iri} for e in entities
        ],
        "edges": edge_rows,
        "evidence": evidence,
        "posts": [
            {"id": p.id, "text": p.text, "time": times.get(p.id), "image": image_data(p.image)}
            for p in shown.values()
        ],
        "map": [
            {
                "x": round(point.x, 4),
                "y": round(point.y, 4),
                "kind": "relation" if point.key is None else "pair",
                "label": point.label,
                "edge": None if point.key is None else edge_of.get(point.key),
            }
            for point in points
        ],
    }


def _evidence_row(
    triple: Triple, post: int | None, attribution: Attribution | None
) -> dict[str, Any]:
    words = triple.reason or () if attribution is None else attribution.words
    return {
        "post": post,
        "post_id": triple.post_id,
        "head": _mention(triple.head),
        "tail": _mention(triple.tail),
        "r": triple.relation,
        "p": triple.score,
        "description": triple.description,
        "model": triple.model_id,
        "schema": triple.schema_id,
        "ranking": [[one.relation or "none", one.score] for one in triple.ranking or ()],
        "tokens": _scaled([(word.start, word.end, word.weight) for word in words]),
        "patches": None if attribution is None else _patches(attribution.regions),
    }


def _mention(mention: Mention) -> dict[str, Any]:
    if isinstance(mention, EntityMention):
        return {"text": mention.text, "start": mention.start, "end": mention.end}
    return {"text": mention.surface, "box": mention.box}


def _scaled(weights: Sequence[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """Scale weights so that the largest is 1 in size."""
    largest = max((abs(weight) for _, _, weight in weights), default=0) or 1
    return [(start, end, round(weight / largest, 3)) for start, end, weight in weights]


def _patches(regions: Sequence[tuple[Box, float]]) -> dict[str, Any] | None:
    """Return the weights of a grid of patches, row by row."""
    if not regions:
        return None
    columns = len({box[0] for box, _ in regions})
    largest = max(abs(weight) for _, weight in regions) or 1
    return {
        "rows": len(regions) // columns,
        "cols": columns,
        "weights": [round(weight / largest, 3) for _, weight in regions],
    }


def image_data(image: Path | bytes | None) -> str | None:
    """Return a picture as a data URI, scaled down to :data:`IMAGE_SIZE`; None if there is none.

    One that :func:`rukh.modeling.image_io.load_image` cannot read counts as none.
    """
    from rukh.modeling.image_io import load_image

    if image is None:
        return None
    try:
        picture = load_image(image)
    except InputError:
        return None
    picture.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
