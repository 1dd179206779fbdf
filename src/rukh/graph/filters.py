"""Which edges of a graph are asked for, as a condition of SQL."""

from __future__ import annotations

from typing import Any

from rukh.errors import InputError
from rukh.graph.evidence import utc

EDGES = "edges e JOIN entities h ON h.id = e.head JOIN entities t ON t.id = e.tail"
"""The edges with their heads and tails, in SQL."""


def _moment(time: str | None) -> str | None:
    """Return a time in UTC. Raises InputError for what is none."""
    try:
        return utc(time)
    except ValueError:
        fix = "write it as 2026-11-29 or 2026-11-29T08:30:00Z"
        raise InputError(f"{time!r} is no date or time", fix=fix) from None


def condition_on_edges(
    relation: str | None = None,
    min_probability: float = 0,
    since: str | None = None,
    until: str | None = None,
    entity: str | None = None,
    conflicting: bool = False,
    changed_after: int = -1,
) -> tuple[str, list[Any]]:
    """Return a condition of SQL on an edge, numbered parameters included, and their values."""
    values = [
        min_probability,
        relation,
        _moment(since),
        _moment(until),
        None,
        entity,
        changed_after,
    ]
    conditions = ["combined >= ?1", "e.changed > ?7"]
    conditions += ["relation = ?2"] if relation is not None else []
    if since is not None or until is not None:
        # A time is compared with a date as a date.
        conditions.append(
            "EXISTS (SELECT 1 FROM evidence v JOIN posts p ON p.id = v.post WHERE v.edge = e.iri"
            " AND (?3 IS NULL OR p.time >= substr(?3, 1, length(p.time)))"
            " AND (?4 IS NULL OR substr(p.time, 1, length(?4)) <= substr(?4, 1, length(p.time)))"
            " AND p.time IS NOT NULL)"
        )
    conditions += ["?6 IN (h.iri, t.iri)"] if entity is not None else []
    conditions += ["conflict IS NOT NULL"] if conflicting else []
    return " AND ".join(conditions), values
