"""Fusion of words and picture: N transformer layers over ``[X_T; X_I]``, and the visual gate.

ROC concatenates text and image states and runs N transformer encoder layers over them. rukh adds
a gate, which says how far this picture is to be trusted for this text, a visibility under which
levitated markers see the words, the picture and their own pair, and are seen by no other, and,
where asked for, a look of each pair's own at the picture, in place of patches in the fusion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rukh.modeling.regions import pool_regions, quarters


def visibility(groups: Tensor) -> Tensor:
    """Who sees whom.

    Args:
        groups: ``(B, S)``: -1 nothing there, 0 seen by all, k > 0 a marker of the k-th pair.

    Returns:
        ``(B, S, S)`` bool; ``[b, i, j]`` says whether position i sees position j. Where all
        groups are 0 or -1 every row of a matrix is the same.

    Example:
        >>> visibility(torch.tensor([[0, 1, 2]]))[0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    seen = groups[:, None, :]
    return (seen == 0) | ((seen > 0) & (seen == groups[:, :, None]))


class VisualGate(nn.Module):
    """How far a picture is trusted for a text: the logit of one number in (0, 1) a post.

    At a trust of 0 the picture's states become the learned one of an absent picture and its
    patches are seen by nothing, so that distrust and absence are the same to all that follows.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(3 * dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, 1))

    def forward(self, text: Tensor, picture: Tensor) -> Tensor:
        """Mean states of words and patches, ``(B, d)`` each, to logits ``(B,)``."""
        both = torch.cat([text, picture, text * picture], -1)
        logit: Tensor = self.score(both).squeeze(-1)
        return logit


class Fusion(nn.Module):
    """N pre-norm transformer encoder layers that begin as the identity.

    The output projections start at zero: at the first step the pretrained states pass through
    unchanged, and the layers grow as training needs them.

    Args:
        dim: Width ``d``.
        layers: N; 0 leaves the states as they are.
        heads: Attention heads.
    """

    def __init__(self, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        for layer in self.layers:
            for last in (layer.self_attn.out_proj, layer.linear2):  # type: ignore[union-attr]
                nn.init.zeros_(last.weight)  # type: ignore[union-attr, arg-type]
                nn.init.zeros_(last.bias)  # type: ignore[union-attr, arg-type]

    def forward(self, states: Tensor, groups: Tensor, trust: Tensor) -> Tensor:
        """Fused states.

        Args:
            states: ``(B, S, d)``.
            groups: ``(B, S)``, see :func:`visibility`; somewhere 0 in every row.
            trust: ``(B, S)`` logarithm of how far each position is trusted, 0 for fully; it is
                added to the logits of all attention paid to that position.

        Returns:
            ``(B, S, d)``.
        """
        bias = trust.masked_fill(groups < 0, float("-inf"))
        mask: Tensor | None = None
        if (groups > 0).any():
            mask = bias[:, None].masked_fill(~visibility(groups), float("-inf"))
            mask = mask.repeat_interleave(self.heads, 0)
        for layer in self.layers:
            states = layer(
                states, src_mask=mask, src_key_padding_mask=bias if mask is None else None
            )
        return states


class RegionPooling(nn.Module):
    """What is to be found in a picture: what all of it shows, and what each box does.

    Both are the patches as the encoder made them, root mean square over an area, by a linear map:
    generalised-mean pooling (Radenovic et al., TPAMI 2019) of degree 2. A plain mean drowns things
    in their ground, and a maximum hears the loudest patch alone. To normalise each patch would make
    plain ground as loud as things, and attention over patches fits the very things that training
    showed. A box holds one thing, so its quarters are told apart (as by RoI pooling: Girshick,
    ICCV 2015); what all of a picture shows may stand anywhere in it. All areas share their first
    map, which narrows them: what is learned of one serves the others, and the model stays small.

    Args:
        dim: Width ``d``.
        visual_dim: Width ``v`` of the vision encoder's patch states.
    """

    def __init__(self, dim: int, visual_dim: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(visual_dim, dim, bias=False)
        self.whole = nn.Linear(dim, dim, bias=False)
        self.quarters = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, patches: Tensor, patch_boxes: Tensor, there: Tensor, boxes: Tensor) -> Tensor:
        """What each of ``B`` pictures shows, ``(B, 1 + R, d)``: the whole, then each box; zeros
        where there is no picture.

        Args:
            patches: ``(B, P, v)``.
            patch_boxes: ``(B, P, 4)``.
            there: ``(B, P)`` bool, which patches exist.
            boxes: ``(B, R, 4)``.
        """
        whole = boxes.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(boxes), 1, 4)
        areas = torch.cat([whole, quarters(boxes).flatten(1, 2)], 1)
        power = pool_regions(patches.square(), patch_boxes, there, areas)
        # The smallest keeps the root's gradient finite where nothing is seen.
        loud = (power + 1e-6).sqrt() * there.any(1)[:, None, None]
        told = self.narrow(loud)
        parts = told[:, 1:].reshape(*boxes.shape[:2], 4 * told.shape[-1])
        return torch.cat([self.whole(told[:, :1]), self.quarters(parts)], 1)


def mean(states: Tensor, there: Tensor) -> Tensor:
    """``(B, d)``, the mean of those of ``(B, P, d)`` that are there; zeros where none is."""
    return (states * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)
