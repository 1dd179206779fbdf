"""Why two names are one entity, or why they are two."""

from __future__ import annotations

import sqlite3
from collections import defaultdict, deque
from typing import NamedTuple

from rukh.errors import InputError, suggestion
from rukh.graph.names import Name, compatible
from rukh.graph.resolution import MergeRules

REASONS = {
    "same name": "the same words, but for case, accents, articles, titles and legal forms",
    "handle": "the same letters, as a hashtag or an account",
    "initials": "a person's name with initials; nobody else here fits",
    "short name": "a part of the person's name, in the same post",
    "acronym": "its initials, in the same post; no other name here fits",
    "spelling": "one letter of a long word differs",
    "alias": "a relation says that they are names of one entity",
}
"""What each rule of a merge says."""


class _Row(NamedTuple):
    id: int
    name: Name
    entity: int

    def __str__(self) -> str:
        return f"{self.name.text!r} ({self.name.type or 'no type'})"


def explain_names(
    connection: sqlite3.Connection, rules: MergeRules, one: str, two: str
) -> list[str]:
    """Explain, for each pair of names with these texts, why they are one entity or two."""
    rows = {
        id_: _Row(id_, Name(text, type_ or None), entity)
        for id_, text, type_, entity in connection.execute(
            "SELECT id, text, type, entity FROM names WHERE object = ''"
        )
    }
    found = {
        frozenset((a.id, b.id)): (a, b)
        for a in _with_text(rows, one)
        for b in _with_text(rows, two)
        if a.id != b.id
    }
    pairs = list(found.values())
    if not pairs:
        (only,) = _with_text(rows, one)
        return [f"{only} is one name in this graph, so it is one entity"]
    return [_explain(connection, rules, rows, a, b) for a, b in pairs]


def _with_text(rows: dict[int, _Row], text: str) -> list[_Row]:
    found = [row for row in rows.values() if row.name.text == text]
    if not found:
        found = [row for row in rows.values() if row.name.text.casefold() == text.casefold()]
    if not found:
        known = [row.name.text for row in rows.values()]
        raise InputError(f"no name {text!r} in the graph", fix=suggestion(text, known))
    return sorted(found, key=lambda row: (row.name.text, row.name.type or ""))


def _explain(
    connection: sqlite3.Connection,
    rules: MergeRules,
    rows: dict[int, _Row],
    one: _Row,
    two: _Row,
) -> str:
    if one.entity == two.entity:
        steps = _path(connection, one.id, two.id)
        told = "; ".join(
            f"{rows[a]} is {rows[b]}: {REASONS.get(rule, rule)}" for a, b, rule in steps
        )
        return f"one entity: {told}"
    prefix = f"two entities: {one} and {two}"
    reasons: list[str] = []
    if not compatible(one.name.kind, two.name.kind):
        reasons.append(f"{one.name.kind} and {two.name.kind} cannot be one")
    if {one.name.gender, two.name.gender} == {"m", "f"}:
        reasons.append("their titles contradict each other")
    if rules.forbids(one.name, two.name):
        reasons.append("a person's rule keeps them apart")
    for a, b in ((one, two), (two, one)):
        others = connection.execute(
            "SELECT other, rule FROM ambiguous WHERE name = ?", (a.id,)
        ).fetchall()
        fits = {rows[other].entity for other, _ in others}
        if b.entity in fits:
            names = ", ".join(str(rows[other]) for other, _ in others)
            reasons.append(f"{a} could be any of {names}")
        posts = connection.execute(
            "SELECT DISTINCT p.name FROM arguments a JOIN posts p ON p.id = a.post"
            " JOIN names n ON n.id = a.full WHERE a.name = ? AND n.entity = ? LIMIT 3",
            (a.id, b.entity),
        ).fetchall()
        if posts:
            listed = ", ".join(repr(post) for (post,) in posts)
            reasons.append(f"but {a} is short for {b} in the posts {listed}, where both stand")
    return f"{prefix}: {'; '.join(reasons) or 'no rule says that they are one'}"


def _path(connection: sqlite3.Connection, start: int, end: int) -> list[tuple[int, int, str]]:
    """Return the merges by which two names became one entity."""
    steps: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for a, b, rule in connection.execute("SELECT one, two, rule FROM links"):
        steps[a].append((b, rule))
        steps[b].append((a, rule))
    came: dict[int, tuple[int, str]] = {start: (start, "")}
    queue = deque([start])
    while queue and end not in came:
        here = queue.popleft()
        for other, rule in steps[here]:
            if other not in came:
                came[other] = (here, rule)
                queue.append(other)
    path = []
    while end != start:
        before, rule = came[end]
        path.append((before, end, rule))
        end = before
    return path[::-1]
