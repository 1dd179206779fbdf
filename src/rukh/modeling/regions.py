"""Regions of a picture: what lies under a box, where the box is, and how two boxes stand.

All boxes are ``(x1, y1, x2, y2)`` as fractions of the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_SMALLEST = 1e-4
"""Sides below this count as this: a ten-thousandth of the picture is less than a pixel."""


def pool_regions(states: Tensor, patch_boxes: Tensor, patch_mask: Tensor, boxes: Tensor) -> Tensor:
    """The mean state under each box, patches weighted by how much of them the box covers.

    A box smaller than a patch takes that patch's state; one that touches no patch takes the
    nearest patch's, by centres.

    Args:
        states: ``(B, P, D)`` patch states.
        patch_boxes: ``(B, P, 4)``.
        patch_mask: ``(B, P)`` bool, which patches exist; where none does, the result is 0.
        boxes: ``(B, R, 4)``.

    Returns:
        ``(B, R, D)``; gradients reach the states, and the boxes where they touch a patch.
    """
    if not states.shape[1]:
        return states.new_zeros(*boxes.shape[:2], states.shape[2])
    areas = _intersection(boxes[:, :, None], patch_boxes[:, None]) * patch_mask[:, None]
    total = areas.sum(-1, keepdim=True)
    touches = total > 0
    gaps = (_centre(boxes)[:, :, None] - _centre(patch_boxes)[:, None]).square().sum(-1)
    nearest = gaps.masked_fill(~patch_mask[:, None], torch.inf).argmin(-1)
    fallback = nn.functional.one_hot(nearest, states.shape[1]) * patch_mask[:, None]
    # The inner choice keeps 0/0, and with it NaN gradients, out of the branch not taken.
    weights = torch.where(touches, areas / torch.where(touches, total, 1.0), fallback)
    return weights.to(states.dtype) @ states


class BoxGeometry(nn.Module):
    """Embeds boxes ``(..., 4)`` as ``(..., dim)``: corners, centre, sides and area.

    Each number goes in as it is and through sines and cosines of doubling frequency, so that a
    linear layer can tell places apart as finely as patches lie.

    Args:
        dim: Width of the embedding.
        bands: Number of frequencies; the finest tells ``2 ** -bands`` of the picture apart.
    """

    frequencies: Tensor

    def __init__(self, dim: int, bands: int = 4) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(bands), persistent=False)
        self.project = nn.Linear(9 * (1 + 2 * bands), dim)

    def forward(self, boxes: Tensor) -> Tensor:
        """Embeddings ``(..., dim)`` of boxes ``(..., 4)``."""
        sides = boxes[..., 2:] - boxes[..., :2]
        area = sides.prod(-1, keepdim=True)
        numbers = torch.cat([boxes, _centre(boxes), sides, area], -1)
        waves = (numbers[..., None] * self.frequencies).flatten(-2)
        out: Tensor = self.project(torch.cat([numbers, waves.sin(), waves.cos()], -1))
        return out


def box_relation(head: Tensor, tail: Tensor) -> Tensor:
    """How two boxes stand to each other.

    Args:
        head, tail: ``(..., 4)``.

    Returns:
        ``(..., 7)``: how far the tail's centre lies right of and below the head's, log ratios of
        their widths and heights (these four change sign when head and tail are swapped),
        intersection over union (unchanged), and the shares of the head and of the tail that the
        other covers (swapped).
    """
    head_sides, tail_sides = ((b[..., 2:] - b[..., :2]).clamp_min(_SMALLEST) for b in (head, tail))
    shared = _intersection(head, tail)
    head_area, tail_area = head_sides.prod(-1), tail_sides.prod(-1)
    shares = torch.stack(
        [shared / (head_area + tail_area - shared), shared / head_area, shared / tail_area], -1
    )
    offset = _centre(tail) - _centre(head)
    return torch.cat([offset, tail_sides.log() - head_sides.log(), shares], -1)


def quarters(boxes: Tensor) -> Tensor:
    """The four quarters of each box, ``(..., 4, 4)`` of ``(..., 4)``: row by row, left to right.

    Example:
        >>> quarters(torch.tensor([0.0, 0.0, 1.0, 1.0]))[1].tolist()
        [0.5, 0.0, 1.0, 0.5]
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    x, y = _centre(boxes).unbind(-1)
    corners = (x1, y1, x, y), (x, y1, x2, y), (x1, y, x, y2), (x, y, x2, y2)
    return torch.stack([torch.stack(corner, -1) for corner in corners], -2)


def _centre(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area that two boxes share; their leading dimensions broadcast."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clamp_min(0).prod(-1)
