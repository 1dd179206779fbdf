"""Fusion of text and image: transformer layers over both, a visual gate, and region pooling.

ROC concatenates the states of text and image and applies N transformer encoder layers to them. rukh
adds a gate that weights the image by how well it fits the text. It also adds region pooling as an
alternative to concatenation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rukh.modeling.regions import pool_regions, quarters


class VisualGate(nn.Module):
    """Scores how much to trust an image, given the text of its post.

    The trust is the sigmoid of the score. An image with a trust of 0 has no effect.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(3 * dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, 1))

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """Compute logits ``(B,)`` from the mean states of text and image, each ``(B, dim)``."""
        logits: Tensor = self.score(torch.cat([text, image, text * image], -1)).squeeze(-1)
        return logits


class Fusion(nn.Module):
    """N pre-norm transformer encoder layers (ROC: the fusion of ``[X_T; X_I]``).

    Their output projections are initialized to zero. Therefore, the layers start as the identity,
    which returns the pretrained states unchanged. With ``layers=0``, they are always unchanged.
    """

    def __init__(self, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        for name, parameter in self.named_parameters():
            if "out_proj." in name or "linear2." in name:
                nn.init.zeros_(parameter)

    def forward(self, states: Tensor, mask: Tensor, log_trust: Tensor) -> Tensor:
        """Fuse states ``(B, S, dim)``.

        Args:
            states: The states of text and image.
            mask: ``(B, S)`` bool, False for padding; at least one True per row.
            log_trust: ``(B, S)`` logarithm of the trust in each position, 0 for full trust. It is
                added to the attention logits of that position as a key.
        """
        bias = log_trust.masked_fill(~mask, float("-inf"))
        # PyTorch's fast path for inference turns a float mask into a boolean one: it would hide
        # every position with less than full trust.
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            for layer in self.layers:
                states = layer(states, src_key_padding_mask=bias)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
        return states


class RegionPooling(nn.Module):
    """Pools the patches of the whole image and of each box, as features for the pairs.

    The pooling is the root mean square (RMS) over an area, followed by linear layers. RMS is
    generalized-mean pooling of degree 2 (Radenovic et al., TPAMI 2019). It keeps small objects that
    mean pooling averages out; max pooling keeps a single patch. The patches are not normalized,
    because that would give empty background the weight of objects. There is no attention, because
    attention over patches overfits to the objects seen in training.

    Each quarter of a box is pooled separately, as in RoI pooling (Girshick, ICCV 2015), to keep the
    layout of the object. All areas share the first linear layer, which keeps the model small.
    """

    def __init__(self, dim: int, visual_dim: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(visual_dim, dim, bias=False)
        self.whole = nn.Linear(dim, dim, bias=False)
        self.quarters = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, patches: Tensor, patch_boxes: Tensor, mask: Tensor, boxes: Tensor) -> Tensor:
        """Pool each whole image and each of its boxes.

        Args:
            patches: ``(B, P, visual_dim)`` states of the patches.
            patch_boxes: ``(B, P, 4)`` boxes of the patches.
            mask: ``(B, P)`` bool, False for padding.
            boxes: ``(B, R, 4)`` boxes to pool.

        Returns:
            ``(B, 1 + R, dim)`` features, the whole image first; zeros if there is no image.
        """
        whole = boxes.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(boxes), 1, 4)
        areas = torch.cat([whole, quarters(boxes).flatten(1, 2)], 1)
        mean_square = pool_regions(patches.square(), patch_boxes, mask, areas)
        # The constant keeps the gradient of the root finite at 0.
        rms = (mean_square + 1e-6).sqrt() * mask.any(1)[:, None, None]
        pooled = self.narrow(rms)
        box_quarters = pooled[:, 1:].reshape(*boxes.shape[:2], 4 * pooled.shape[-1])
        return torch.cat([self.whole(pooled[:, :1]), self.quarters(box_quarters)], 1)


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Average the unmasked states ``(B, P, d)`` over ``P``, giving ``(B, d)``; zeros if all masked.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [2.0], [6.0]]]), torch.tensor([[True, True, False]]))
        tensor([[1.5000]])
    """
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
