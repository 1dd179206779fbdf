"""The objective against a plain log-softmax."""

from __future__ import annotations

import pytest
import torch

from rukh.losses import info_nce


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
