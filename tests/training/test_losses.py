"""The objectives, compared with plain formulas."""

from __future__ import annotations

import pytest
import torch

from rukh.training.losses import gate_loss, info_nce


def test_info_nce_is_a_log_softmax() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(6, 4) * 5, torch.tensor([0, 1, 3, 3, 0, 2])
    logs = logits.log_softmax(-1)
    total = -sum(float(logs[q, t]) for q, t in enumerate(target.tolist()))
    assert info_nce(logits, target).mean.item() == pytest.approx(total / 6, rel=1e-5)


def test_the_gate_loss_is_binary_cross_entropy_over_posts_with_images() -> None:
    gate = torch.tensor([0.9, float("nan"), 0.3], requires_grad=True)
    loss = gate_loss(gate, torch.tensor([True, True, False])).mean
    assert torch.isclose(loss, -(torch.tensor([0.9, 0.7]).log().mean()))
    loss.backward()
    assert gate.grad is not None and gate.grad[0] < 0 < gate.grad[2] and gate.grad[1] == 0
    assert gate_loss(torch.tensor([float("nan")]), torch.tensor([True])).mean == 0
    assert gate_loss(torch.tensor([0.0]), torch.tensor([True])).mean.isfinite()
