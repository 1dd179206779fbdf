"""Measuring an extractor on labelled posts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor

from rukh.candidates import both_orders
from rukh.errors import MAX_LISTED, InputError, suggestion
from rukh.evaluation.error_analysis import error_analysis
from rukh.evaluation.metrics import OrderedDecision, evaluate_predictions, order_free, take_better
from rukh.evaluation.reliability import calibration_error, risk_coverage
from rukh.extractor import CHUNK, Extractor
from rukh.records import Post
from rukh.schema.schema import RelationSchema


def decisions(
    extractor: Extractor, probabilities: Tensor, threshold: float | None = None
) -> list[OrderedDecision]:
    """The best relation of each row of ``(Q, 1 + R)``, or NOTA where it misses the threshold.

    A schema without NOTA is closed: there the best relation is always told.

    Args:
        threshold: None: the extractor's.
    """
    nota = extractor.schema.nota
    threshold = extractor.threshold if threshold is None else threshold
    best, which = probabilities[:, 1:].max(-1)
    names = extractor.bank.names
    return [
        OrderedDecision(names[k] if nota is None or s >= threshold else nota, s)
        for s, k in zip(best.tolist(), which.tolist(), strict=True)
    ]


def check_labels(posts: Iterable[Post], schema: RelationSchema, where: str) -> None:
    """See that the data has labels, and that the schema knows every one, by name or by id.

    Raises:
        InputError: It does not; names all labels outside, the most frequent first, with ``where``.
    """
    counts = Counter(
        pair.relation for post in posts for pair in post.pairs or () if pair.relation is not None
    )
    if not counts:
        raise InputError("holds no labelled pair", where=where)
    outside = [label for label, _ in counts.most_common() if not schema.knows(label)]
    if outside:
        told = ", ".join(map(repr, outside[:MAX_LISTED]))
        more = len(outside) - MAX_LISTED
        raise InputError(
            f"{sum(counts[label] for label in outside):,} pairs carry labels outside schema "
            f"{schema.name!r}: {told}" + (f" and {more:,} more" if more > 0 else ""),
            where=where,
            fix=suggestion(outside[0], schema.labels),
        )


class PairPredictions(NamedTuple):
    """Every labelled pair of some posts with what an extractor said of it.

    Attributes:
        gold, names: Its label, and the post it is of.
        given: The decision in the given order, as the extractor tells it.
        forward, backward: The decisions in the given order and in the other where neither is known
            to be right.
        nearest: The better of the two before the threshold.
        sureness: The probability of the best relation in the given order, as the extractor tells
            it, and whether it is right.
        counts: ``images_used, images_missing, images_broken, captions_used, unlabelled``.
    """

    gold: list[str]
    names: list[str]
    given: list[OrderedDecision]
    forward: list[OrderedDecision]
    backward: list[OrderedDecision]
    nearest: list[OrderedDecision]
    sureness: list[tuple[float, bool]]
    counts: dict[str, int]


def predict_pairs(extractor: Extractor, posts: Iterable[Post]) -> PairPredictions:
    """Ask every labelled pair in both orders.

    Pictures and captions that a post names or could have had, and that are not there, are counted,
    not raised.

    Raises:
        InputError: No labelled pair, or a label outside the schema.
    """
    counts = dict.fromkeys(
        ("images_used", "images_missing", "images_broken", "captions_used", "unlabelled"), 0
    )
    judged = PairPredictions([], [], [], [], [], [], [], counts)
    model, rest = extractor.model, iter(posts)
    while chunk := list(islice(rest, CHUNK)):
        chunk = [extractor.schema.named(post) for post in chunk]
        labelled = [[p for p in post.pairs or () if p.relation is not None] for post in chunk]
        typed = extractor.typed(chunk)
        scored = extractor.scores(typed, [both_orders(pairs) for pairs in labelled])
        for post, pairs, score in zip(chunk, labelled, scored, strict=True):
            both = model.probabilities(score.logits, extractor.bank)
            given = model.probabilities(score.logits[::2], extractor.bank, extractor.direction)
            told = decisions(extractor, both)
            judged.gold.extend(str(pair.relation) for pair in pairs)
            judged.names.extend([post.id] * len(pairs))
            judged.given.extend(decisions(extractor, given))
            judged.forward.extend(told[::2])
            judged.backward.extend(told[1::2])
            best_of = decisions(extractor, both, threshold=0.0)
            for there, back in zip(best_of[::2], best_of[1::2], strict=True):
                judged.nearest.append(take_better(there, back, extractor.schema))
            best, which = given[:, 1:].max(-1)
            for pair, sure, k in zip(pairs, best.tolist(), which.tolist(), strict=True):
                judged.sureness.append((sure, extractor.bank.names[k] == pair.relation))
            counts["unlabelled"] += len(post.pairs or ()) - len(pairs)
            counts["captions_used"] += bool(post.caption)
            counts["images_used"] += score.gate is not None
        _count_pictures(extractor, chunk, counts)
    if not judged.gold:
        raise InputError("no labelled pair to evaluate on")
    return judged


def evaluate_posts(extractor: Extractor, posts: Iterable[Post]) -> dict[str, Any]:
    """All figures of one evaluation; see :func:`rukh.evaluation.metrics.evaluate_predictions`.

    Returns:
        The metrics; what :func:`rukh.evaluation.error_analysis.error_analysis` says, order-free;
        ``expected_calibration_error`` and ``risk_coverage`` of the best relation's probability
        (see :mod:`rukh.evaluation.reliability`); and ``seconds, images_used, images_missing, images_broken,
        captions_used, unlabelled``.

    Raises:
        InputError: See :func:`judge_posts`.
    """
    start = time.perf_counter()
    judged = predict_pairs(extractor, posts)
    scores, right = zip(*judged.sureness, strict=True)
    told = order_free(judged.forward, judged.backward, extractor.schema)
    return {
        **evaluate_predictions(
            judged.gold,
            judged.forward,
            judged.backward,
            judged.names,
            extractor.schema,
            given=judged.given,
        ),
        **error_analysis(judged.gold, told, judged.nearest, extractor.schema),
        "expected_calibration_error": calibration_error(scores, right),
        "risk_coverage": risk_coverage(scores, right),
        "seconds": round(time.perf_counter() - start, 2),
        **judged.counts,
    }


def _count_pictures(extractor: Extractor, posts: Sequence[Post], counts: dict[str, int]) -> None:
    features = extractor.features
    for post in posts:
        if features is not None and post.image is not None:
            counts["images_missing"] += str(post.image) in features.missing
            counts["images_broken"] += str(post.image) in features.broken
