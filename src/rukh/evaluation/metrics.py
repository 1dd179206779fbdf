"""How good predictions are: the field's micro-F1, an order-free one, macro-F1, and how sure of it.

Everything here works on label names, one gold and one predicted for each pair. Micro figures are
those of OpenNRE's ``eval``, which HVPNeT, MKGformer and MORE share: counted over all labels but
none-of-the-above (NOTA). A prediction of None stands for NOTA, whatever the schema calls it.

Benchmarks list each pair in one order, and that order can give the label away (annotators turn a
pair round when it has a relation). The order-free figure asks a model for both orders instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rukh.errors import InputError, suggestion
from rukh.schema.schema import RelationSchema

REVERSED = " reversed"
"""Ends the label of a relation that was predicted from the tail to the head."""


class Micro(NamedTuple):
    """Micro figures over all labels but NOTA, and accuracy over all labels; in [0, 1]."""

    precision: float
    recall: float
    f1: float
    accuracy: float


class OrderedDecision(NamedTuple):
    """What a model says of two arguments in one order.

    Attributes:
        relation: The relation, or None (or the schema's NOTA) where none holds.
        score: Its probability.
    """

    relation: str | None
    score: float


def micro(gold: Sequence[str], predicted: Sequence[str | None], nota: str | None) -> Micro:
    """Precision, recall, F1 and accuracy as the field computes them; what divides by zero is 0.

    Args:
        gold, predicted: One label a pair.
        nota: Name of NOTA; None for a schema without one, where all gold labels count.

    Example:
        >>> micro(["a", "a", "None", "b"], ["a", "b", "b", "None"], "None")
        Micro(precision=0.3333333333333333, recall=0.3333333333333333, f1=0.3333333333333333, \
accuracy=0.25)
    """
    correct, said, true = (int(count) for count in _counts(gold, predicted, nota).sum(axis=0))
    hits = sum(g == (nota if p is None else p) for g, p in zip(gold, predicted, strict=True))
    return Micro(
        precision=correct / said if said else 0.0,
        recall=correct / true if true else 0.0,
        f1=float(_f1(correct, said, true)),
        accuracy=hits / len(gold) if gold else 0.0,
    )


def confusion(
    gold: Sequence[str | None], predicted: Sequence[str | None], labels: Sequence[str | None]
) -> npt.NDArray[np.int64]:
    """How often each gold label (row) was predicted as each label (column).

    Returns:
        Counts, shape ``(len(labels), len(labels))``.

    Raises:
        InputError: A label stands outside ``labels``.
    """
    index = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(index), len(index)), dtype=np.int64)
    for pair in zip(gold, predicted, strict=True):
        for label in pair:
            if label not in index:
                raise InputError(
                    f"label {label!r} is none of the schema's",
                    fix=suggestion(str(label), [known for known in index if known is not None]),
                )
        matrix[index[pair[0]], index[pair[1]]] += 1
    return matrix


def per_relation(
    matrix: npt.NDArray[np.int64], labels: Sequence[str | None], nota: str | None
) -> list[dict[str, Any]]:
    """A row for each relation but NOTA, in the order of ``labels``.

    Args:
        matrix: What :func:`confusion` counted over the same labels.

    Returns:
        Mappings of ``relation, precision, recall, f1, support`` (gold pairs) and ``predicted``.
    """
    rows = []
    for i, label in enumerate(labels):
        if label is None or label == nota:
            continue
        correct, support, said = int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum())
        rows.append(
            {
                "relation": label,
                "precision": correct / said if said else 0.0,
                "recall": correct / support if support else 0.0,
                "f1": float(_f1(correct, said, support)),
                "support": support,
                "predicted": said,
            }
        )
    return rows


def macro_f1(rows: Sequence[dict[str, Any]]) -> float:
    """Mean F1 of the :func:`per_relation` rows whose relation occurs in gold; 0 without any."""
    f1s = [row["f1"] for row in rows if row["support"]]
    return float(np.mean(f1s)) if f1s else 0.0


def take_better(
    forward: OrderedDecision, backward: OrderedDecision, schema: RelationSchema
) -> OrderedDecision:
    """One decision for a pair that was asked in both orders, told in the given order.

    A relation beats NOTA, and a higher score a lower one. A relation found backwards is itself
    where it is symmetric and its inverse where it has one; otherwise its label ends in
    :data:`REVERSED`, so that it counts as a wrong positive. At equal scores ``backward`` wins: a
    model that cannot tell the two orders apart must not gain from the one that it was given.
    """
    found = [
        (decision, turned)
        for decision, turned in ((backward, True), (forward, False))
        if decision.relation not in (None, schema.nota)
    ]
    if not found:
        return OrderedDecision(schema.nota, max(forward.score, backward.score))
    best, turned = max(found, key=lambda item: item[0].score)  # the first of equals
    if not turned:
        return best
    return OrderedDecision(
        schema.reverse(best.relation) or f"{best.relation}{REVERSED}", best.score
    )


def order_free(
    forward: Sequence[OrderedDecision],
    backward: Sequence[OrderedDecision],
    schema: RelationSchema,
) -> list[str | None]:
    """The label of each pair by :func:`take_better`; None only where the schema has no NOTA."""
    return [take_better(f, b, schema).relation for f, b in zip(forward, backward, strict=True)]


def bootstrap_f1(
    gold: Sequence[str],
    predicted: Sequence[str | None],
    posts: Sequence[str],
    nota: str | None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of micro-F1, resampling whole posts.

    Pairs of one post share its words and picture, so they are not independent; posts are.

    Args:
        posts: The post of each pair.
        draws: How many resamples.
        level: Share of the resamples that the interval covers.
    """
    index: dict[str, int] = {}
    rows = [index.setdefault(post, len(index)) for post in posts]
    size = len(index)
    if not size:
        return 0.0, 0.0
    totals = np.zeros((size, 3))
    np.add.at(totals, rows, _counts(gold, predicted, nota))
    generator = np.random.default_rng(seed)
    times = (np.bincount(generator.integers(size, size=size), minlength=size) for _ in range(draws))
    sums = np.stack([drawn @ totals for drawn in times])
    tail = (1 - level) / 2
    low, high = np.quantile(_f1(*sums.T), [tail, 1 - tail])
    return float(low), float(high)


def expected_threshold(
    scores: Sequence[float] | npt.NDArray[np.floating[Any]], positives: float
) -> tuple[float, float]:
    """The threshold at which micro-F1 may be expected to be largest, by the probabilities alone.

    Of the ``k`` most probable answers the sum of probabilities is how many are expected to be
    right, so that F1 is about ``2 * sum / (k + positives)``; the largest lies near half its own
    value (Lipton et al., ECML 2014). Labels are not asked: where they are few and noisy, the
    threshold that happens to be best on them is a worse guess.

    Args:
        scores: Calibrated probability of each pair's best relation but NOTA, in [0, 1].
        positives: How many pairs are expected to carry a relation.

    Returns:
        The threshold, in [0, 1], and the expected F1; ``(1.0, 0.0)`` where nothing is expected.

    Raises:
        InputError: A score is no probability.

    Example:
        >>> expected_threshold([0.9, 0.8, 0.2, 0.1], 2.0)
        (0.5, 0.85)
    """
    values = np.asarray(scores, dtype=np.float64)
    outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if outside.size:
        raise InputError(
            f"score {values[outside[0]]} is no probability", field=f"scores[{outside[0]}]"
        )
    values = -np.sort(-values)
    told = np.arange(1, len(values) + 1)
    f1s = 2 * values.cumsum() / (told + positives)
    lower = np.append(values[1:], 0.0)
    # A threshold cannot part equal scores, so only the last of a block can be the last one told.
    f1s[:-1][values[:-1] == lower[:-1]] = 0.0
    if not f1s.any():
        return 1.0, 0.0
    last = int(f1s.argmax())
    middle = (values[last] + lower[last]) / 2
    threshold = middle if middle > lower[last] else values[last]  # neighbouring floats have none
    return float(threshold), float(f1s[last])


def evaluate_predictions(
    gold: Sequence[str],
    forward: Sequence[OrderedDecision],
    backward: Sequence[OrderedDecision],
    posts: Sequence[str],
    schema: RelationSchema,
    *,
    given: Sequence[OrderedDecision] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of one evaluation, as plain data for JSON and for :mod:`rukh.evaluation.report`.

    Args:
        gold: The label of each pair in the given order; unlabelled pairs are not to be passed.
        forward, backward: The decision for each pair in the given order and in the other.
        posts: The post of each pair.
        given: The decisions in the given order where that is known to be the relation's; None:
            ``forward``.
        draws, seed: See :func:`bootstrap_f1`.

    Returns:
        ``accuracy, micro_precision, micro_recall, micro_f1, micro_f1_ci, macro_f1`` in the given
        order, ``micro_f1_order_free, micro_f1_order_free_ci``, the counts ``pairs, positives,
        posts``, ``per_relation`` (see there) and ``confusion``: ``labels`` and ``counts``, rows
        gold, columns predicted. The label None stands there only for a schema without NOTA that
        was not always answered.

    Raises:
        InputError: A label stands outside the schema.
    """
    nota = schema.nota
    told = [
        nota if d.relation is None else d.relation for d in (forward if given is None else given)
    ]
    free = order_free(forward, backward, schema)
    labels: tuple[str | None, ...] = schema.labels
    if None in told:
        labels = (None, *labels)
    matrix = confusion(gold, told, labels)
    rows = per_relation(matrix, labels, nota)
    figures = micro(gold, told, nota)
    return {
        "accuracy": figures.accuracy,
        "micro_precision": figures.precision,
        "micro_recall": figures.recall,
        "micro_f1": figures.f1,
        "micro_f1_ci": list(bootstrap_f1(gold, told, posts, nota, draws=draws, seed=seed)),
        "macro_f1": macro_f1(rows),
        "micro_f1_order_free": micro(gold, free, nota).f1,
        "micro_f1_order_free_ci": list(
            bootstrap_f1(gold, free, posts, nota, draws=draws, seed=seed)
        ),
        "pairs": len(gold),
        "positives": sum(label != nota for label in gold),
        "posts": len(set(posts)),
        "per_relation": rows,
        "confusion": {"labels": list(labels), "counts": matrix.tolist()},
    }


def _counts(
    gold: Sequence[str], predicted: Sequence[str | None], nota: str | None
) -> npt.NDArray[np.int64]:
    """Shape ``(pairs, 3)``: right positive, predicted positive, gold positive; each 0 or 1."""
    rows = [
        (g == p and g != nota, p is not None and p != nota, g != nota)
        for g, p in zip(gold, predicted, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), 3)


def _f1(correct: Any, predicted: Any, gold: Any) -> npt.NDArray[np.float64]:
    """F1 from counts (or arrays of them): ``2 PR / (P + R)`` with P and R written out."""
    sizes = np.asarray(predicted + gold, dtype=np.float64)
    f1s = np.zeros_like(sizes)
    np.divide(2.0 * correct, sizes, out=f1s, where=sizes > 0)
    return f1s
