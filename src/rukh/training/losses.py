"""Loss functions for training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class LossTerm(NamedTuple):
    """A term of a loss, which is the mean of some values.

    The sum and the number are kept apart, so that the mean over the parts of a batch on several
    processes is that over the whole batch.

    Attributes:
        total: Sum of the values, a scalar.
        number: Number of the values, a scalar in float32; it may be 0.
    """

    total: Tensor
    number: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of the values; 0 if there is none."""
        return self.total / self.number.clamp_min(1)


def info_nce(logits: Tensor, target: Tensor) -> LossTerm:
    """InfoNCE: cross-entropy with NOTA and all other relations of the bank as negatives.

    Args:
        logits: ``(Q, C)`` logit of NOTA, followed by the cosines divided by the temperature.
        target: ``(Q,)`` gold column of each pair.

    Example:
        >>> round(info_nce(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).mean.item(), 4)
        0.6931
    """
    total = nn.functional.cross_entropy(logits.float(), target, reduction="sum")
    return LossTerm(total, torch.full_like(total, len(target)))


def gate_loss(gate: Tensor, matches: Tensor) -> LossTerm:
    """Binary cross-entropy of the image gate, which predicts whether the image matches the text.

    Args:
        gate: ``(B,)`` predicted probabilities; NaN for posts without an image, which are ignored.
        matches: ``(B,)`` bool, True if the image belongs to the text.

    Example:
        >>> gate = torch.tensor([0.5, float("nan")])
        >>> round(gate_loss(gate, torch.tensor([False, True])).mean.item(), 4)
        0.6931
    """
    has_image = ~gate.isnan()
    # bfloat16 rounds values near 0 and 1 to exactly 0 and 1, whose logarithms are not finite.
    trust = gate.float().where(has_image, 0.5).clamp(1e-4, 1 - 1e-4)
    losses = -torch.where(matches, trust, 1 - trust).log()
    return LossTerm((losses * has_image).sum(), has_image.sum(dtype=torch.float32))
