"""Which edges of a graph are asked for, as a condition of SQL."""

from __future__ import annotations

from typing import Any, TypedDict

from rukh.errors import InputError
from rukh.graph.evidence import utc

EDGES = "edges e JOIN entities h ON h.id = e.head JOIN entities t ON t.id = e.tail"
"""The edges with their heads and tails, in SQL."""


class EdgeFilters(TypedDict, total=False):
    """Which edges are chosen. What is absent or None chooses all.

    Attributes:
        relation: Only edges of this relation.
        min_probability: Minimum combined probability.
        since, until: Only edges with a post in this time, as a date or time in ISO 8601, both
            included.
        entity: Only edges from or to the entity with this IRI.
        conflicting: Only edges that contradict others.
        changed_after: Only edges that are new or changed after this change of the graph.
    """

    relation: str | None
    min_probability: float
    since: str | None
    until: str | None
    entity: str
    conflicting: bool
    changed_after: int


CONDITIONS = {
    "relation": "relation = :relation",
    "min_probability": "combined >= :min_probability",
    "entity": ":entity IN (h.iri, t.iri)",
    "conflicting": "conflict IS NOT NULL",
    "changed_after": "e.changed > :changed_after",
}
"""The condition of each filter, in SQL."""
TIMES = {  # a time is compared with a date as a date
    "since": "p.time >= substr(:since, 1, length(p.time))",
    "until": "substr(p.time, 1, length(:until)) <= substr(:until, 1, length(p.time))",
}
"""The conditions on one and the same post of an edge."""


def condition_on_edges(filters: EdgeFilters) -> tuple[str, dict[str, Any]]:
    """Return a condition of SQL on an edge of :data:`EDGES`, and the values of its parameters.

    Raises:
        InputError: ``since`` or ``until`` is no date or time.
        TypeError: There is no such filter.
    """
    if unknown := filters.keys() - EdgeFilters.__annotations__:
        raise TypeError(f"no filter of edges is called {min(unknown)!r}")
    values: dict[str, Any] = {
        name: value for name, value in filters.items() if value is not None and value is not False
    }
    conditions = [condition for name, condition in CONDITIONS.items() if name in values]
    times = [condition for name, condition in TIMES.items() if name in values]
    if times:
        values |= {name: _moment(values[name]) for name in TIMES if name in values}
        conditions.append(
            "EXISTS (SELECT 1 FROM evidence v JOIN posts p ON p.id = v.post WHERE v.edge = e.iri"
            f" AND {' AND '.join(times)})"
        )
    return " AND ".join(conditions) or "true", values


def _moment(time: str) -> str | None:
    """Return a time in UTC. Raises InputError for what is none."""
    try:
        return utc(time)
    except ValueError:
        fix = "write it as 2026-11-29 or 2026-11-29T08:30:00Z"
        raise InputError(f"{time!r} is no date or time", fix=fix) from None
