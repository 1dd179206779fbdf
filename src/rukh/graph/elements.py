"""What a knowledge graph consists of: entities and edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Entity:
    """An entity of a graph.

    Attributes:
        iri: Its identifier, which is made from its fullest name and its type.
        label: Its most frequent name.
        type: Its type, or None if unknown.
        aliases: Its other names.
    """

    iri: str
    label: str
    type: str | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edge:
    """A relation between two entities, with its support.

    Attributes:
        iri: Its identifier, which is made from the entities and the relation.
        posts, mentions: Number of posts that state it, and of their pairs of arguments.
        best: Highest probability of its triples.
        combined: Probability that at least one post is right, if they are independent.
        first, last: Times of the first and the last post that has a time, in UTC, or None.
        conflict: Why it contradicts other edges, or None: ``several tails`` or ``several heads`` of
            a functional relation, or ``both directions`` of a relation with an inverse.
    """

    iri: str
    head: Entity
    relation: str
    tail: Entity
    posts: int
    mentions: int
    best: float
    combined: float
    first: str | None = None
    last: str | None = None
    conflict: str | None = None


class Added(NamedTuple):
    """Numbers of triples: new ones, those that were there already, and those without a relation."""

    new: int
    known: int
    without_relation: int


class Changes(NamedTuple):
    """IRIs that are gone or out of date, and entities and posts, with times, that are new."""

    gone: list[str]
    entities: list[Entity]
    posts: list[tuple[str, str | None]]
