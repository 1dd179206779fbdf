"""Calibration: fitting the type penalty, the temperature and the threshold on the dev set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.evaluation.evaluate import best_relations
from rukh.evaluation.metrics import expected_threshold, micro, take_better
from rukh.modeling.directions import DirectionMode, target_columns, to_probabilities
from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema


class Calibration(NamedTuple):
    """The decision parameters fitted on the dev set, and the micro-F1 they reach there.

    Attributes:
        temperature, type_penalty, threshold: See :class:`rukh.modeling.model.ModelConfig`.
        order_free: Micro-F1 of the more probable direction of each pair.
        given_order: Micro-F1 of the annotated direction of each pair.
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
    mode: DirectionMode,
    violations: Tensor,
) -> Calibration:
    """Fit type penalty and temperature to the labels, and the threshold to the probabilities.

    The threshold maximises the F1 that the probabilities predict, not the F1 on the labels. The dev
    set is small, and a threshold that was fitted to its labels did worse on unseen posts.

    Args:
        logits: ``(2 Q, C)`` logits of each pair in its annotated order, then in the reverse order.
        gold: Labels of the ``Q`` pairs in the annotated order.
        violations: ``(2 Q, C)`` from :func:`rukh.modeling.type_constraints.type_penalties`.
    """
    nota = schema.nota
    target = torch.tensor([column for g in gold for column in target_columns(g, bank, nota, mode)])
    penalty = fit_penalty(logits, violations, target)
    logits = logits - penalty * violations
    temperature = fit_temperature(logits, target)
    probabilities = to_probabilities(logits / temperature, len(bank.names))
    decisions = best_relations(probabilities, bank.names)
    forward, backward = decisions[::2], decisions[1::2]
    better = [take_better(a, b, schema) for a, b in zip(forward, backward, strict=True)]
    # Count each fact once: a relation with a reverse has the same probability in both directions.
    one_way = probabilities[1::2, 1:][:, bank.reverse < 0]
    positives = probabilities[::2, 1:].sum() + one_way.sum()
    threshold, _ = expected_threshold([d.score for d in better], float(positives))
    order_free, given_order = (
        micro(gold, [d.relation if d.score >= threshold else nota for d in predicted], nota).f1
        for predicted in (better, forward)
    )
    return Calibration(temperature, penalty, threshold, order_free, given_order)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """Fit the temperature, between 0.1 and 10, that minimises the cross-entropy of the logits
    (Guo et al., ICML 2017).
    """
    grid = torch.logspace(-1, 1, 81)
    losses = torch.stack([cross_entropy(logits / t, target) for t in grid])
    return round(float(grid[losses.argmin()]), 4)


def fit_penalty(logits: Tensor, violations: Tensor, target: Tensor) -> float:
    """Fit the penalty, between 0 and 5, on ``violations`` that minimises the cross-entropy."""
    grid = torch.linspace(0, 5, 21)
    losses = torch.stack([cross_entropy(logits - p * violations, target) for p in grid])
    return float(grid[losses.argmin()])
