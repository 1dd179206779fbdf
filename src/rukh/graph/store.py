"""The store of a knowledge graph: triples go in, entities and edges come out, with their evidence.

The evidence is kept in an SQLite file, ``graph.sqlite`` in the store's folder, and every change is
one transaction. Entities and edges are a function of the evidence, the schemas and a person's
rules, so neither the order of additions nor an interrupted one changes them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Unpack

from rukh.errors import InputError, suggestion
from rukh.graph.derivation import derive, set_relations
from rukh.graph.elements import Added, Changes, Edge, Entity
from rukh.graph.evidence import EvidenceWriter, read_triples, remove_post
from rukh.graph.explanation import explain_names
from rukh.graph.filters import EDGES, EdgeFilters, condition_on_edges
from rukh.graph.graph_file import GraphFile
from rukh.graph.names import Name
from rukh.graph.resolution import NO_RULES, MergeRules
from rukh.records import Post, Triple
from rukh.schema.schema import RelationSchema, shipped_schemas

logger = logging.getLogger(__name__)


class KnowledgeGraph(GraphFile):
    """A knowledge graph in a folder.

    Args:
        folder: The folder of the store.
        create: Whether to make the store if it is not there.
        read_only: Whether the graph is only read, and not made. Several processes may read one
            store, also while another writes to it.

    Raises:
        InputError: The folder is no store.

    Example:
        >>> import tempfile
        >>> from rukh import Triple
        >>> def mention(id, text, start, type):
        ...     end = start + len(text)
        ...     return {"id": id, "text": text, "start": start, "end": end, "type": type}
        >>> ann, rome = mention("a", "Ann Lee", 0, "PER"), mention("r", "Rome", 20, "LOC")
        >>> triple = Triple(post_id="1", head=ann, tail=rome, relation="born in", score=0.9)
        >>> with tempfile.TemporaryDirectory() as folder, KnowledgeGraph(folder) as graph:
        ...     print(graph.add([triple]), graph.add([triple]))
        ...     print([(edge.head.label, edge.relation, edge.tail.label) for edge in graph.edges()])
        Added(new=1, known=0, without_relation=0) Added(new=0, known=1, without_relation=0)
        [('Ann Lee', 'born in', 'Rome')]
    """

    def add(
        self,
        triples: Iterable[Triple],
        *,
        posts: Iterable[Post] = (),
        schema: RelationSchema | None = None,
        rules: MergeRules | None = None,
    ) -> Added:
        """Add triples. What is there already is not added again.

        Args:
            triples: The triples. Those without a relation are left out.
            posts: Posts of these triples, with all their entities, from which it is known which
                names stand in one post. Without them, only arguments of triples are.
            schema: Says which relations are symmetric, inverse, functional or aliases. Shipped
                schemas that triples name are known without it.
            rules: Rules for the merging of names, which replace those of the store.

        Raises:
            InputError: Another process is writing to the store, or a triple cannot be read.
        """
        added = without = total = 0
        with self._transaction() as change:
            writer = EvidenceWriter(self._connection, change)
            new_rules = self._set(schema, rules)
            known = [schema] if schema is not None else self.schemas()
            nota: dict[str | None, str | None] = {None: known[0].nota if len(known) == 1 else None}
            for triple in triples:
                if triple.schema_id not in nota:
                    name = str(triple.schema_id).partition("@")[0]
                    nota[triple.schema_id] = self._know_by_name(name)
                if triple.relation in (None, nota[triple.schema_id]):
                    without += 1
                    continue
                total += 1
                writer.write(triple)
            for post in posts:
                writer.write_arguments(post)
            added = writer.added
            if writer.changed or new_rules or self._read("schemas changed") == str(change):
                self._derive(change, self._all_posts() if new_rules else writer.posts)
            else:
                self._write("change", str(change - 1))
                self._connection.execute("DELETE FROM changes WHERE number = ?", (change,))
        return Added(added, total - added, without)

    def _set(self, schema: RelationSchema | None, rules: MergeRules | None) -> bool:
        """Store a schema and rules, if they are given; return whether the rules are new."""
        if schema is not None:
            self._know(schema)
        if rules is None or rules == self.rules:
            return False
        self._write("rules", rules.model_dump_json())
        return True

    def _know(self, schema: RelationSchema, kind: str = "given") -> None:
        key, text = f"schema {kind} {schema.name}", schema.model_dump_json()
        if text != self._read(key):
            self._write(key, text)
            self._write("schemas changed", str(self.change))

    def _know_by_name(self, name: str) -> str | None:
        """Let the graph know a shipped schema by its name; return the NOTA of a known schema."""
        given = self._read(f"schema given {name}")
        if given is not None:
            return RelationSchema.model_validate_json(given).nota
        if name not in shipped_schemas():
            logger.warning(
                "the graph does not know schema %r; give it, so that it is known which relations "
                "are symmetric, inverse or functional (--schema)",
                name,
            )
            return None
        schema = RelationSchema.load(name)
        self._know(schema, "shipped")
        return schema.nota

    def remove(self, posts: Sequence[str]) -> int:
        """Remove posts, given by their ids, with all that only they state.

        Returns:
            The number of triples removed.

        Raises:
            InputError: A post is not in the graph, or another process is writing to the store.
        """
        removed = 0
        with self._transaction() as change:
            known = {name for (name,) in self._rows("SELECT name FROM posts")}
            for post in posts:
                if post not in known:
                    fix = suggestion(post, known)
                    raise InputError(f"post {post!r} is not in the graph", fix=fix)
                removed += remove_post(self._connection, post, change)
            self._derive(change, set())
        return removed

    def resolve(
        self, rules: MergeRules | None = None, schema: RelationSchema | None = None
    ) -> None:
        """Make the entities and edges anew, with other rules or another schema. None: as before."""
        with self._transaction() as change:
            self._set(schema, rules)
            self._derive(change, self._all_posts())

    def _derive(self, change: int, posts: set[int]) -> None:
        set_relations(self._connection, self.schemas())
        derive(self._connection, self.rules, change, posts)

    def _all_posts(self) -> set[int]:
        return {post for (post,) in self._connection.execute("SELECT id FROM posts")}

    @property
    def rules(self) -> MergeRules:
        """A person's rules for the merging of names."""
        stored = self._read("rules")
        return NO_RULES if stored is None else MergeRules.model_validate_json(stored)

    def schemas(self) -> list[RelationSchema]:
        """Return the schemas that the graph knows: those that were given, then shipped ones."""
        query = "SELECT value FROM meta WHERE key LIKE 'schema %' ORDER BY key"
        rows = self._connection.execute(query).fetchall()
        return [RelationSchema.model_validate_json(text) for (text,) in rows]

    def entities(self, **filters: Unpack[EdgeFilters]) -> Iterator[Entity]:
        """Yield the entities, ordered by IRI; only those of edges that filters leave, if given.

        Args:
            filters: Arguments of :meth:`edges`.
        """
        condition, values = condition_on_edges(filters)
        chosen = (
            f"id IN (SELECT head FROM {EDGES} WHERE {condition})"
            f" OR id IN (SELECT tail FROM {EDGES} WHERE {condition})"
        )
        return self._entities(chosen if filters else "true", values)

    def posts(self, **filters: Unpack[EdgeFilters]) -> list[tuple[str, str | None]]:
        """Return the posts and their times in UTC; only those of edges that filters leave."""
        condition, values = condition_on_edges(filters)
        chosen = (
            "id IN (SELECT v.post FROM evidence v WHERE v.edge IN"
            f" (SELECT e.iri FROM {EDGES} WHERE {condition}))"
        )
        return self._posts(chosen if filters else "true", values)

    def edges(self, **filters: Unpack[EdgeFilters]) -> Iterator[Edge]:
        """Yield edges, ordered by IRI.

        Args:
            filters: ``relation``, ``min_probability``, ``since``, ``until``, ``entity``,
                ``conflicting`` and ``changed_after``, which choose edges; see
                :class:`rukh.graph.filters.EdgeFilters`.

        Raises:
            InputError: ``since`` or ``until`` is no date or time.
        """
        condition, values = condition_on_edges(filters)
        query = (
            "SELECT e.iri, relation, posts, mentions, best, combined, first, last, conflict,"
            " h.iri, h.label, h.type, h.aliases, t.iri, t.label, t.type, t.aliases"
            f" FROM {EDGES} WHERE {condition} ORDER BY e.iri"
        )
        known: dict[str, Entity] = {}
        for iri, name, *support, a, b, c, d, p, q, r, s in self._connection.execute(query, values):
            for row in ((a, b, c, d), (p, q, r, s)):
                if row[0] not in known:
                    known[row[0]] = _entity(row)
            yield Edge(iri, known[a], name, known[p], *support)

    def evidence(self, edge: str | None = None) -> Iterator[Triple]:
        """Yield the triples of an edge, given by its IRI, or all triples of the graph, by edge.

        ``relation``, head and tail are as they were extracted, so that they may stand the other
        way round than in the edge. The ids of entities are their offsets.
        """
        if edge is None:
            found = read_triples(self._connection)
        else:
            found = read_triples(self._connection, "e.edge = :edge", {"edge": edge})
        return (triple for _, triple in found)

    def edges_with_evidence(
        self, **filters: Unpack[EdgeFilters]
    ) -> Iterator[tuple[Edge, list[Triple]]]:
        """Yield edges, ordered by IRI, with the triples that state them.

        Args:
            filters: Arguments of :meth:`edges`.
        """
        condition, values = condition_on_edges(filters)
        chosen = f"e.edge IN (SELECT e.iri FROM {EDGES} WHERE {condition})"
        triples = read_triples(self._connection, chosen, values)
        by_edge = groupby(triples, key=lambda pair: pair[0])
        # Both are in the order of the edges' IRIs, and every edge has a triple.
        for edge, (_, some) in zip(self.edges(**filters), by_edge, strict=True):
            yield edge, [triple for _, triple in some]

    def find(self, name: str) -> list[Entity]:
        """Return the entities with a name or an IRI."""
        named = self._entities("iri = :name OR label = :name", {"name": name})
        found = {entity.iri: entity for entity in named}
        query = (
            "SELECT DISTINCT n.text, n.type, e.iri, e.label, e.type, e.aliases FROM names n"
            " JOIN entities e ON e.id = n.entity WHERE n.object = ''"
        )
        words = {type_: Name(name, type_).words for type_ in (None, "PER", "ORG")}
        for text, type_, *row in self._rows(query):
            own = Name(text, type_ or None)
            if own.words == words.get(own.kind, words[None]):
                found.setdefault(row[0], _entity(row))
        return list(found.values())

    def why(self, one: str, two: str) -> list[str]:
        """Say why two names are one entity, or why they are two, in one line each.

        Raises:
            InputError: The graph has no such name.
        """
        return explain_names(self._connection, self.rules, one, two)

    def counts(self) -> dict[str, int]:
        """Return the number of posts, triples, names, entities, edges and conflicting edges."""
        queries = {
            "posts": "posts",
            "triples": "evidence",
            "names": "names",
            "entities": "entities",
            "edges": "edges",
            "edges in conflict": "edges WHERE conflict IS NOT NULL",
            "triples within one entity": "evidence WHERE edge IS NULL",
        }
        return {
            name: self._rows(f"SELECT count(*) FROM {source}")[0][0]
            for name, source in queries.items()
        }

    def num_edges(self, **filters: Unpack[EdgeFilters]) -> int:
        """Return the number of edges that filters leave."""
        condition, values = condition_on_edges(filters)
        query = f"SELECT count(*) FROM {EDGES} WHERE {condition}"
        return int(self._rows(query, values)[0][0])

    def relation_counts(self) -> dict[str, int]:
        """Return the number of edges of each relation, the most frequent first."""
        query = "SELECT relation, count(*) FROM edges GROUP BY relation ORDER BY 2 DESC, 1"
        return dict(self._rows(query))

    def changes(self, after: int) -> Changes:
        """Return what is new, changed or gone since a change of the graph, given by its number.

        :meth:`edges` with ``changed_after`` yields the edges.
        """
        gone = self._rows("SELECT iri FROM removed WHERE changed > ?", [after])
        new, values = "changed > :after", {"after": after}
        entities, posts = list(self._entities(new, values)), self._posts(new, values)
        return Changes([iri for (iri,) in gone], entities, posts)

    def _entities(self, where: str, values: Mapping[str, Any]) -> Iterator[Entity]:
        query = f"SELECT iri, label, type, aliases FROM entities WHERE {where} ORDER BY iri"
        return map(_entity, self._rows(query, values))

    def _posts(self, where: str, values: Mapping[str, Any]) -> list[tuple[str, str | None]]:
        query = f"SELECT name, time FROM posts WHERE {where} ORDER BY name"
        return [(name, time) for name, time in self._rows(query, values)]

    def canonical(self, relation: str) -> str:
        """Return the name under which the graph has a relation: of two inverses, the first.

        Raises:
            InputError: Neither the schemas nor the triples have this relation.
        """
        known = dict(self._rows("SELECT name, canonical FROM relations"))
        known |= {name: name for name in self.relation_counts() if name not in known}
        if relation not in known:
            problem = f"the graph has no relation {relation!r}"
            raise InputError(problem, fix=suggestion(relation, known))
        return str(known[relation])


def _entity(row: Sequence[Any]) -> Entity:
    iri, label, type_, aliases = row
    return Entity(iri, label, type_, tuple(json.loads(aliases)))
