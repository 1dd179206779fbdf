"""Geometry of boxes, and pooling of the patches that they cover.

A box is ``(x1, y1, x2, y2)`` in fractions of the width and height of the image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_MIN_SIDE = 1e-4  # shorter sides count as this; less than a pixel, but the logarithm stays finite


def pool_regions(states: Tensor, patch_boxes: Tensor, mask: Tensor, boxes: Tensor) -> Tensor:
    """Average the states of the patches in each box, weighted by the area that the box covers.

    A box that overlaps no patch gets the state of the patch with the nearest centre.

    Args:
        states: ``(B, P, D)`` states of the patches.
        patch_boxes: ``(B, P, 4)`` boxes of the patches.
        mask: ``(B, P)`` bool, False for padding; the result is zero for a row without patches.
        boxes: ``(B, R, 4)`` boxes to pool.

    Returns:
        ``(B, R, D)`` pooled states.
    """
    if not states.shape[1]:
        return states.new_zeros(*boxes.shape[:2], states.shape[2])
    areas = _intersection(boxes[:, :, None], patch_boxes[:, None]) * mask[:, None]
    total = areas.sum(-1, keepdim=True)
    touches = total > 0
    distances = (_centre(boxes)[:, :, None] - _centre(patch_boxes)[:, None]).square().sum(-1)
    nearest = distances.masked_fill(~mask[:, None], torch.inf).argmin(-1)
    fallback = nn.functional.one_hot(nearest, states.shape[1]) * mask[:, None]
    # The inner `where` avoids 0 / 0, whose NaN gradient would pass through the outer one.
    weights = torch.where(touches, areas / torch.where(touches, total, 1.0), fallback)
    return weights.to(states.dtype) @ states


class BoxGeometry(nn.Module):
    """Embeds boxes by their corners, centre, sides and area.

    Each number is encoded as itself and as sines and cosines of ``bands`` doubling frequencies, so
    that a linear layer can resolve positions as finely as ``2 ** -bands`` of the image.
    """

    frequencies: Tensor

    def __init__(self, dim: int, bands: int = 4) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(bands), persistent=False)
        self.project = nn.Linear(9 * (1 + 2 * bands), dim)

    def forward(self, boxes: Tensor) -> Tensor:
        """Embed boxes ``(..., 4)`` as ``(..., dim)``."""
        sides = boxes[..., 2:] - boxes[..., :2]
        area = sides.prod(-1, keepdim=True)
        numbers = torch.cat([boxes, _centre(boxes), sides, area], -1)
        waves = (numbers[..., None] * self.frequencies).flatten(-2)
        out: Tensor = self.project(torch.cat([numbers, waves.sin(), waves.cos()], -1))
        return out


def box_relation(head: Tensor, tail: Tensor) -> Tensor:
    """Compute features ``(..., 7)`` of the relative position of two boxes ``(..., 4)``.

    The features are the x and y offset of the tail's centre from the head's, the log ratios of
    width and height, the intersection over union, and the fractions of the head and of the tail
    that the other box covers. Swapping head and tail negates the first four, keeps the fifth, and
    swaps the last two.
    """
    head_sides, tail_sides = ((b[..., 2:] - b[..., :2]).clamp_min(_MIN_SIDE) for b in (head, tail))
    head_area, tail_area = head_sides.prod(-1), tail_sides.prod(-1)
    shared = _intersection(head, tail)
    overlaps = torch.stack(
        [shared / (head_area + tail_area - shared), shared / head_area, shared / tail_area], -1
    )
    offset = _centre(tail) - _centre(head)
    return torch.cat([offset, tail_sides.log() - head_sides.log(), overlaps], -1)


def quarters(boxes: Tensor) -> Tensor:
    """Split boxes ``(..., 4)`` into quarters ``(..., 4, 4)``, row by row, left to right.

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
    """Return the area that two boxes share. Their leading dimensions are broadcast."""
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    return (bottom_right - top_left).clamp_min(0).prod(-1)
