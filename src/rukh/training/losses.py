"""The training objectives."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def info_nce(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """InfoNCE with all relations of the bank as negatives.

    It is the cross-entropy over cosines divided by the temperature, and none of the above (NOTA).

    Args:
        logits: ``(Q, C)``; column 0 is NOTA.
        target: ``(Q,)`` the gold column of each pair.
        label_smoothing: Fraction of the target probability that is spread over all columns.

    Returns:
        The mean over pairs, a scalar.

    Example:
        >>> round(info_nce(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
        0.6931
    """
    return nn.functional.cross_entropy(logits, target, label_smoothing=label_smoothing)


def gate_loss(gate: Tensor, matches: Tensor) -> Tensor:
    """Binary cross-entropy of the image gate against whether the image matches the text.

    Args:
        gate: ``(B,)`` in (0, 1); NaN for a post without an image, which is ignored.
        matches: ``(B,)`` 1 for an image that belongs to the text, 0 for one that does not.

    Returns:
        The mean over posts with an image, a scalar; 0 if there is none.

    Example:
        >>> gate = torch.tensor([0.5, float("nan")])
        >>> round(gate_loss(gate, torch.tensor([0.0, 1.0])).item(), 4)
        0.6931
    """
    has_image = ~gate.isnan()
    if not has_image.any():
        return gate.new_zeros(())
    # In float32 and away from 0 and 1, where bfloat16 rounds to the limits.
    trust = gate[has_image].float().clamp(1e-4, 1 - 1e-4)
    likelihood = torch.where(matches[has_image] > 0, trust, 1 - trust)
    return -likelihood.log().mean()
