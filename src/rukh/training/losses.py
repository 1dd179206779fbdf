"""The training objectives."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def info_nce(
    logits: Tensor, target: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """InfoNCE with the whole bank as negatives: cross-entropy over scaled cosines and NOTA.

    Args:
        logits: ``(Q, 1 + R)``, cosines over the temperature; NOTA first.
        target: ``(Q,)`` the right column.
        weights: ``(1 + R,)`` a weight for each label, or None.
        smoothing: Share of the target spread over all labels.

    Returns:
        The weighted mean over pairs, a scalar.

    Example:
        >>> import torch
        >>> info_nce(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item() - math.log(2) < 1e-6
        True
    """
    return nn.functional.cross_entropy(logits, target, weights, label_smoothing=smoothing)


def gate_loss(gate: Tensor, fits: Tensor) -> Tensor:
    """Binary cross-entropy of the trust in each picture and whether it fits its text.

    Args:
        gate: ``(B,)`` trust in (0, 1); NaN for a post without a picture, which does not count.
        fits: ``(B,)`` 1 for a picture that fits, 0 for one that does not.

    Returns:
        The mean over posts with a picture, a scalar; 0 where there is none.

    Example:
        >>> import torch
        >>> gate = torch.tensor([0.5, float("nan")])
        >>> round(gate_loss(gate, torch.tensor([0.0, 1.0])).item(), 4)
        0.6931
    """
    there = ~gate.isnan()
    if not there.any():
        return gate.new_zeros(())
    # In full precision and away from the ends, where bfloat16 has no numbers left.
    trust = gate[there].float().clamp(1e-4, 1 - 1e-4)
    right = torch.where(fits[there] > 0, trust, 1 - trust)
    return -right.log().mean()
