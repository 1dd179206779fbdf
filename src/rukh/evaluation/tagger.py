"""Evaluation of taggers on sentences with gold entities: entity detection and entity typing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from rukh.arguments.label_map import fit_type, fit_types
from rukh.arguments.tagger import Tagger
from rukh.errors import InputError
from rukh.records import Post, TextEntity

Example: TypeAlias = tuple[str, list[TextEntity]]
"""A text with its gold entities."""
_Spans: TypeAlias = set[tuple[int, int, int, str | None]]


def span_f1(
    gold: Sequence[Sequence[TextEntity]], predicted: Sequence[Sequence[TextEntity]]
) -> float:
    """Compute the micro-F1 of entities, whose span and type must match; 0 without entities."""
    return _f1(_spans(gold), _spans(predicted))


def typing_accuracy(tagger: Tagger, examples: Sequence[Example]) -> float:
    """Compute the share of gold spans that the tagger types correctly; 0 without gold spans."""
    types = {str(entity.type) for _, entities in examples for entity in entities}
    untyped = [
        Post(
            id=str(i),
            text=text,
            entities=tuple(entity.model_copy(update={"type": None}) for entity in entities),
        )
        for i, (text, entities) in enumerate(examples)
    ]
    correct = [
        fit_type(str(predicted.type), types) == gold.type
        for post, (_, entities) in zip(tagger.assign_types(untyped), examples, strict=True)
        for predicted, gold in zip(post.entities, entities, strict=True)
    ]
    return sum(correct) / len(correct) if correct else 0.0


def evaluate_tagger(tagger: Tagger, examples: Sequence[Example]) -> dict[str, Any]:
    """Compute all metrics of a tagger.

    Predicted entities get the types of the data; see :func:`rukh.arguments.label_map.fit_type`.

    Returns:
        The counts ``sentences, entities``; ``span_precision, span_recall, span_f1`` of entities,
        whose span and type must match; ``types``, the F1 of each gold type; and the
        ``typing_accuracy`` of gold spans.

    Raises:
        InputError: No sentence has an entity.
    """
    gold = _spans([entities for _, entities in examples])
    if not gold:
        raise InputError("no sentence has an entity to evaluate on")
    types = {str(span[-1]) for span in gold}
    detected = tagger.detect_entities([text for text, _ in examples])
    predicted = _spans([fit_types(entities, types) for entities in detected])
    correct = len(gold & predicted)

    def f1_of_type(name: str) -> float:
        return _f1(*({span for span in spans if span[-1] == name} for spans in (gold, predicted)))

    return {
        "sentences": len(examples),
        "entities": sum(len(entities) for _, entities in examples),
        "span_precision": correct / len(predicted) if predicted else 0.0,
        "span_recall": correct / len(gold),
        "span_f1": _f1(gold, predicted),
        "types": {name: f1_of_type(name) for name in sorted(types)},
        "typing_accuracy": typing_accuracy(tagger, examples),
    }


def _spans(sentences: Sequence[Sequence[TextEntity]]) -> _Spans:
    return {
        (i, entity.start, entity.end, entity.type)
        for i, entities in enumerate(sentences)
        for entity in entities
    }


def _f1(gold: _Spans, predicted: _Spans) -> float:
    total = len(gold) + len(predicted)
    return 2 * len(gold & predicted) / total if total else 0.0
