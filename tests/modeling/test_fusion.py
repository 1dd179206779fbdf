"""Fusion, the visual gate and region pooling."""

from __future__ import annotations

import torch

from rukh.modeling.fusion import Fusion, RegionPooling, VisualGate, masked_mean

HALVES = torch.tensor([[0.0, 0, 0.5, 1], [0.5, 0, 1, 1]]).expand(2, 2, 4)


def random_fusion(layers: int = 1) -> Fusion:
    torch.manual_seed(0)
    fusion = Fusion(16, layers, 4, 0.1).eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return fusion


def test_fusion_starts_as_the_identity() -> None:
    states, mask = torch.randn(2, 5, 16), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    torch.testing.assert_close(
        Fusion(16, 2, 4, 0.1).eval()(states, mask, torch.zeros(2, 5)), states
    )
    assert Fusion(16, 0, 4, 0.1)(states, mask, torch.zeros(2, 5)) is states
    assert not torch.allclose(random_fusion()(states, mask, torch.zeros(2, 5)), states, atol=1e-2)


def test_padding_has_no_effect() -> None:
    fusion, states, trust = random_fusion(2), torch.randn(1, 6, 16), torch.zeros(1, 6)
    mask = torch.tensor([[True] * 3 + [False] * 3])
    other = torch.where(mask[..., None], states, torch.randn(1, 6, 16))
    fused, same = (fusion(one, mask, trust)[:, :3] for one in (states, other))
    assert fused.isfinite().all()
    torch.testing.assert_close(fused, same, atol=1e-5, rtol=1e-4)


def test_trust_weights_attention_and_a_trust_of_zero_hides() -> None:
    fusion, states, mask = random_fusion(), torch.randn(1, 4, 16), torch.ones(1, 4).bool()
    trusts = [torch.tensor([[1, 1, trust, 1]]) for trust in (0.0, 0.5, 1.0)]
    none, half, full = (fusion(states, mask, trust.log())[:, :2] for trust in trusts)
    hidden = fusion(states, torch.tensor([[True, True, False, True]]), torch.zeros(1, 4))[:, :2]
    torch.testing.assert_close(none, hidden)
    assert not torch.allclose(half, full, atol=1e-4) and not torch.allclose(half, none, atol=1e-4)


def test_trust_and_padding_are_the_same_in_inference() -> None:
    # PyTorch has another implementation for inference.
    fusion, states = random_fusion(2), torch.randn(1, 5, 16)
    mask, log_trust = torch.tensor([[True] * 4 + [False]]), torch.tensor([[1, 1, 0.5, 1, 1]]).log()
    fused = fusion(states, mask, log_trust)[:, :4]
    with torch.inference_mode():
        fast = fusion(states, mask, log_trust)[:, :4]
    torch.testing.assert_close(fast, fused, atol=1e-5, rtol=1e-4)


def test_the_gate_gives_one_number_per_post() -> None:
    assert VisualGate(8)(torch.randn(5, 8), torch.randn(5, 8)).shape == (5,)


def test_region_pooling_of_the_whole_and_of_boxes() -> None:
    pooling, patches = RegionPooling(16, 20), torch.randn(2, 2, 20)
    mask = torch.tensor([[True, True], [False, False]])  # the second post has no image
    boxes = torch.tensor([[0.5, 0, 1, 1], [0.0, 0, 0.1, 0.1], [0.0, 0, 1, 1]]).expand(2, 3, 4)
    pooled = pooling(patches, HALVES, mask, boxes)
    assert pooled.shape == (2, 4, 16) and not pooled[1].any()
    rms = pooling.narrow(patches[0].square().mean(0).sqrt())
    left, right = pooling.narrow(patches[0].abs())
    quarters = ([right] * 4, [left] * 4, [left, right, left, right])  # row by row
    expected = [pooling.whole(rms), *(pooling.quarters(torch.cat(parts)) for parts in quarters)]
    torch.testing.assert_close(pooled[0], torch.stack(expected), atol=1e-4, rtol=1e-4)
    assert pooling(patches, HALVES, mask, boxes[:, :0]).shape == (2, 1, 16)
    no_patches = pooling(patches[:, :0], HALVES[:, :0], mask[:, :0], boxes)
    assert no_patches.shape == (2, 4, 16) and not no_patches.any()


def test_region_pooling_ignores_padding() -> None:
    torch.manual_seed(0)
    pooling, patches = RegionPooling(16, 20), torch.randn(1, 2, 20)
    mask, box = torch.tensor([[True, False]]), torch.tensor([[[0.0, 0, 1, 1]]])
    pooled = pooling(patches, HALVES[:1], mask, box)
    for index, visible in ((0, True), (1, False)):
        changed = patches.clone()
        changed[:, index] += 1
        assert torch.allclose(pooling(changed, HALVES[:1], mask, box), pooled) != visible


def test_region_pooling_of_zeros_has_a_finite_gradient() -> None:
    patches = torch.zeros(1, 2, 20, requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    pooled = RegionPooling(16, 20)(patches, HALVES[:1], mask, torch.zeros(1, 0, 4))
    (gradient,) = torch.autograd.grad(pooled.sum(), patches)
    assert gradient.isfinite().all()


def test_masked_mean() -> None:
    states, mask = torch.randn(2, 3, 4), torch.tensor([[True, False, True], [False] * 3])
    torch.testing.assert_close(masked_mean(states, mask)[0], states[0, [0, 2]].mean(0))
    assert not masked_mean(states, mask)[1].any()
