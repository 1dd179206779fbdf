"""What is added to a knowledge graph: triples with their posts, arguments, models and schemas.

Adding a triple a second time changes nothing, and so does a less probable one of the same source.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

from rukh.graph.iris import post_iri
from rukh.graph.names import Name
from rukh.records import (
    EntityMention,
    Mention,
    ObjectMention,
    Post,
    RankedRelation,
    Record,
    Triple,
    WordWeight,
    to_mention,
)

MAX_CACHED = 100_000
"""Maximum number of ids of names, posts and arguments that are kept in memory each."""


def utc(time: str | None) -> str | None:
    """Return a time in UTC, so that times can be compared as texts. A date stays a date.

    Example:
        >>> utc("2026-11-29"), utc("2026-11-29T09:30:00+02:00"), utc("2026-11-29T09:30:00")
        ('2026-11-29', '2026-11-29T07:30:00Z', '2026-11-29T09:30:00Z')
    """
    if time is None:
        return None
    with suppress(ValueError):
        return date.fromisoformat(time).isoformat()
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is not None:
        with suppress(OverflowError):  # at the first and the last day of the calendar
            moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def place_of(mention: Mention) -> str:
    """Return where a mention is in its post: its offsets, or its box as JSON."""
    if isinstance(mention, ObjectMention):
        return json.dumps(mention.box)
    return f"{mention.start}:{mention.end}"


BETTER = """
(excluded.score, excluded.details IS NOT NULL, coalesce(excluded.description, ''),
  coalesce(excluded.details, ''))
> (score, details IS NOT NULL, coalesce(description, ''), coalesce(details, ''))
"""
"""Whether a triple replaces the same one: it is more probable, or as probable and has a reason."""


class EvidenceWriter:
    """Writes triples to the tables of a graph.

    Args:
        connection: The tables, with a transaction that the caller commits.
        change: Number of this change, which marks new rows.

    Attributes:
        added: Number of triples that were new, or more probable than before.
        changed: Whether anything is new.
        posts: Ids of the posts with a new argument.
    """

    def __init__(self, connection: sqlite3.Connection, change: int) -> None:
        self.connection, self.change = connection, change
        self.added, self.changed = 0, False
        self.posts: set[int] = set()
        self._last_post: tuple[int, str | None] | None = None
        self._ids: dict[str, dict[tuple[Any, ...], int]] = {}

    def write(self, triple: Triple) -> None:
        """Write a triple that has a relation."""
        post = self._id("posts", name=triple.post_id)
        if (post, triple.time) != self._last_post:
            self._last_post = post, triple.time
            self._set_time(post, triple)
        head, tail = (self._argument(post, triple.post_id, m) for m in (triple.head, triple.tail))
        done = self.connection.execute(
            "INSERT INTO evidence (post, head, relation, tail, model, schema, score, description,"
            " details, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " score = excluded.score, description = excluded.description,"
            f" details = excluded.details, changed = excluded.changed WHERE {BETTER}",
            (post, head, triple.relation, tail, triple.model_id or "", triple.schema_id or "",
             triple.score, triple.description, _details(triple), self.change),
        )  # fmt: skip
        self.added += done.rowcount
        self.changed |= done.rowcount > 0

    def write_arguments(self, post: Post) -> None:
        """Write the entities of a post of which a triple has been written, also those of no triple.

        They tell which names stand in one post.
        """
        row = self.connection.execute("SELECT id FROM posts WHERE name = ?", (post.id,)).fetchone()
        if row is not None:
            for entity in post.entities:
                self._argument(row[0], post.id, to_mention(entity, post.text))

    def _set_time(self, post: int, triple: Triple) -> None:
        """Set the time of a post, of several the earliest, and mark a new post as changed."""
        done = self.connection.execute(
            "UPDATE posts SET time = CASE WHEN time < ?1 THEN time ELSE coalesce(?1, time) END,"
            " changed = ?2 WHERE id = ?3 AND (changed = 0 OR ?1 < coalesce(time, '~'))",
            (utc(triple.time), self.change, post),
        )
        if done.rowcount:
            self.changed = True
            mark_removed(self.connection, triple.post_id, self.change)

    def _argument(self, post: int, post_name: str, mention: Mention) -> int:
        object_ = ""
        if isinstance(mention, ObjectMention):
            object_ = json.dumps([post_name, mention.id])
        elif Name(mention.text, mention.type).generic:
            object_ = json.dumps([post_name, place_of(mention)])
        name = self._id("names", text=mention.surface, type=mention.type or "", object=object_)
        return self._id("arguments", post=post, place=place_of(mention), name=name)

    def _id(self, table: str, **values: str | int) -> int:
        """Return the id of the row with these values, which is inserted if there is none."""
        known = self._ids.setdefault(table, {})
        key = tuple(values.values())
        if (found := known.get(key)) is not None:
            return found
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        query = f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        done = self.connection.execute(query, key)
        if done.rowcount:
            found = done.lastrowid
            if table == "arguments":
                self.posts.add(int(values["post"]))
                self.changed = True
        else:
            same = " AND ".join(f"{column} = ?" for column in values)
            (found,) = self.connection.execute(
                f"SELECT id FROM {table} WHERE {same}", key
            ).fetchone()
        if len(known) >= MAX_CACHED:
            known.clear()
        known[key] = int(found or 0)
        return known[key]


class _Details(Record):
    """The fields of a triple of which nothing is asked."""

    reason: tuple[WordWeight, ...] | None = None
    ranking: tuple[RankedRelation, ...] | None = None


def _details(triple: Triple) -> str | None:
    details = _Details(reason=triple.reason, ranking=triple.ranking)
    return None if details == _Details() else details.model_dump_json()


def remove_post(connection: sqlite3.Connection, name: str, change: int) -> int:
    """Remove a post with its evidence. Return the number of triples."""
    row = connection.execute("SELECT id FROM posts WHERE name = ?", (name,)).fetchone() or (0,)
    removed = connection.execute("DELETE FROM evidence WHERE post = ?", row).rowcount
    connection.execute("DELETE FROM arguments WHERE post = ?", row)
    connection.execute("DELETE FROM posts WHERE id = ?", row)
    mark_removed(connection, name, change)
    connection.execute("DELETE FROM names WHERE id NOT IN (SELECT name FROM arguments)")
    return removed


def mark_removed(connection: sqlite3.Connection, post: str, change: int) -> None:
    """Note that what other forms of the graph say about a post is out of date."""
    connection.execute("INSERT OR REPLACE INTO removed VALUES (?, ?)", (post_iri(post), change))


QUERY = """
SELECT e.edge, p.name, h.text, h.type, h.object, a.place, e.relation, t.text, t.type, t.object,
  b.place, e.score, e.description, e.details, e.model, e.schema, p.time
FROM evidence e JOIN posts p ON p.id = e.post
JOIN arguments a ON a.id = e.head JOIN names h ON h.id = a.name
JOIN arguments b ON b.id = e.tail JOIN names t ON t.id = b.name
WHERE {where} ORDER BY e.edge, p.name, e.id
"""


def read_triples(
    connection: sqlite3.Connection, where: str = "true", values: Mapping[str, Any] | None = None
) -> Iterator[tuple[str | None, Triple]]:
    """Yield edges (None: within one entity) and their triples, as they were added, by edge.

    Args:
        where, values: A condition of SQL on ``evidence e``, and its named parameters.
    """
    for row in connection.execute(QUERY.format(where=where), values or {}):
        edge, post, *arguments, score, description, details, model, schema, time = row
        head, relation, tail = arguments[:4], arguments[4], arguments[5:]
        extra = _Details() if details is None else _Details.model_validate_json(details)
        triple = Triple.model_construct(
            post_id=post,
            head=_mention(*head),
            relation=relation,
            tail=_mention(*tail),
            score=score,
            description=description,
            reason=extra.reason,
            ranking=extra.ranking,
            model_id=model or None,
            schema_id=schema or None,
            time=time,
        )
        yield edge, triple


def _mention(text: str, type_: str, object_: str, place: str) -> Mention:
    if place.startswith("["):
        _, name = json.loads(object_)
        label = text if text not in (type_, name) else None
        return ObjectMention.model_construct(
            id=name, box=tuple(json.loads(place)), type=type_ or None, label=label
        )
    start, _, end = place.partition(":")
    return EntityMention.model_construct(
        id=place, text=text, start=int(start), end=int(end), type=type_ or None
    )
