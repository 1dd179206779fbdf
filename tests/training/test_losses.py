"""The objective against a plain log-softmax."""

from __future__ import annotations

import pytest
import torch

from rukh.training.losses import gate_loss, info_nce


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_info_nce_is_a_log_softmax(smoothing: float, weighted: bool) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(6, 4) * 5, torch.tensor([0, 1, 3, 3, 0, 2])
    weights = torch.tensor([0.3, 1.0, 2.0, 1.5])
    logs = logits.log_softmax(-1)
    total = below = 0.0
    for q, t in enumerate(target.tolist()):
        each = weights if weighted else torch.ones(4)
        total -= (1 - smoothing) * float(each[t] * logs[q, t])
        total -= smoothing / 4 * float((each * logs[q]).sum())
        below += float(each[t])
    loss = info_nce(logits, target, weights if weighted else None, smoothing)
    assert loss.item() == pytest.approx(total / below, rel=1e-5)


def test_the_gate_loss_is_binary_cross_entropy_over_posts_with_pictures() -> None:
    gate = torch.tensor([0.9, float("nan"), 0.3], requires_grad=True)
    loss = gate_loss(gate, torch.tensor([1.0, 1.0, 0.0]))
    expected = -(torch.tensor([0.9, 0.7]).log().mean())
    assert torch.isclose(loss, expected)
    loss.backward()
    assert gate.grad is not None and gate.grad[0] < 0 < gate.grad[2] and gate.grad[1] == 0
    assert gate_loss(torch.tensor([float("nan")]), torch.tensor([1.0])) == 0
    assert torch.isfinite(gate_loss(torch.tensor([0.0]), torch.tensor([1.0])))
