"""Temperature and threshold: from logits to probabilities, and from probabilities to decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rukh.bank import RelationBank
from rukh.metrics import OrderedDecision, best_threshold, micro, take_better
from rukh.orders import Order, columns, directed
from rukh.schema import RelationSchema


class Calibration(NamedTuple):
    """What a held-out fold decides, and what it measures at that decision.

    Attributes:
        temperature: Divides logits before they become probabilities.
        threshold: The least probability at which a relation is told.
        order_free: Micro-F1 on the fold, both orders asked; the threshold is its best.
        given_order: Micro-F1 on the fold in the given order, at the same threshold.
    """

    temperature: float
    threshold: float
    order_free: float
    given_order: float


def calibrate(
    logits: Tensor,
    gold: Sequence[str],
    bank: RelationBank,
    schema: RelationSchema,
    order: Order = "both",
) -> Calibration:
    """Fit temperature and threshold.

    Args:
        logits: ``(2 Q, 1 + R)`` or wider, each pair in its given order and then in the other.
        gold: The ``Q`` labels in the given order.
        bank: The relations of the columns.
        schema: Says what a label is the other way round.
        order: What the logits stand for.
    """
    nota = schema.nota
    target = [column for g in gold for column in columns(g, bank, nota, order)]
    temperature = fit_temperature(logits, torch.tensor(target))
    told = directed((logits / temperature).softmax(-1), len(bank.names))
    best, which = told[:, 1:].max(-1)
    decisions = [
        OrderedDecision(bank.names[k], score)
        for score, k in zip(best.tolist(), which.tolist(), strict=True)
    ]
    forward, backward = decisions[::2], decisions[1::2]
    better = [take_better(a, b, schema) for a, b in zip(forward, backward, strict=True)]
    threshold, order_free = best_threshold(
        [d.score for d in better], [d.relation for d in better], gold, nota
    )
    given = [d.relation if d.score >= threshold else nota for d in forward]
    return Calibration(temperature, threshold, order_free, micro(gold, given, nota).f1)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature at which the logits' probabilities fit best (Guo et al., ICML 2017).

    Args:
        logits: ``(Q, C)``.
        target: ``(Q,)``.
    """
    grid = torch.logspace(-1, 1, 81)
    losses = torch.stack([torch.nn.functional.cross_entropy(logits / t, target) for t in grid])
    return round(float(grid[losses.argmin()]), 4)
