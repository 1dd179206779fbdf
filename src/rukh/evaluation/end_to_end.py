"""Evaluate an extractor end to end: entities and triples, in posts whose pairs are all decided.

The posts list every relation that holds, so each other pair of entities is unrelated. Triples are
measured with the entities of the posts given, and on the raw text.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rukh.errors import InputError
from rukh.evaluation.metrics import calibration_error, f1_from_counts
from rukh.extractor import CHUNK_SIZE, Extractor
from rukh.modeling.directions import best_direction_only
from rukh.records import EntityMention, Post, Triple
from rukh.schema.schema import RelationSchema
from rukh.utils.bootstrap import percentile_interval, resampled_sums

Span = tuple[int, int]
"""Start and end of an entity, in characters, end-exclusive."""


class Fact(NamedTuple):
    """A relation between two spans of a post, and its probability.

    Facts that state the same are written the same: the spans of a symmetric relation are sorted,
    and of two inverse relations the one whose name comes first is used.
    """

    head: Span
    relation: str
    tail: Span
    score: float = 1.0

    def matches(self, other: Fact, *, relaxed: bool = False) -> bool:
        """Whether both state the same relation between equal (relaxed: overlapping) spans."""
        if self.relation != other.relation:
            return False
        if relaxed:
            return _overlap(self.head, other.head) and _overlap(self.tail, other.tail)
        return (self.head, self.tail) == (other.head, other.tail)


class EndToEndPredictions(NamedTuple):
    """Gold facts, and an extractor's predictions, for each post.

    Attributes:
        posts: The posts with their gold entities and pairs.
        detected: The same posts with detected entities.
        gold: The facts that each post states.
        given: For each pair of gold entities, its most probable relation, if its types allow any.
        raw: The same for each pair of detected entities.
    """

    posts: list[Post]
    detected: list[Post]
    gold: list[list[Fact]]
    given: list[list[Fact]]
    raw: list[list[Fact]]

    def rows(self, threshold: float) -> Iterator[dict[str, Any]]:
        """Yield the gold and the predicted triples of each post as JSON data."""
        for post, gold, given, raw in zip(self.posts, self.gold, self.given, self.raw, strict=True):
            yield {
                "post_id": post.id,
                "text": post.text,
                "gold": [_to_json(fact, post) for fact in gold],
                "given": [_to_json(fact, post) for fact in given if fact.score >= threshold],
                "raw": [_to_json(fact, post) for fact in raw if fact.score >= threshold],
            }


def predict_end_to_end(extractor: Extractor, posts: Sequence[Post]) -> EndToEndPredictions:
    """Predict the triples of posts from their gold entities and from their raw text.

    Raises:
        InputError: There are no posts, a post has objects, or a label is unknown to the schema.
    """
    schema = extractor.schema
    labelled = labelled_posts(posts, schema)
    bare = [post.model_copy(update={"entities": (), "pairs": None}) for post in labelled]
    detected = extractor.detect_entities(bare)
    return EndToEndPredictions(
        posts=labelled,
        detected=detected,
        gold=[gold_facts(post, schema) for post in labelled],
        given=predict_facts(extractor, [p.model_copy(update={"pairs": None}) for p in labelled]),
        raw=predict_facts(extractor, detected),
    )


def labelled_posts(posts: Sequence[Post], schema: RelationSchema) -> list[Post]:
    """Return the posts with the names of their relations.

    Raises:
        InputError: There are no posts, none lists a relation, a post has objects, or a label is
            unknown to the schema.
    """
    labelled = [schema.resolve_labels(post) for post in posts]
    if not labelled:
        raise InputError("there are no posts to evaluate on")
    for post in labelled:
        if post.objects:
            problem = "has objects, but the end-to-end evaluation covers text only"
            raise InputError(problem, where=f"post {post.id!r}")
    if not any(post.pairs for post in labelled):
        raise InputError("no post lists a relation, so that nothing can be measured")
    return labelled


def evaluate_end_to_end(
    extractor: Extractor, posts: Sequence[Post]
) -> tuple[dict[str, Any], EndToEndPredictions]:
    """Compute all figures of an extractor on posts whose pairs are all decided.

    Figures are micro-averages over all posts, in [0, 1]; ``f1_ci`` is a 95 % interval by a
    bootstrap over posts.

    Returns:
        The figures, and the predictions they come from. The figures are ``posts, silent_posts``
        (posts without a relation), ``gold_entities, gold_triples, threshold``; ``entities``, with
        the figures of detected entities by ``span`` and by span and type (``typed``); ``given`` and
        ``raw`` (see :func:`triple_figures`), for given entities and for raw text;
        ``expected_calibration_error`` of the probabilities with given entities; and ``seconds``.

    Raises: See :func:`predict_end_to_end`.
    """
    start = time.perf_counter()
    predictions = predict_end_to_end(extractor, posts)
    labelled, detected, gold, given, raw = predictions
    seconds = time.perf_counter() - start
    threshold = extractor.threshold
    scored = [
        (fact.score, any(fact.matches(other) for other in expected))
        for facts, expected in zip(given, gold, strict=True)
        for fact in facts
    ]
    figures = {
        "posts": len(labelled),
        "silent_posts": sum(not facts for facts in gold),
        "gold_entities": sum(len(post.entities) for post in labelled),
        "gold_triples": sum(map(len, gold)),
        "threshold": threshold,
        "entities": {
            "span": _entity_figures(labelled, detected, typed=False),
            "typed": _entity_figures(labelled, detected, typed=True),
        },
        "given": triple_figures(gold, given, threshold),
        "raw": triple_figures(gold, raw, threshold),
        "expected_calibration_error": calibration_error(
            [score for score, _ in scored], [hit for _, hit in scored]
        ),
        "seconds": round(seconds, 2),
    }
    return figures, predictions


def gold_facts(post: Post, schema: RelationSchema) -> list[Fact]:
    """Return the relations that a post lists, without NOTA and without repetitions."""
    spans = {entity.id: (entity.start, entity.end) for entity in post.entities}
    facts = {
        make_fact(spans[pair.head], pair.relation, spans[pair.tail], schema)
        for pair in post.pairs or ()
        if pair.relation not in (None, schema.nota)
    }
    return sorted(facts)


def make_fact(
    head: tuple[int, int],
    relation: str,
    tail: tuple[int, int],
    schema: RelationSchema,
    score: float = 1.0,
) -> Fact:
    """Build a :class:`Fact` in its normal form.

    Example:
        >>> schema = RelationSchema.load("mnre")
        >>> make_fact((9, 12), "/per/per/couple", (0, 3), schema).head
        (0, 3)
    """
    inverse = schema.inverse_of(relation)
    swap = head > tail if inverse == relation else inverse is not None and inverse < relation
    if swap:
        assert inverse is not None
        head, relation, tail = tail, inverse, head
    return Fact(head, relation, tail, score)


def predict_facts(extractor: Extractor, posts: Sequence[Post]) -> list[list[Fact]]:
    """Predict the most probable relation of each pair of entities, however improbable it is."""
    every = copy.copy(extractor)
    every.threshold = 0.0
    facts: list[list[Fact]] = []
    for first in range(0, len(posts), CHUNK_SIZE):
        for triples in every.predict(every.prepare(posts[first : first + CHUNK_SIZE])):
            best = best_direction_only(triples, every.schema.nota)
            facts.append([_fact_of(triple, every.schema) for triple in best])
    return facts


def _fact_of(triple: Triple, schema: RelationSchema) -> Fact:
    head, tail = triple.head, triple.tail
    assert isinstance(head, EntityMention) and isinstance(tail, EntityMention)
    assert triple.relation is not None
    spans = (head.start, head.end), (tail.start, tail.end)
    return make_fact(spans[0], triple.relation, spans[1], schema, triple.score)


def _accepted(facts: Sequence[Sequence[Fact]], threshold: float) -> list[list[Fact]]:
    return [[fact for fact in some if fact.score >= threshold] for some in facts]


def match_counts(
    gold: Sequence[Sequence[Fact]], predicted: Sequence[Sequence[Fact]], *, relaxed: bool = False
) -> npt.NDArray[np.float64]:
    """Count correct, predicted and gold facts of each post, ``(posts, 3)``.

    Each gold fact is matched by one prediction at most, the most probable one.
    """
    counts = np.zeros((len(gold), 3))
    for row, expected, facts in zip(counts, gold, predicted, strict=True):
        remaining = list(expected)
        for fact in sorted(facts, key=lambda one: -one.score):
            found = next((g for g in remaining if fact.matches(g, relaxed=relaxed)), None)
            if found is not None:
                remaining.remove(found)
        row[:] = len(expected) - len(remaining), len(facts), len(expected)
    return counts


def triple_figures(
    gold: Sequence[Sequence[Fact]], predicted: Sequence[Sequence[Fact]], threshold: float
) -> dict[str, Any]:
    """Compute the figures of triples, which are correct if both spans and the relation are.

    Returns:
        ``strict``: precision, recall and F1 at the threshold, with interval and counts;
        ``relaxed``: the same, with overlapping spans counted as equal;
        ``silent_answered``: share of the posts without a relation that get a triple, None without
        such posts; ``per_relation``: the same figures by relation; ``curve``: by threshold.
    """
    accepted = _accepted(predicted, threshold)
    by_threshold = {level / 20: _accepted(predicted, level / 20) for level in range(1, 20)}
    names = sorted({fact.relation for some in (*gold, *accepted) for fact in some})

    def only(facts: Sequence[Sequence[Fact]], name: str) -> list[list[Fact]]:
        return [[fact for fact in some if fact.relation == name] for some in facts]

    return {
        "strict": _figures(match_counts(gold, accepted)),
        "relaxed": _figures(match_counts(gold, accepted, relaxed=True)),
        "silent_answered": _silent_answered(gold, accepted),
        "per_relation": [
            {"relation": name, **_ratios(match_counts(only(gold, name), only(accepted, name)))}
            for name in names
        ],
        "curve": [
            {
                "threshold": level,
                **_ratios(match_counts(gold, some)),
                "silent_answered": _silent_answered(gold, some),
            }
            for level, some in by_threshold.items()
        ],
    }


def _silent_answered(
    gold: Sequence[Sequence[Fact]], accepted: Sequence[Sequence[Fact]]
) -> float | None:
    silent = [bool(facts) for facts, expected in zip(accepted, gold, strict=True) if not expected]
    return sum(silent) / len(silent) if silent else None


def _ratios(counts: npt.NDArray[np.float64]) -> dict[str, Any]:
    correct, predicted, gold = counts.sum(0)
    return {
        "precision": correct / predicted if predicted else 0.0,
        "recall": correct / gold if gold else 0.0,
        "f1": float(f1_from_counts(counts.sum(0))),
        "correct": int(correct),
        "predicted": int(predicted),
        "gold": int(gold),
    }


def _figures(counts: npt.NDArray[np.float64]) -> dict[str, Any]:
    interval = percentile_interval(f1_from_counts(resampled_sums(counts)))
    return _ratios(counts) | {"f1_ci": list(interval)}


def _entity_figures(
    gold: Sequence[Post], predicted: Sequence[Post], *, typed: bool
) -> dict[str, Any]:
    counts = np.zeros((len(gold), 3))
    for row, expected, found in zip(counts, gold, predicted, strict=True):
        sets = [
            {(e.start, e.end, e.type if typed else None) for e in post.entities}
            for post in (expected, found)
        ]
        row[:] = len(sets[0] & sets[1]), len(sets[1]), len(sets[0])
    return _figures(counts)


def _to_json(fact: Fact, post: Post) -> dict[str, Any]:
    spans = {"head": fact.head, "tail": fact.tail}
    mentions = {
        role: {"text": post.text[start:end], "start": start, "end": end}
        for role, (start, end) in spans.items()
    }
    return mentions | {"relation": fact.relation, "score": fact.score}


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
