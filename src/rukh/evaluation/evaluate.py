"""Evaluate an extractor on labelled posts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from sklearn.metrics import roc_auc_score
from torch import Tensor

from rukh.arguments.label_map import count_given_types
from rukh.errors import InputError
from rukh.evaluation.metrics import (
    REVERSED,
    OrderedDecision,
    calibration_error,
    evaluate_predictions,
    order_free,
    take_better,
)
from rukh.extractor import CHUNK_SIZE, Extractor
from rukh.records import Post, both_orders, labelled_pairs
from rukh.schema.schema import RelationSchema


class PairPredictions(NamedTuple):
    """An extractor's predictions for the labelled pairs of posts.

    Attributes:
        gold, post_ids: The label and the post id of each pair.
        given: Predictions for the given order, with the extractor's setting of ``directed``.
        forward, backward: Predictions for the given and the reverse order, with unknown direction.
        nearest: The most probable relation over both orders, regardless of the threshold.
        correct: Whether the most probable relation in the given order is the label.
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
    """Predict each labelled pair in both orders. Unreadable images are counted without an error.

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
        labelled = [labelled_pairs(post) for post in typed]
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
        raise InputError("there are no labelled pairs to evaluate on")
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
    """Select the most probable relation in each row of ``(Q, 1 + R)``, except NOTA in column 0."""
    best, index = (column.tolist() for column in probabilities[:, 1:].max(-1))
    return [OrderedDecision(names[k], score) for k, score in zip(index, best, strict=True)]


def evaluate_posts(extractor: Extractor, posts: Iterable[Post]) -> dict[str, Any]:
    """Compute all metrics of an extractor on labelled posts.

    Returns:
        The results of :func:`rukh.evaluation.metrics.evaluate_predictions` and
        :func:`error_analysis`, ``expected_calibration_error`` of the most probable relation's
        score, ``seconds``, and the counts of :class:`PairPredictions`.

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
        "seconds": round(time.perf_counter() - start, 2),
        **pairs.counts,
    }


def error_analysis(
    gold: Sequence[str],
    predicted: Sequence[str | None],
    nearest: Sequence[OrderedDecision],
    schema: RelationSchema,
) -> dict[str, Any]:
    """Measure separately whether related pairs are found and whether their relation is correct.

    Args:
        gold: The label of each pair in the given order.
        predicted: The predicted label of each pair; see :func:`rukh.evaluation.metrics.order_free`.
        nearest: The most probable relation over both orders, regardless of the threshold.

    Returns:
        ``mistakes``: numbers of pairs. Related pairs are predicted correctly (``right``), in the
        reverse direction (``reversed``), as another relation (``confused``) or as NOTA
        (``missed``). Unrelated pairs that are predicted as related are ``invented``. Those of them
        with a relation from tail to head that has no inverse are also ``invented_reversed``.
        ``relation_accuracy``: share of related pairs whose most probable relation is correct.
        ``relation_auroc``: AUROC of the most probable relation's score for telling related from
        unrelated pairs. Both are None if there are no such pairs.
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
