"""The training objective."""

from __future__ import annotations

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
