"""Evaluate an extractor on labelled posts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sklearn.metrics import roc_auc_score
from torch import Tensor

from rukh.errors import InputError
from rukh.evaluation.metrics import (
    REVERSED,
    OrderedDecision,
    calibration_error,
    evaluate_predictions,
    order_free,
    risk_coverage,
    take_better,
)
from rukh.extractor import CHUNK_SIZE, Extractor, count_given_types
from rukh.records import Post, both_orders
from rukh.schema.schema import RelationSchema


class PairPredictions(NamedTuple):
    """The labelled pairs of some posts, with an extractor's predictions.

    Attributes:
        gold, post_ids: The label and the post of each pair.
        given: The predictions in the given order, as the extractor makes them.
        forward, backward: The predictions in both orders if the relation's direction is unknown.
        nearest: The best relation of both orders, even if it does not reach the threshold.
        correct: Whether the best relation in the given order is the label, at any threshold.
        counts: ``images_used, images_missing, images_broken, captions_used, unlabelled``.
    """

    gold: list[str]
    post_ids: list[str]
    given: list[OrderedDecision]
    forward: list[OrderedDecision]
    backward: list[OrderedDecision]
    nearest: list[OrderedDecision]
    correct: list[bool]
    counts: dict[str, int]


def predict_pairs(extractor: Extractor, posts: Iterable[Post]) -> PairPredictions:
    """Predict every labelled pair in both orders; unreadable images are counted, not raised.

    Raises:
        InputError: No pair has a label, or a label is unknown to the schema.
    """
    model, bank, nota = extractor.model, extractor.bank, extractor.schema.nota
    keys = ("images_used", "images_missing", "images_broken", "captions_used", "unlabelled")
    counts = dict.fromkeys(keys, 0)
    given_types: Counter[str] = Counter()
    rows: list[tuple[str, str, OrderedDecision, OrderedDecision, OrderedDecision]] = []
    remaining = iter(posts)
    while chunk := list(islice(remaining, CHUNK_SIZE)):
        typed = extractor.assign_types([extractor.schema.resolve_labels(post) for post in chunk])
        given_types += count_given_types(typed)
        labelled = [[p for p in post.pairs or () if p.relation is not None] for post in typed]
        scores = extractor.scores(typed, [both_orders(pairs) for pairs in labelled])
        for post, pairs, (logits, _, gate) in zip(typed, labelled, scores, strict=True):
            both = best_relations(model.probabilities(logits, bank), bank.names)
            directed = model.probabilities(logits[::2], bank, extractor.directed)
            labels = [str(pair.relation) for pair in pairs]
            given = best_relations(directed, bank.names)
            post_ids = [post.id] * len(pairs)
            rows += zip(labels, post_ids, given, both[::2], both[1::2], strict=True)
            counts["unlabelled"] += len(post.pairs or ()) - len(pairs)
            counts["captions_used"] += bool(post.caption)
            counts["images_used"] += gate is not None
        if (features := extractor.features) is not None:
            images = [str(post.image) for post in chunk if post.image is not None]
            counts["images_missing"] += sum(image in features.missing for image in images)
            counts["images_broken"] += sum(image in features.broken for image in images)
    if not rows:
        raise InputError("no labelled pair to evaluate on")
    extractor.warn_unknown_types(given_types)

    def accept(decisions: Iterable[OrderedDecision]) -> list[OrderedDecision]:
        # A schema without NOTA is closed: one of its relations always holds.
        return [
            d if nota is None or d.score >= extractor.threshold else OrderedDecision(nota, d.score)
            for d in decisions
        ]

    gold, post_ids, given, forward, backward = map(list, zip(*rows, strict=True))
    nearest = [take_better(f, b, extractor.schema) for f, b in zip(forward, backward, strict=True)]
    correct = [best.relation == label for best, label in zip(given, gold, strict=True)]
    orders = accept(given), accept(forward), accept(backward)
    return PairPredictions(gold, post_ids, *orders, nearest, correct, counts)


def best_relations(probabilities: Tensor, names: Sequence[str]) -> list[OrderedDecision]:
    """The most probable relation of each row of ``(Q, 1 + R)``, NOTA (the first column) aside."""
    best, index = (column.tolist() for column in probabilities[:, 1:].max(-1))
    return [OrderedDecision(names[k], score) for k, score in zip(index, best, strict=True)]


def evaluate_posts(extractor: Extractor, posts: Iterable[Post]) -> dict[str, Any]:
    """All metrics of an extractor on labelled posts.

    Returns:
        What :func:`rukh.evaluation.metrics.evaluate_predictions` and :func:`error_analysis` return,
        ``expected_calibration_error`` and ``risk_coverage`` of the best relation's probability,
        ``seconds``, and the counts of :class:`PairPredictions`.

    Raises:
        InputError: No pair has a label, or a label is unknown to the schema.
    """
    start = time.perf_counter()
    pairs = predict_pairs(extractor, posts)
    gold, forward, backward, schema = pairs.gold, pairs.forward, pairs.backward, extractor.schema
    scores = [decision.score for decision in pairs.given]
    return {
        **evaluate_predictions(gold, forward, backward, pairs.post_ids, schema, given=pairs.given),
        **error_analysis(gold, order_free(forward, backward, schema), pairs.nearest, schema),
        "expected_calibration_error": calibration_error(scores, pairs.correct),
        "risk_coverage": risk_coverage(scores, pairs.correct),
        "seconds": round(time.perf_counter() - start, 2),
        **pairs.counts,
    }


def error_analysis(
    gold: Sequence[str],
    predicted: Sequence[str | None],
    nearest: Sequence[OrderedDecision],
    schema: RelationSchema,
) -> dict[str, Any]:
    """Separate the two questions that micro-F1 mixes: whether a pair is related, and how.

    Args:
        gold: The label of each pair in the given order.
        predicted: Its predicted label; see :func:`rukh.evaluation.metrics.order_free`.
        nearest: The best relation of both orders, even if it does not reach the threshold.

    Returns:
        ``mistakes``: of the pairs with a relation, how many are predicted ``right``, in the reverse
        direction (``reversed``), as another relation (``confused``) or as NOTA (``missed``); of
        the pairs without one, how many are predicted as related (``invented``), and how many of
        these with a relation without inverse from tail to head (``invented_reversed``).
        ``relation_accuracy``: how often the best relation is right if there is one.
        ``relation_auroc``: how often the best relation is more probable for a related than for an
        unrelated pair. Both are None without such pairs.
    """
    kinds = ("right", "reversed", "confused", "missed", "invented", "invented_reversed")
    counts = dict.fromkeys(kinds, 0)
    for label, prediction in zip(gold, predicted, strict=True):
        if label == schema.nota:
            counts["invented"] += prediction not in (None, schema.nota)
            counts["invented_reversed"] += (prediction or "").endswith(REVERSED)
        elif prediction == label:
            counts["right"] += 1
        elif prediction in (None, schema.nota):
            counts["missed"] += 1
        elif prediction in (f"{label}{REVERSED}", schema.inverse_of(label)):
            counts["reversed"] += 1
        else:
            counts["confused"] += 1
    related = [label != schema.nota for label in gold]
    correct = sum(best.relation == label for label, best in zip(gold, nearest, strict=True))
    auroc = None
    if len(set(related)) == 2:
        auroc = float(roc_auc_score(related, [best.score for best in nearest]))
    return {
        "mistakes": counts,
        "relation_accuracy": correct / sum(related) if any(related) else None,
        "relation_auroc": auroc,
    }
