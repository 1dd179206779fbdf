"""Pooling against a slow loop, and what must hold when boxes are swapped."""

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


def shared(a: Tensor, b: Tensor) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return float(max(wide, torch.tensor(0.0)) * max(high, torch.tensor(0.0)))


def slow(states: Tensor, patches: Tensor, mask: Tensor, boxes: Tensor) -> Tensor:
    out = torch.zeros(*boxes.shape[:2], states.shape[2])
    for b in range(len(states)):
        there = [p for p in range(states.shape[1]) if mask[b, p]]
        for r, box in enumerate(boxes[b]):
            areas = {p: shared(box, patches[b, p]) for p in there}
            total = sum(areas.values())
            if total > 0:
                out[b, r] = sum(areas[p] / total * states[b, p] for p in there)
            elif there:
                middle = (box[:2] + box[2:]) / 2
                centre = {p: (patches[b, p, :2] + patches[b, p, 2:]) / 2 for p in there}
                out[b, r] = states[b, min(there, key=lambda p: float((centre[p] - middle).norm()))]
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 4))
def test_pooling_equals_the_slow_loop(seed: int, side: int, regions: int) -> None:
    torch.manual_seed(seed)
    patches = grid(side).expand(3, -1, -1)
    mask = torch.rand(3, side * side) < 0.6  # some rows have no patch at all
    states = torch.randn(3, side * side, 5)
    boxes = random_boxes(3, regions, seed=seed)
    found = pool_regions(states, patches, mask, boxes)
    torch.testing.assert_close(found, slow(states, patches, mask, boxes), atol=1e-4, rtol=1e-4)


def test_small_outer_and_empty_boxes() -> None:
    states = torch.arange(4.0).reshape(1, 4, 1)
    there = torch.tensor([[True, True, True, False]])
    boxes = torch.tensor(
        [
            [0.0, 0.0, 1.0, 1.0],  # all three patches that exist
            [0.6, 0.1, 0.60001, 0.10001],  # a speck in the second
            [0.7, 0.6, 0.9, 0.9],  # only over the one that does not exist; the centre is nearer
            [0.0, 0.0, 0.0, 0.0],  # padding of a batch
        ]
    )
    found = pool_regions(states, grid(2)[None], there, boxes[None])[0, :, 0]
    assert found[0] == 1.0 and found[1] == 1.0 and found[3] == 0.0
    assert found[2] in (1.0, 2.0)


def test_nothing_to_pool_from() -> None:
    boxes = random_boxes(2, 3)
    assert not pool_regions(
        torch.ones(2, 4, 5), grid(2).expand(2, -1, -1), torch.zeros(2, 4, dtype=torch.bool), boxes
    ).any()
    none = torch.zeros(2, 0, dtype=torch.bool)
    assert pool_regions(torch.ones(2, 0, 5), torch.ones(2, 0, 4), none, boxes).shape == (2, 3, 5)


def test_gradients_reach_states_and_boxes_and_are_finite() -> None:
    states = torch.randn(1, 9, 2, requires_grad=True)
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.8], [0.0, 0.0, 0.0, 0.0]]], requires_grad=True)
    there = torch.ones(1, 9, dtype=torch.bool)
    pool_regions(states, grid(3)[None], there, boxes).square().sum().backward()
    assert states.grad is not None and boxes.grad is not None
    assert states.grad.isfinite().all() and states.grad[0, 0].any()
    assert boxes.grad.isfinite().all() and boxes.grad[0, 0].any()


def test_quarters_cut_a_box_like_a_grid() -> None:
    torch.testing.assert_close(quarters(torch.tensor([0.0, 0.0, 1.0, 1.0])), grid(2))
    boxes = random_boxes(3, 2)
    parts = quarters(boxes)
    sides = boxes[..., 2:] - boxes[..., :2]
    torch.testing.assert_close(parts[..., :2].amin(-2), boxes[..., :2])
    torch.testing.assert_close(parts[..., 2:].amax(-2), boxes[..., 2:])
    torch.testing.assert_close(
        parts[..., 2:] - parts[..., :2], (sides / 2)[..., None, :].expand(3, 2, 4, 2)
    )


def test_geometry_tells_neighbouring_patches_apart() -> None:
    torch.manual_seed(0)
    embed = BoxGeometry(16)
    out = embed(grid(14).reshape(14, 14, 4))
    assert out.shape == (14, 14, 16)
    apart = torch.cdist(out.reshape(-1, 16), out.reshape(-1, 16)) + torch.eye(196)
    assert apart.min() > 1e-3
    # Only what is learned is stored.
    assert {name.split(".")[0] for name in embed.state_dict()} == {"project"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_swapping_the_boxes(seed: int) -> None:
    head, tail = random_boxes(8, seed=seed), random_boxes(8, seed=seed + 1)
    one, two = box_relation(head, tail), box_relation(tail, head)
    torch.testing.assert_close(one[:, :4], -two[:, :4])
    torch.testing.assert_close(one[:, 4], two[:, 4])
    torch.testing.assert_close(one[:, [5, 6]], two[:, [6, 5]])


def test_relation_of_known_boxes() -> None:
    whole, quarter = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.5, 0.5, 1, 1])
    found = box_relation(whole, quarter)
    half = torch.log(torch.tensor(0.5)).item()
    expected = torch.tensor([0.25, 0.25, half, half, 0.25, 0.25, 1.0])
    torch.testing.assert_close(found, expected)
    # Empty boxes stand for arguments of the text.
    assert box_relation(torch.zeros(2, 4), whole.expand(2, 4)).isfinite().all()
