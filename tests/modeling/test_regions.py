"""Pooling compared with a slow loop, and properties of the box features."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rukh.modeling.regions import BoxGeometry, box_relation, pool_regions, quarters


def random_boxes(*shape: int, seed: int = 0) -> Tensor:
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([corners.amin(-2), corners.amax(-2)], -1)


def grid(side: int) -> Tensor:
    cells = [(x, y, x + 1, y + 1) for y in range(side) for x in range(side)]
    return torch.tensor(cells) / side


def intersection(a: Tensor, b: Tensor) -> float:
    width = float(min(a[2], b[2]) - max(a[0], b[0]))
    height = float(min(a[3], b[3]) - max(a[1], b[1]))
    return max(width, 0.0) * max(height, 0.0)


def slow_pooling(states: Tensor, patches: Tensor, mask: Tensor, boxes: Tensor) -> Tensor:
    out = torch.zeros(*boxes.shape[:2], states.shape[2])
    for b in range(len(states)):
        present = [p for p in range(states.shape[1]) if mask[b, p]]
        for r, box in enumerate(boxes[b]):
            areas = {p: intersection(box, patches[b, p]) for p in present}
            total = sum(areas.values())
            centre = (box[:2] + box[2:]) / 2
            gaps = {
                p: float(((patches[b, p, :2] + patches[b, p, 2:]) / 2 - centre).norm())
                for p in present
            }
            if total > 0:
                out[b, r] = sum(areas[p] / total * states[b, p] for p in present)
            elif present:
                out[b, r] = states[b, min(gaps, key=lambda p: gaps[p])]
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 4))
def test_pooling_equals_the_slow_loop(seed: int, side: int, regions: int) -> None:
    torch.manual_seed(seed)
    patches = grid(side).expand(3, -1, -1)
    mask = torch.rand(3, side * side) < 0.6  # some rows have no patch at all
    states, boxes = torch.randn(3, side * side, 5), random_boxes(3, regions, seed=seed)
    pooled = pool_regions(states, patches, mask, boxes)
    expected = slow_pooling(states, patches, mask, boxes)
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=1e-4)


def test_boxes_that_cover_no_whole_patch() -> None:
    states = torch.arange(4.0).reshape(1, 4, 1)
    mask = torch.tensor([[True, True, True, False]])
    boxes = torch.tensor(
        [
            [0.0, 0.0, 1.0, 1.0],  # all three patches
            [0.6, 0.1, 0.60001, 0.10001],  # inside the second
            [0.7, 0.6, 0.9, 0.9],  # only over the masked one
            [0.0, 0.0, 0.0, 0.0],  # padding of the batch
        ]
    )
    pooled = pool_regions(states, grid(2)[None], mask, boxes[None])[0, :, 0]
    assert pooled[0] == 1.0 and pooled[1] == 1.0 and pooled[3] == 0.0
    assert pooled[2] in (1.0, 2.0)


def test_no_patches() -> None:
    boxes, mask = random_boxes(2, 3), torch.zeros(2, 4, dtype=torch.bool)
    assert not pool_regions(torch.ones(2, 4, 5), grid(2).expand(2, -1, -1), mask, boxes).any()
    empty = pool_regions(torch.ones(2, 0, 5), torch.ones(2, 0, 4), mask[:, :0], boxes)
    assert empty.shape == (2, 3, 5)


def test_gradients_are_finite() -> None:
    states = torch.randn(1, 9, 2, requires_grad=True)
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.8], [0.0, 0.0, 0.0, 0.0]]], requires_grad=True)
    pooled = pool_regions(states, grid(3)[None], torch.ones(1, 9, dtype=torch.bool), boxes)
    for gradient in torch.autograd.grad(pooled.square().sum(), (states, boxes)):
        assert gradient.isfinite().all() and gradient[0, 0].any()


def test_quarters() -> None:
    torch.testing.assert_close(quarters(torch.tensor([0.0, 0.0, 1.0, 1.0])), grid(2))
    boxes = random_boxes(3, 2)
    parts = quarters(boxes)
    sides = (boxes[..., 2:] - boxes[..., :2])[..., None, :]
    torch.testing.assert_close(parts[..., :2].amin(-2), boxes[..., :2])
    torch.testing.assert_close(parts[..., 2:].amax(-2), boxes[..., 2:])
    torch.testing.assert_close(parts[..., 2:] - parts[..., :2], (sides / 2).expand(3, 2, 4, 2))


def test_box_geometry_distinguishes_neighbouring_patches() -> None:
    torch.manual_seed(0)
    embed = BoxGeometry(16)
    out = embed(grid(14).reshape(14, 14, 4))
    assert out.shape == (14, 14, 16)
    distances = torch.cdist(out.reshape(-1, 16), out.reshape(-1, 16)) + torch.eye(196)
    assert distances.min() > 1e-3
    assert {name.split(".")[0] for name in embed.state_dict()} == {"project"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_swapping_head_and_tail(seed: int) -> None:
    head, tail = random_boxes(8, seed=seed), random_boxes(8, seed=seed + 1)
    one, other = box_relation(head, tail), box_relation(tail, head)
    torch.testing.assert_close(one[:, :4], -other[:, :4])
    torch.testing.assert_close(one[:, [4, 5, 6]], other[:, [4, 6, 5]])


def test_relation_of_known_boxes() -> None:
    whole, quarter = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.5, 0.5, 1, 1])
    half = torch.log(torch.tensor(0.5)).item()
    expected = torch.tensor([0.25, 0.25, half, half, 0.25, 0.25, 1.0])
    torch.testing.assert_close(box_relation(whole, quarter), expected)
    # Text entities have boxes of zeros.
    assert box_relation(torch.zeros(2, 4), whole.expand(2, 4)).isfinite().all()
