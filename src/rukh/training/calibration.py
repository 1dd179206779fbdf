"""Temperature and threshold: from logits to probabilities, and from probabilities to decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.evaluation.metrics import OrderedDecision, expected_threshold, micro, take_better
from rukh.modeling.directions import DirectionMode, target_columns, to_probabilities
from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema


class Calibration(NamedTuple):
    """What a held-out fold decides, and what it measures at that decision.

    Attributes:
        temperature: Divides logits before they become probabilities.
        type_penalty: What a violated type takes off a logit before that.
        threshold: The least probability at which a relation is told.
        order_free: Micro-F1 on the fold at this threshold, both orders asked.
        given_order: The same in the given order.
    """

    temperature: float
    type_penalty: float
    threshold: float
    order_free: float
    given_order: float


def calibrate(
    logits: Tensor,
    gold: Sequence[str],
    bank: RelationBank,
    schema: RelationSchema,
    order: DirectionMode = "both",
    violated: Tensor | None = None,
) -> Calibration:
    """Fit temperature and type penalty to the labels, and the threshold to the probabilities.

    The fold is small: the threshold that is best on its labels was worse on posts that neither the
    model nor the fold had seen than the one at which the probabilities expect the largest F1.

    Args:
        logits: ``(2 Q, 1 + R)`` or wider, each pair in its given order and then in the other.
        gold: The ``Q`` labels in the given order.
        bank: The relations of the columns.
        schema: Says what a label is the other way round.
        order: What the logits stand for.
        violated: Of the logits' shape; see :func:`rukh.modeling.type_constraints.violations`. None: no type
            counts.
    """
    nota = schema.nota
    target = torch.tensor([column for g in gold for column in target_columns(g, bank, nota, order)])
    penalty = 0.0
    if violated is not None:
        penalty = fit_penalty(logits, violated, target)
        logits = logits - penalty * violated
    temperature = fit_temperature(logits, target)
    told = to_probabilities(logits / temperature, len(bank.names))[:, 1:]
    best, which = told.max(-1)
    decisions = [
        OrderedDecision(bank.names[k], score)
        for score, k in zip(best.tolist(), which.tolist(), strict=True)
    ]
    forward, backward = decisions[::2], decisions[1::2]
    better = [take_better(a, b, schema) for a, b in zip(forward, backward, strict=True)]
    # Each two arguments count once: a relation with a reverse is told the same from both ends.
    positives = told[::2].sum() + told[1::2][:, bank.reverse < 0].sum()
    threshold, _ = expected_threshold([d.score for d in better], float(positives))
    free, given = (
        [d.relation if d.score >= threshold else nota for d in found] for found in (better, forward)
    )
    return Calibration(
        temperature, penalty, threshold, micro(gold, free, nota).f1, micro(gold, given, nota).f1
    )


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature at which the logits' probabilities fit best (Guo et al., ICML 2017).

    Args:
        logits: ``(Q, C)``.
        target: ``(Q,)``.
    """
    grid = torch.logspace(-1, 1, 81)
    losses = torch.stack([cross_entropy(logits / t, target) for t in grid])
    return round(float(grid[losses.argmin()]), 4)


def fit_penalty(logits: Tensor, violated: Tensor, target: Tensor) -> float:
    """The penalty on violated types at which the logits' probabilities fit best, 0 to 5.

    Args:
        logits, violated: ``(Q, C)``.
        target: ``(Q,)``.
    """
    grid = torch.linspace(0, 5, 21)
    losses = torch.stack([cross_entropy(logits - p * violated, target) for p in grid])
    return float(grid[losses.argmin()])


def fit_unseen(logits: Tensor, target: Tensor, seen: Tensor) -> tuple[float, float]:
    """Temperature and shift for relations that training never showed; see
    :class:`rukh.modeling.model.ModelConfig`.

    Args:
        logits: ``(Q, C)``.
        target: ``(Q,)``.
        seen: ``(C,)`` bool, the columns of NOTA and of relations that training showed.
    """
    found = []
    for shift in torch.linspace(-2, 6, 33).tolist():
        moved = logits + torch.where(seen, 0.0, shift)
        temperature = fit_temperature(moved, target)
        found.append((float(cross_entropy(moved / temperature, target)), temperature, shift))
    _, temperature, shift = min(found)
    return temperature, shift
