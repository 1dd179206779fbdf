"""The training objectives."""

from __future__ import annotations

from torch import Tensor, nn


def info_nce(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """InfoNCE with NOTA and all other relations of the bank as negatives: a cross-entropy.

    Args:
        logits: ``(Q, C)``: NOTA, then cosines divided by the temperature.
        target: ``(Q,)`` the gold column of each pair.
        label_smoothing: Fraction of the target probability that is spread over all columns.

    Example:
        >>> import torch
        >>> round(info_nce(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
        0.6931
    """
    return nn.functional.cross_entropy(logits, target, label_smoothing=label_smoothing)


def gate_loss(gate: Tensor, matches: Tensor) -> Tensor:
    """Binary cross-entropy of the image gate, which learns whether the image matches the text.

    Args:
        gate: ``(B,)`` in (0, 1); NaN for a post without an image, which is ignored.
        matches: ``(B,)`` 1 for an image that belongs to the text, 0 for one that does not.

    Example:
        >>> import torch
        >>> gate = torch.tensor([0.5, float("nan")])
        >>> round(gate_loss(gate, torch.tensor([0.0, 1.0])).item(), 4)
        0.6931
    """
    has_image = ~gate.isnan()
    if not has_image.any():
        return gate.new_zeros(())
    # In float32 and away from 0 and 1, where bfloat16 rounds to the limits.
    trust = gate[has_image].float().clamp(1e-4, 1 - 1e-4)
    return nn.functional.binary_cross_entropy(trust, matches[has_image])
