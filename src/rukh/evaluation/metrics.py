"""Metrics of predicted labels: micro-F1, order-free micro-F1, macro-F1, calibration, bootstrap.

Micro-averages are computed as in OpenNRE's ``eval``, over all labels except none-of-the-above
(NOTA). A prediction of None stands for NOTA. Benchmarks list each pair in one order, and this order
can reveal the label. Order-free micro-F1 therefore uses predictions for both orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from rukh.errors import InputError, suggestion
from rukh.schema.schema import RelationSchema
from rukh.utils.bootstrap import percentile_interval, resampled_sums

REVERSED = " reversed"
"""Suffix of the label of a relation that was predicted from tail to head."""
_NO_PREDICTION = ""  # replaces None, which scikit-learn rejects; no relation has this name


class Micro(NamedTuple):
    """Micro-averages over all labels except NOTA, and accuracy over all labels, in [0, 1]."""

    precision: float
    recall: float
    f1: float
    accuracy: float


class OrderedDecision(NamedTuple):
    """The relation predicted for an ordered pair (None or NOTA: no relation), and its score."""

    relation: str | None
    score: float


def micro(gold: Sequence[str], predicted: Sequence[str | None], nota: str | None) -> Micro:
    """Compute micro-averaged precision, recall and F1, and accuracy; 0 where undefined.

    Args:
        gold, predicted: The gold and the predicted label of each pair.
        nota: The NOTA label. None: the schema has none, and all gold labels count.

    Example:
        >>> micro(["a", "a", "None", "b"], ["a", "b", "None", "b"], "None")
        Micro(precision=0.6666666666666666, recall=0.6666666666666666, f1=0.6666666666666666, \
accuracy=0.75)
    """
    if not gold:
        return Micro(0.0, 0.0, 0.0, 0.0)
    filled = _without_none(predicted, nota)
    relations = sorted({*gold, *filled} - {nota, _NO_PREDICTION})
    precision, recall, f1, _ = precision_recall_fscore_support(
        gold, filled, labels=relations, average="micro", zero_division=0.0
    )
    return Micro(float(precision), float(recall), float(f1), float(accuracy_score(gold, filled)))


def per_relation(
    gold: Sequence[str | None], predicted: Sequence[str | None], relations: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute precision, recall and F1 of each relation from the labels of all pairs.

    Returns:
        For each relation, ``relation, precision, recall, f1`` and its numbers of gold pairs
        (``support``) and of predicted pairs (``predicted``).
    """
    labels = _without_none(gold, None), _without_none(predicted, None)
    columns = precision_recall_fscore_support(*labels, labels=relations, zero_division=0.0)
    counts = Counter(predicted)
    return [
        {
            "relation": name,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
            "predicted": counts[name],
        }
        for name, precision, recall, f1, support in zip(relations, *columns, strict=True)
    ]


def macro_f1(rows: Sequence[dict[str, Any]]) -> float:
    """Compute the mean F1 of the :func:`per_relation` rows with gold pairs; 0 without any."""
    f1s = [row["f1"] for row in rows if row["support"]]
    return float(np.mean(f1s)) if f1s else 0.0


def take_better(
    forward: OrderedDecision, backward: OrderedDecision, schema: RelationSchema
) -> OrderedDecision:
    """Combine the predictions for both orders of a pair into one, in the given order.

    A relation is preferred to NOTA, and a higher score to a lower one. A backward relation is
    replaced by its inverse. If it has none, :data:`REVERSED` is appended to its label, so that it
    counts as a false positive. If the scores are equal, ``backward`` is chosen, so that a model
    that cannot distinguish the two orders does not profit from the given order.
    """
    related = [d for d in (backward, forward) if d.relation not in (None, schema.nota)]
    if not related:
        return OrderedDecision(schema.nota, max(forward.score, backward.score))
    best = max(related, key=lambda decision: decision.score)  # backward if equal
    if best is forward:
        return forward
    label = schema.inverse_of(best.relation) or f"{best.relation}{REVERSED}"
    return OrderedDecision(label, best.score)


def order_free(
    forward: Sequence[OrderedDecision],
    backward: Sequence[OrderedDecision],
    schema: RelationSchema,
) -> list[str | None]:
    """Return each pair's label from :func:`take_better`; None only if the schema has no NOTA."""
    return [take_better(f, b, schema).relation for f, b in zip(forward, backward, strict=True)]


def positive_counts(
    gold: Sequence[str], predicted: Iterable[str | None], nota: str | None
) -> npt.NDArray[np.int64]:
    """Indicators (0 or 1) of true, predicted and gold positives, of shape ``(pairs, 3)``."""
    rows = [
        (label == prediction and label != nota, prediction not in (None, nota), label != nota)
        for label, prediction in zip(gold, predicted, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), 3)


def f1_from_counts(counts: npt.NDArray[Any], axis: int = -1) -> npt.NDArray[np.float64]:
    """Compute F1 from three sums of :func:`positive_counts` along ``axis``; 0 where undefined."""
    correct, predicted, gold = np.moveaxis(np.asarray(counts, dtype=np.float64), axis, 0)
    f1s: npt.NDArray[np.float64] = np.zeros_like(gold)
    np.divide(2 * correct, predicted + gold, out=f1s, where=predicted + gold > 0)
    return f1s


def bootstrap_f1(
    gold: Sequence[str],
    predicted: Sequence[str | None],
    posts: Sequence[str],
    nota: str | None,
    draws: int = 1000,
) -> tuple[float, float]:
    """Compute a 95 % interval of micro-F1 by resampling posts, given the post of each pair."""
    index: dict[str, int] = {}
    rows = [index.setdefault(post, len(index)) for post in posts]
    if not rows:
        return 0.0, 0.0
    totals = np.zeros((len(index), 3))
    np.add.at(totals, rows, positive_counts(gold, predicted, nota))
    return percentile_interval(f1_from_counts(resampled_sums(totals, draws)))


def expected_threshold(
    scores: Sequence[float] | npt.NDArray[np.floating[Any]], positives: float
) -> tuple[float, float]:
    """Choose the threshold that maximizes the micro-F1 expected from calibrated probabilities.

    The sum of the ``k`` largest probabilities is the expected number of correct predictions among
    them. F1 is therefore about ``2 * sum / (k + positives)`` (Lipton et al., ECML 2014).

    Args:
        scores: Calibrated probability of each pair's most probable relation except NOTA.
        positives: Expected number of pairs with a relation.

    Returns:
        The threshold, in [0, 1], and the expected F1; ``(1.0, 0.0)`` if all scores are 0.

    Raises:
        InputError: A score is not in [0, 1].

    Example:
        >>> threshold, f1 = expected_threshold([0.9, 0.8, 0.2, 0.1], 2.0)
        >>> threshold, round(f1, 2)
        (0.5, 0.85)
    """
    values = -np.sort(-np.asarray(scores, dtype=np.float64))
    if not np.all((values >= 0) & (values <= 1)):
        raise InputError("not all scores are probabilities", field="scores")
    f1s = 2 * values.cumsum() / (np.arange(1, len(values) + 1) + positives)
    lower = np.append(values[1:], 0.0)
    # A threshold cannot separate equal scores, so it can only lie below all of them.
    f1s[:-1][values[:-1] == lower[:-1]] = 0.0
    if not f1s.any():
        return 1.0, 0.0
    last = int(f1s.argmax())
    middle = (values[last] + lower[last]) / 2
    threshold = middle if middle > lower[last] else values[last]  # adjacent floats have no middle
    return float(threshold), float(f1s[last])


def calibration_error(scores: Sequence[float], correct: Sequence[bool], bins: int = 15) -> float:
    """Compute the expected calibration error (Guo et al., ICML 2017).

    This is the mean distance between score and accuracy over score bins of equal width, weighted by
    the number of predictions in each bin.

    Example:
        >>> round(calibration_error([0.9, 0.9, 0.1], [True, False, False]), 3)
        0.3
    """
    score, hit = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    bin_index = np.minimum((score * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_index, weights=hit - score, minlength=bins)
    return float(np.abs(gaps).sum() / max(1, len(score)))


def evaluate_predictions(
    gold: Sequence[str],
    forward: Sequence[OrderedDecision],
    backward: Sequence[OrderedDecision],
    posts: Sequence[str],
    schema: RelationSchema,
    *,
    given: Sequence[OrderedDecision] | None = None,
) -> dict[str, Any]:
    """Compute all metrics as plain data, for JSON and for :mod:`rukh.evaluation.report`.

    Args:
        gold, posts: The label and the post id of each pair. At least one pair is required.
        schema: The schema of the labels.
        forward, backward: The predictions for the given and for the reverse order of each pair.
        given: The predictions used for the metrics in the given order. None: ``forward``.

    Returns:
        ``accuracy, micro_precision, micro_recall, micro_f1, micro_f1_ci, macro_f1`` in the given
        order, ``micro_f1_order_free, micro_f1_order_free_ci``, the counts ``pairs, positives,
        posts``, ``per_relation`` (see :func:`per_relation`), and the ``confusion`` matrix with
        ``labels`` and ``counts`` (rows: gold, columns: predicted). None is a label only if the
        schema has no NOTA.

    Raises:
        InputError: A label is unknown to the schema.
    """
    nota = schema.nota
    predicted = [decision.relation for decision in (forward if given is None else given)]
    both_orders = order_free(forward, backward, schema)
    filled = _without_none(predicted, nota)
    if unknown := {*gold, *filled} - {*schema.labels, _NO_PREDICTION}:
        problem = f"label {min(unknown)!r} is not in schema {schema.name!r}"
        raise InputError(problem, fix=suggestion(min(unknown), schema.labels))
    labels = list(schema.labels)
    if _NO_PREDICTION in filled:
        labels.insert(0, _NO_PREDICTION)
    rows = per_relation(gold, filled, schema.names)
    figures = micro(gold, predicted, nota)
    return {
        "accuracy": figures.accuracy,
        "micro_precision": figures.precision,
        "micro_recall": figures.recall,
        "micro_f1": figures.f1,
        "micro_f1_ci": list(bootstrap_f1(gold, predicted, posts, nota)),
        "macro_f1": macro_f1(rows),
        "micro_f1_order_free": micro(gold, both_orders, nota).f1,
        "micro_f1_order_free_ci": list(bootstrap_f1(gold, both_orders, posts, nota)),
        "pairs": len(gold),
        "positives": sum(label != nota for label in gold),
        "posts": len(set(posts)),
        "per_relation": rows,
        "confusion": {
            "labels": [label or None for label in labels],
            "counts": confusion_matrix(gold, filled, labels=labels).tolist(),
        },
    }


def _without_none(labels: Iterable[str | None], nota: str | None) -> list[str]:
    return [(nota or _NO_PREDICTION) if label is None else label for label in labels]
