"""Measuring a tagger on tagged sentences: which entities it finds, and how it types given ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from rukh.arguments.tagger import Tagger
from rukh.errors import InputError
from rukh.records import Post, TextEntity

Example: TypeAlias = tuple[str, list[TextEntity]]
"""A text with its gold entities."""


def span_f1(gold: Sequence[Sequence[TextEntity]], found: Sequence[Sequence[TextEntity]]) -> float:
    """Micro-F1 of exact spans with their types; 0 where there are none."""
    return _f1(*_counts(gold, found))


def typing_accuracy(tagger: Tagger, examples: Sequence[Example]) -> float:
    """How often a gold span is given its gold type; 0 where there are none."""
    posts = [
        Post(
            id=str(i),
            text=text,
            entities=tuple(e.model_copy(update={"type": None}) for e in spans),
        )
        for i, (text, spans) in enumerate(examples)
    ]
    right = [
        a.type == b.type
        for post, (_, spans) in zip(tagger.type_posts(posts), examples, strict=True)
        for a, b in zip(post.entities, spans, strict=True)
    ]
    return sum(right) / len(right) if right else 0.0


def evaluate_tagger(tagger: Tagger, examples: Sequence[Example]) -> dict[str, Any]:
    """All figures of a tagger.

    Returns:
        ``sentences, entities``; ``span_precision, span_recall, span_f1`` of exact spans with their
        types; ``types``, the F1 of each gold type; and ``typing_accuracy`` of gold spans.

    Raises:
        InputError: No sentence holds an entity.
    """
    gold = [spans for _, spans in examples]
    entities = sum(map(len, gold))
    if not entities:
        raise InputError("no entity to evaluate on")
    found = tagger.find([text for text, _ in examples])
    right, told, there = _counts(gold, found)
    types = sorted({str(e.type) for spans in gold for e in spans})
    return {
        "sentences": len(examples),
        "entities": entities,
        "span_precision": right / told if told else 0.0,
        "span_recall": right / there,
        "span_f1": _f1(right, told, there),
        "types": {name: span_f1(_of(name, gold), _of(name, found)) for name in types},
        "typing_accuracy": typing_accuracy(tagger, examples),
    }


def _counts(
    gold: Sequence[Sequence[TextEntity]], found: Sequence[Sequence[TextEntity]]
) -> tuple[int, int, int]:
    """Right, told and gold spans."""
    right = told = there = 0
    for a, b in zip(gold, found, strict=True):
        left = {(e.start, e.end, e.type) for e in a}
        other = {(e.start, e.end, e.type) for e in b}
        right += len(left & other)
        told += len(other)
        there += len(left)
    return right, told, there


def _f1(right: int, told: int, there: int) -> float:
    return 2 * right / (told + there) if told + there else 0.0


def _of(name: str, spans: Sequence[Sequence[TextEntity]]) -> list[list[TextEntity]]:
    return [[e for e in one if e.type == name] for one in spans]
