"""The entities and edges of a knowledge graph, made from its evidence, its schemas and its rules.

They are a function of these alone. Rows that this changes are marked with the number of the change,
and what disappears is listed, so that other forms of the graph can follow.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from rukh.graph.iris import edge_iri, entity_iri, object_iri
from rukh.graph.names import Name
from rukh.graph.resolution import MergeRules, full_names, resolve
from rukh.schema.schema import RelationSchema

MIN_ALIAS = 0.8
"""Minimum probability of a triple that says that two names are one entity, to be believed."""


def derive(connection: sqlite3.Connection, rules: MergeRules, change: int, posts: set[int]) -> None:
    """Make entities and edges anew, given the posts whose arguments have changed."""
    _find_full_names(connection, rules, posts)
    _make_entities(connection, rules, change)
    _make_edges(connection, change)
    _mark_conflicts(connection, change)


def set_relations(connection: sqlite3.Connection, schemas: Iterable[RelationSchema]) -> None:
    """Write what schemas say about relations. Of a name in two of them, the first one counts."""
    rows: dict[str, tuple[Any, ...]] = {}
    for schema in schemas:
        for place, relation in enumerate(schema.relations):
            name, inverse = relation.name, schema.inverse_of(relation.name)
            kept, functional = name, relation.functional
            inverse_functional = directed = False
            if inverse is not None and inverse != name:
                other = schema.relation(inverse)
                directed, inverse_functional = True, other.functional
                if schema.relations.index(other) < place:
                    kept = inverse
                    functional, inverse_functional = inverse_functional, functional
            flags = (kept != name, relation.symmetric, directed, functional, inverse_functional)
            rows.setdefault(name, (name, kept, *flags, relation.alias))
    connection.execute("DELETE FROM relations")
    connection.executemany("INSERT INTO relations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows.values())


def _find_full_names(connection: sqlite3.Connection, rules: MergeRules, posts: set[int]) -> None:
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS touched (post INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM touched")
    connection.executemany("INSERT INTO touched VALUES (?)", ((post,) for post in posts))
    query = (
        "SELECT a.post, a.id, a.name, n.text, n.type, a.full FROM arguments a"
        " JOIN names n ON n.id = a.name JOIN touched USING (post) WHERE n.object = ''"
        " ORDER BY a.post"
    )
    updates = []
    for _, group in groupby(connection.execute(query), key=lambda row: row[0]):
        rows = list(group)
        ids = {name: Name(text, type_ or None) for _, _, name, text, type_, _ in rows}
        places = list(ids)
        found = full_names(list(ids.values()), rules) if len(ids) > 1 else {}
        full = {places[k]: (places[other], rule) for k, (other, rule) in found.items()}
        for _, argument, name, _, _, before in rows:
            now, rule = full.get(name, (None, None))
            if now != before:
                updates.append((now, rule, argument))
    connection.executemany("UPDATE arguments SET full = ?, rule = ? WHERE id = ?", updates)


def _make_entities(connection: sqlite3.Connection, rules: MergeRules, change: int) -> None:
    rows = connection.execute(
        "SELECT n.id, n.text, n.type, n.object, count(a.id) FROM names n"
        " LEFT JOIN arguments a ON a.name = n.id GROUP BY n.id ORDER BY n.text, n.type, n.object"
    ).fetchall()
    named = [row for row in rows if not row[3]]
    names = [Name(text, type_ or None) for _, text, type_, _, _ in named]
    place = {row[0]: k for k, row in enumerate(named)}
    acronyms = connection.execute(
        "SELECT DISTINCT name, full FROM arguments WHERE rule = 'acronym' ORDER BY name, full"
    ).fetchall()
    aliases = connection.execute(
        "SELECT DISTINCT coalesce(a.full, a.name), coalesce(b.full, b.name) FROM evidence e"
        " JOIN relations r ON r.name = e.relation AND r.alias JOIN arguments a ON a.id = e.head"
        " JOIN arguments b ON b.id = e.tail WHERE e.score >= ?",
        (MIN_ALIAS,),
    ).fetchall()
    found = resolve(
        names,
        acronyms=[(place[a], place[b]) for a, b in acronyms],
        aliases=[(place[a], place[b]) for a, b in aliases if a in place and b in place],
        rules=rules,
    )
    entity_of = [(named[first][0], named[k][0]) for k, first in enumerate(found.entity)]
    entity_of += [(row[0], row[0]) for row in rows if row[3]]
    connection.executemany(
        "UPDATE names SET entity = ?1 WHERE id = ?2 AND entity IS NOT ?1", entity_of
    )
    for table, links in (
        ("links", [(named[a][0], named[b][0], rule) for a, b, rule in found.links]),
        ("ambiguous", [(named[k][0], named[o][0], rule)
                       for k, others, rule in found.ambiguous for o in others]),
    ):  # fmt: skip
        connection.execute(f"DELETE FROM {table}")
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", links)
    members: dict[int, list[int]] = defaultdict(list)
    for k, first in enumerate(found.entity):
        members[first].append(k)
    # A name of no triple helps to resolve the others, but is no entity of the graph.
    used = {
        name
        for (name,) in connection.execute(
            "SELECT coalesce(full, name) FROM arguments WHERE id IN (SELECT head FROM evidence"
            " UNION SELECT tail FROM evidence)"
        )
    }
    entities = []
    taken: dict[str, int] = {}
    for first, group in members.items():
        if used.isdisjoint(named[k][0] for k in group):
            continue
        iri = entity_iri(max((names[k] for k in group), key=_completeness))
        taken[iri] = taken.get(iri, 0) + 1
        if taken[iri] > 1:  # kept apart by a rule, although the names are the same
            iri += f":{taken[iri]}"
        best = max(group, key=lambda k: (not names[k].handle, named[k][4], _completeness(names[k])))
        types = sorted({names[k].kind or "" for k in group} - {"", "MISC"})
        type_ = types[0] if types else next((t for k in group if (t := names[k].kind)), None)
        own = next((named[k][2] for k in group if names[k].kind == type_), type_)
        label = named[best][1]
        others = sorted({named[k][1] for k in group} - {label})
        told = json.dumps(others, ensure_ascii=False)
        entities.append((iri, named[first][0], label, own or None, told))
    for id_, text, type_, object_, _ in rows:
        if object_:
            iri = object_iri(object_)
            entities.append((iri, id_, text, type_ or None, "[]"))
    columns = ("iri", "id", "label", "type", "aliases")
    with _wanted(connection, "entities", columns) as insert:
        connection.executemany(insert, entities)
        _replace(connection, "entities", columns, change)


def _completeness(name: Name) -> tuple[Any, ...]:
    return (not name.handle, name.acronym is None, len(name.words), len(name.letters), name.text)


def _make_edges(connection: sqlite3.Connection, change: int) -> None:
    connection.create_function("edge_iri", 3, edge_iri, deterministic=True)
    connection.create_aggregate("any_of", 1, _AnyOf)  # type: ignore[arg-type]
    # Both directions of a symmetric relation, and inverse relations, are one edge.
    connection.execute("""
        CREATE TEMP TABLE resolved AS
        SELECT id, post, pair, score, changed, relation,
          CASE WHEN swap THEN t ELSE h END AS head, CASE WHEN swap THEN h ELSE t END AS tail,
          edge_iri(CASE WHEN swap THEN ti ELSE hi END, relation, CASE WHEN swap THEN hi ELSE ti END)
            AS iri
        FROM (
          SELECT e.id, e.post, e.score, e.changed,
            min(e.head, e.tail) || ':' || max(e.head, e.tail) AS pair,
            coalesce(r.canonical, e.relation) AS relation,
            h.id AS h, t.id AS t, h.iri AS hi, t.iri AS ti,
            coalesce(r.flipped, 0) OR (coalesce(r.symmetric, 0) AND h.iri > t.iri) AS swap
          FROM evidence e LEFT JOIN relations r ON r.name = e.relation
          JOIN arguments a ON a.id = e.head JOIN names n ON n.id = coalesce(a.full, a.name)
          JOIN arguments b ON b.id = e.tail JOIN names m ON m.id = coalesce(b.full, b.name)
          JOIN entities h ON h.id = n.entity JOIN entities t ON t.id = m.entity
        ) WHERE h <> t
        """)
    columns = ("iri", "head", "relation", "tail", "posts", "mentions", "best", "combined", "first",
               "last", "triples", "latest")  # fmt: skip
    with _wanted(connection, "edges", columns) as insert:
        # A post counts once in the combined probability, however often it states the triple.
        connection.execute(insert.partition(" VALUES")[0] + """
            SELECT iri, head, relation, tail, count(*), sum(mentions), max(best),
              round(any_of(best), 6), min(time), max(time), sum(triples), max(latest)
            FROM (
              SELECT iri, head, relation, tail, post, count(DISTINCT pair) AS mentions,
                max(score) AS best, count(*) AS triples, max(changed) AS latest
              FROM resolved GROUP BY iri, post
            ) JOIN posts p ON p.id = post GROUP BY iri
            """)  # fmt: skip
        _replace(connection, "edges", columns, change)
    connection.execute("CREATE INDEX temp.resolved_id ON resolved (id)")
    connection.execute(
        "UPDATE evidence SET edge = (SELECT iri FROM resolved r WHERE r.id = evidence.id)"
        " WHERE edge IS NOT (SELECT iri FROM resolved r WHERE r.id = evidence.id)"
    )
    connection.execute("DROP TABLE resolved")


class _AnyOf:
    """The probability that at least one of some independent statements holds."""

    def __init__(self) -> None:
        self.none = 1.0

    def step(self, probability: float) -> None:
        self.none *= 1 - probability

    def finalize(self) -> float:
        return 1 - self.none


CONFLICTS = {
    "several tails": """
        SELECT iri FROM edges JOIN relations r ON r.name = relation AND r.functional
        JOIN (SELECT head, relation FROM edges GROUP BY 1, 2 HAVING count(*) > 1)
        USING (head, relation)""",
    "several heads": """
        SELECT iri FROM edges JOIN relations r ON r.name = relation AND r.inverse_functional
        JOIN (SELECT tail, relation FROM edges GROUP BY 1, 2 HAVING count(*) > 1)
        USING (tail, relation)""",
    "both directions": """
        SELECT e.iri FROM edges e JOIN relations r ON r.name = e.relation AND r.directed
        JOIN edges o ON o.head = e.tail AND o.tail = e.head AND o.relation = e.relation""",
}
"""Why edges contradict each other, and how such edges are found."""


def _mark_conflicts(connection: sqlite3.Connection, change: int) -> None:
    connection.execute("CREATE TEMP TABLE marks (iri TEXT PRIMARY KEY, kind TEXT)")
    for kind, query in CONFLICTS.items():
        connection.execute(
            f"INSERT INTO marks SELECT iri, '{kind}' FROM ({query}) WHERE true"
            " ON CONFLICT DO UPDATE SET kind = kind || ', ' || excluded.kind"
        )
    kind = "(SELECT kind FROM marks m WHERE m.iri = edges.iri)"
    connection.execute(
        "INSERT INTO removed SELECT iri, ?1 FROM edges WHERE conflict IS NOT"
        f" {kind} ON CONFLICT DO UPDATE SET changed = ?1",
        (change,),
    )
    connection.execute(
        f"UPDATE edges SET changed = ?, conflict = {kind} WHERE conflict IS NOT {kind}", (change,)
    )
    connection.execute("DROP TABLE marks")


@contextmanager
def _wanted(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[str]:
    """Make a temporary table of the rows that a table is to have; yield how to insert a row."""
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"CREATE TEMP TABLE wanted AS SELECT {names} FROM {table} WHERE false")
    yield f"INSERT INTO wanted VALUES ({marks})"
    connection.execute("DROP TABLE wanted")


def _replace(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], change: int
) -> None:
    """Give a table the wanted rows. Rows that it has already are kept; list what is removed."""
    connection.execute("CREATE INDEX temp.wanted_iri ON wanted (iri)")
    equal = " AND ".join(f"w.{column} IS {table}.{column}" for column in columns)
    gone = f"FROM {table} WHERE NOT EXISTS (SELECT 1 FROM wanted w WHERE {equal})"
    connection.execute(
        f"INSERT INTO removed SELECT iri, ?1 {gone} ON CONFLICT DO UPDATE SET changed = ?1",
        (change,),
    )
    connection.execute(f"DELETE {gone}")
    names = ", ".join(columns)
    connection.execute(
        f"INSERT INTO {table} ({names}, changed) SELECT {names}, ? FROM wanted"
        f" WHERE iri NOT IN (SELECT iri FROM {table})",
        (change,),
    )
