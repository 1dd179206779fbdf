"""Checks of a relation schema that find mistakes before a model is trained or used with it.

An error makes a schema unusable: two relations share a description, argument types contradict each
other, the encoder truncates a description, or a relation has no description. A warning concerns
unfinished work or a possible problem, which the author of the schema should judge.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from rukh.records import Record
from rukh.schema.descriptions import is_split, normalize_text
from rukh.schema.schema import Relation, RelationSchema
from rukh.schema.similarity import Embed, embed_schema

NEAR = 0.9
"""Minimum cosine at which two relations' descriptions are reported as near-duplicates."""
ERRORS = ("undescribed", "duplicate", "symmetric-types", "inverse-types", "truncated")
"""Rules whose findings are errors. Findings of all other rules are warnings."""


class Finding(Record):
    """A problem in a schema, with its rule (see docs/descriptions.md), relation names and texts."""

    level: Literal["error", "warning"]
    rule: str
    relations: tuple[str, ...]
    message: str
    texts: tuple[str, ...] = ()


def lint(
    schema: RelationSchema,
    embed: Embed,
    *,
    excess_tokens: Callable[[str], int] | None = None,
    near: float = NEAR,
) -> list[Finding]:
    """Check a schema. Its relations may lack descriptions.

    Args:
        schema: The schema.
        embed: Function that maps texts to unit vectors.
        excess_tokens: Function that returns the number of tokens that the encoder truncates from a
            text. None: the rule ``truncated`` is skipped.
        near: Minimum cosine of near-duplicates.

    Returns:
        All findings, errors first.
    """
    relations = [relation for relation in schema.relations if relation.name != schema.nota]
    findings = [
        *_check_argument_types(schema, relations),
        *_check_words(schema, relations),
        *_check_duplicates(relations),
        *_check_descriptions(relations, excess_tokens),
        *_check_near_duplicates(schema, embed, near),
    ]
    return sorted(findings, key=lambda finding: finding.level)


def named_types(text: str, types: Mapping[str, str]) -> list[tuple[str, str]]:
    """Find the argument types that a description states in simple phrases, as ``(role, type)``.

    Example:
        >>> named_types("The head, a person, is not in the tail, a big place.",
        ...             {"PER": "person", "LOC": "place"})
        [('head', 'PER'), ('tail', 'LOC')]
    """
    mentioned = []
    role = r"\bthe (head|tail)(?: and the (head|tail))?(?:,| is| are)\s+"
    article = r"(?:an?|one|two|both|the)\s+(?:(?!or\b|and\b)\w+\s+){0,2}?"
    for type_, words in types.items():
        for match in re.finditer(rf"{role}{article}{re.escape(words)}s?\b", text, re.I):
            mentioned += [(role.lower(), type_) for role in match.groups() if role]
    return sorted(mentioned)


def _finding(rule: str, names: Sequence[str], message: str, texts: Sequence[str] = ()) -> Finding:
    level: Literal["error", "warning"] = "error" if rule in ERRORS else "warning"
    texts = tuple(map(str, texts))
    return Finding(level=level, rule=rule, relations=tuple(names), message=message, texts=texts)


def _check_argument_types(
    schema: RelationSchema, relations: Sequence[Relation]
) -> Iterator[Finding]:
    for relation in relations:
        head, tail = _any_of(relation.head), _any_of(relation.tail)
        if relation.symmetric and head != tail:
            message = f"the relation is symmetric, but its head is {head} and its tail is {tail}"
            yield _finding("symmetric-types", [relation.name], message)
        if relation.inverse is not None:
            inverse = schema.relation(relation.inverse)
            other_head, other_tail = _any_of(inverse.head), _any_of(inverse.tail)
            reported = inverse.inverse == relation.name and inverse.name < relation.name
            if (head, tail) != (other_tail, other_head) and not reported:
                message = (
                    f"its head is {head} and its tail is {tail}, but in its inverse, the head is "
                    f"{other_head} and the tail is "
                )
                names = [relation.name, inverse.name]
                yield _finding("inverse-types", names, message + other_tail)
        for text in relation.descriptions:
            for role, type_ in named_types(text, schema.types):
                allowed = relation.head if role == "head" else relation.tail
                if allowed and type_ not in allowed:
                    message = f"describes the {role} as {type_}, but it must be {_any_of(allowed)}"
                    yield _finding("type-outside", [relation.name], message, [text])


def _check_words(schema: RelationSchema, relations: Sequence[Relation]) -> Iterator[Finding]:
    """Find types without a word, and relations whose descriptions use no word of the label."""
    wordless: dict[str, list[str]] = defaultdict(list)
    unused: list[str] = []
    for relation in relations:
        for type_ in dict.fromkeys((*relation.head, *relation.tail)):
            if type_ not in schema.types:
                wordless[type_].append(relation.name)
        # Compare the beginnings of words, so that "contains" counts as a use of "contain".
        label_words = normalize_text(relation.label_words).split()
        stems = tuple(word[:5] for word in label_words if len(word) > 2)
        words = [word for text in relation.descriptions for word in normalize_text(text).split()]
        if words and stems and not any(word.startswith(stems) for word in words):
            unused.append(relation.name)
        if is_split(relation.descriptions):
            message = "look like one sentence, which YAML splits at commas within [ ]; quote it"
            yield _finding("split", [relation.name], message, relation.descriptions)
    if unused:
        yield _finding("label-words", unused, "no description uses a word of the label")
    for type_, names in wordless.items():
        yield _finding("type-words", names, f"`types` has no word for type {type_!r}")


def _check_duplicates(relations: Sequence[Relation]) -> Iterator[Finding]:
    uses: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for relation in relations:
        for text in relation.descriptions:
            uses[normalize_text(text)].append((relation.name, text))
    for same in uses.values():
        names = list(dict.fromkeys(name for name, _ in same))
        texts = [same[0][1]]
        if len(names) > 1:
            yield _finding("duplicate", names, "several relations have this description", texts)
        elif len(same) > 1:
            yield _finding("repeated", names, f"this description occurs {len(same)} times", texts)


def _check_descriptions(
    relations: Sequence[Relation], excess_tokens: Callable[[str], int] | None
) -> Iterator[Finding]:
    for relation in relations:
        names, count = [relation.name], len(relation.descriptions)
        if not count:
            yield _finding("undescribed", names, "no description; run `rukh describe`")
        if drafts := sum(text.status == "draft" for text in relation.descriptions):
            message = f"{drafts} of {count} descriptions are drafts that nobody has verified"
            yield _finding("draft", names, message)
        for text in relation.descriptions:
            if excess_tokens is not None and (excess := excess_tokens(str(text))):
                message = f"the encoder truncates the last {excess} tokens"
                yield _finding("truncated", names, message, [text])


def _check_near_duplicates(schema: RelationSchema, embed: Embed, near: float) -> Iterator[Finding]:
    """For each pair of relations, report their two closest descriptions if too similar."""
    table = embed_schema(schema, embed)
    cosines = table.vectors @ table.vectors.T
    cosines[table.owner[:, None] >= table.owner[None]] = -1  # keep each pair of relations once
    closest: dict[tuple[int, int], tuple[float, int, int]] = {}
    for i, j in np.argwhere(cosines >= near).tolist():
        if normalize_text(table.texts[i]) == normalize_text(table.texts[j]):
            continue  # reported as a duplicate
        pair = int(table.owner[i]), int(table.owner[j])
        closest[pair] = max(closest.get(pair, (-1.0, 0, 0)), (float(cosines[i, j]), i, j))
    for pair, (cosine, *places) in sorted(closest.items(), key=lambda item: -item[1][0]):
        names = [table.relations[index].name for index in pair]
        message = f"two descriptions have a cosine of {cosine:.3f}"
        yield _finding("near-duplicate", names, message, [table.texts[i] for i in places])


def _any_of(types: Sequence[str]) -> str:
    return " or ".join(sorted(set(types))) or "of any type"
