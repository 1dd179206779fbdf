"""Loss functions for training."""

from __future__ import annotations

from torch import Tensor, nn


def info_nce(logits: Tensor, target: Tensor) -> Tensor:
    """InfoNCE: cross-entropy with NOTA and all other relations of the bank as negatives.

    Args:
        logits: ``(Q, C)`` logit of NOTA, followed by the cosines divided by the temperature.
        target: ``(Q,)`` gold column of each pair.

    Example:
        >>> import torch
        >>> round(info_nce(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
        0.6931
    """
    return nn.functional.cross_entropy(logits, target)


def gate_loss(gate: Tensor, matches: Tensor) -> Tensor:
    """Binary cross-entropy of the image gate, which predicts whether the image matches the text.

    Args:
        gate: ``(B,)`` predicted probabilities; NaN for posts without an image, which are ignored.
        matches: ``(B,)`` gold values: 1 if the image belongs to the text, else 0.

    Example:
        >>> import torch
        >>> gate = torch.tensor([0.5, float("nan")])
        >>> round(gate_loss(gate, torch.tensor([0.0, 1.0])).item(), 4)
        0.6931
    """
    has_image = ~gate.isnan()
    if not has_image.any():
        return gate.new_zeros(())
    # bfloat16 rounds values near 0 and 1 to exactly 0 and 1, whose logarithms are not finite.
    trust = gate[has_image].float().clamp(1e-4, 1 - 1e-4)
    return nn.functional.binary_cross_entropy(trust, matches[has_image])
