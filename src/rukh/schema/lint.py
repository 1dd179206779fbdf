"""What is wrong, or looks wrong, with a schema of relations, before a model is given it.

Errors are facts that make a schema unfit: the same text for two relations, types that contradict
each other, text that the encoder never reads, no description. Warnings are judgements, or work that
is left to do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from rukh.records import Record
from rukh.schema.descriptions import bare
from rukh.schema.schema import Relation, RelationSchema
from rukh.schema.similarity import Embedder, embed_schema

NEAR = 0.9
"""The cosine from which two relations' descriptions are too close to be told apart."""


class Finding(Record):
    """One finding.

    Attributes:
        level: ``error`` or ``warning``.
        rule: Its name, as docs/descriptions.md lists them.
        relations: The relations that it is about.
        message: What is wrong.
        texts: The descriptions that it is about.
    """

    level: Literal["error", "warning"]
    rule: str
    relations: tuple[str, ...]
    message: str
    texts: tuple[str, ...] = ()


def lint(schema: RelationSchema, embedder: Embedder, near: float = NEAR) -> list[Finding]:
    """All findings, errors first.

    Args:
        schema: The relations; may lack descriptions.
        embedder: Says what lies near, and what is too long.
        near: The least cosine of a near-duplicate.
    """
    relations = [r for r in schema.relations if r.name != schema.nota]
    found = [
        *_types(schema, relations),
        *_words(schema, relations),
        *_texts(relations),
        *_states(schema, embedder),
        *_near(schema, embedder, near),
    ]
    return sorted(found, key=lambda one: one.level)


def _types(schema: RelationSchema, relations: list[Relation]) -> Iterator[Finding]:
    for one in relations:
        if one.symmetric and set(one.head) != set(one.tail):
            yield Finding(
                level="error",
                rule="symmetric-types",
                relations=(one.name,),
                message=f"is symmetric, but its head is {_list(one.head)} and its tail "
                f"{_list(one.tail)}",
            )
        if one.inverse is not None:
            other = schema.relation(one.inverse)
            told_there = other.inverse == one.name and other.name < one.name
            mirrored = set(one.head) == set(other.tail) and set(one.tail) == set(other.head)
            if not mirrored and not told_there:
                yield Finding(
                    level="error",
                    rule="inverse-types",
                    relations=(one.name, other.name),
                    message=f"goes from {_list(one.head)} to {_list(one.tail)}, but its inverse "
                    f"from {_list(other.head)} to {_list(other.tail)}",
                )
        for text in one.descriptions:
            for role, type_ in named_types(text, schema.types):
                allowed = one.head if role == "head" else one.tail
                if allowed and type_ not in allowed:
                    yield Finding(
                        level="warning",
                        rule="type-outside",
                        relations=(one.name,),
                        message=f"calls the {role} {schema.types[type_]!r}, but it is "
                        f"{_list(allowed)}",
                        texts=(str(text),),
                    )


def named_types(text: str, types: Mapping[str, str]) -> list[tuple[str, str]]:
    """The types that a description says its arguments have, as ``(role, type)``.

    Only plain forms are seen: "the head, a person", "the tail is an organization", "the head and
    the tail are two persons".

    Example:
        >>> named_types("The head, a person, is not in the tail, a big place.",
        ...             {"PER": "person", "LOC": "place"})
        [('head', 'PER'), ('tail', 'LOC')]
    """
    found = []
    lead = r"\bthe (head|tail)(?: and the (head|tail))?(?:,| is| are)\s+"
    for type_, words in types.items():
        for match in re.finditer(
            rf"{lead}(?:an?|one|two|both|the)\s+(?:(?!or\b|and\b)\w+\s+){{0,2}}?{re.escape(words)}s?\b",
            text,
            re.I,
        ):
            found += [(role.lower(), type_) for role in match.groups() if role]
    return sorted(found)


def _words(schema: RelationSchema, relations: list[Relation]) -> Iterator[Finding]:
    used: dict[str, list[str]] = defaultdict(list)
    unsaid: list[str] = []
    for one in relations:
        for name in dict.fromkeys((*one.head, *one.tail)):
            if name not in schema.types:
                used[name].append(one.name)
        # A word counts by its beginning, so that "contains" says "contain".
        label = [word[:5] for word in bare(one.words).split() if len(word) > 2]
        said = [word for text in one.descriptions for word in bare(text).split()]
        if said and label and not any(word.startswith(tuple(label)) for word in said):
            unsaid.append(one.name)
    if unsaid:
        yield Finding(
            level="warning",
            rule="label-words",
            relations=tuple(unsaid),
            message="no description uses a word of the label",
        )
    for name, where in used.items():
        yield Finding(
            level="warning",
            rule="type-words",
            relations=tuple(where),
            message=f"the schema has no words for type {name!r} under types",
        )


def _texts(relations: list[Relation]) -> Iterator[Finding]:
    owners: dict[str, list[str]] = defaultdict(list)
    texts: dict[str, str] = {}
    for one in relations:
        for text in one.descriptions:
            owners[bare(text)].append(one.name)
            texts.setdefault(bare(text), str(text))
    for key, names in owners.items():
        distinct = tuple(dict.fromkeys(names))
        if len(names) > 1:
            yield Finding(
                level="error" if len(distinct) > 1 else "warning",
                rule="duplicate",
                relations=distinct,
                message="the same description stands for several relations"
                if len(distinct) > 1
                else f"the same description stands {len(names)} times",
                texts=(texts[key],),
            )


def _states(schema: RelationSchema, embedder: Embedder) -> Iterator[Finding]:
    for one in schema.relations:
        if not one.descriptions and one.name != schema.nota:
            yield Finding(
                level="error",
                rule="undescribed",
                relations=(one.name,),
                message="has no description; rukh describe drafts some",
            )
        waiting = [text for text in one.descriptions if text.status == "draft"]
        if waiting:
            yield Finding(
                level="warning",
                rule="draft",
                relations=(one.name,),
                message=f"{len(waiting)} of {len(one.descriptions)} descriptions are drafts that "
                "nobody has verified",
            )
        for text in one.descriptions if one.name != schema.nota else ():
            if excess := embedder.excess(text):
                yield Finding(
                    level="error",
                    rule="truncated",
                    relations=(one.name,),
                    message=f"the encoder does not read the last {excess} word pieces",
                    texts=(str(text),),
                )


def _near(schema: RelationSchema, embedder: Embedder, near: float) -> Iterator[Finding]:
    """Of each two relations, the two descriptions that lie closest, where they lie too close."""
    table = embed_schema(schema, embedder)
    cosines = table.vectors @ table.vectors.T
    cosines[table.owner[:, None] >= table.owner[None]] = -1  # each two relations once
    closest: dict[tuple[int, int], tuple[float, int, int]] = {}
    for i, j in np.argwhere(cosines >= near).tolist():
        if bare(table.texts[i]) == bare(table.texts[j]):
            continue  # told as a duplicate
        pair = int(table.owner[i]), int(table.owner[j])
        closest[pair] = max(closest.get(pair, (-1.0, 0, 0)), (float(cosines[i, j]), i, j))
    for pair, (cosine, i, j) in sorted(closest.items(), key=lambda item: -item[1][0]):
        names = tuple(table.relations[place].name for place in pair)
        yield Finding(
            level="warning",
            rule="near-duplicate",
            relations=names,
            message=f"two descriptions have a cosine of {cosine:.3f}",
            texts=(str(table.texts[i]), str(table.texts[j])),
        )


def _list(names: tuple[str, ...]) -> str:
    return " or ".join(sorted(names)) or "of any type"
