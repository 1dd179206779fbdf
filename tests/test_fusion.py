"""Who sees whom, and a fusion that begins as the identity."""

from __future__ import annotations

import torch

from rukh.encoders.fusion import Fusion, VisualGate, visibility


def test_visibility_against_its_definition() -> None:
    groups = torch.randint(-1, 4, (3, 9), generator=torch.Generator().manual_seed(0))
    seen = visibility(groups)
    for b in range(3):
        for i in range(9):
            for j in range(9):
                wanted = groups[b, j] == 0 or (groups[b, j] > 0 and groups[b, j] == groups[b, i])
                assert seen[b, i, j] == wanted


def test_fusion_begins_as_the_identity_and_then_is_not() -> None:
    torch.manual_seed(0)
    fusion = Fusion(16, 2, 4, 0.1).eval()
    states, groups = torch.randn(2, 5, 16), torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, -1, -1]])
    torch.testing.assert_close(fusion(states, groups), states)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert not torch.allclose(fusion(states, groups), states, atol=1e-2)
    assert Fusion(16, 0, 4, 0.1)(states, groups) is states


def test_what_is_hidden_changes_nothing_with_and_without_gradient() -> None:
    torch.manual_seed(0)
    fusion = Fusion(16, 2, 4, 0.1).eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    states = torch.randn(1, 6, 16)
    for groups in (torch.tensor([[0, 0, 0, -1, -1, -1]]), torch.tensor([[0, 0, 0, 1, 2, -1]])):
        other = states.clone()
        other[:, 4:] = torch.randn(1, 2, 16)
        with torch.inference_mode():
            quick = fusion(states, groups)
        slow = fusion(states, groups)
        # PyTorch takes another path through the layer where no gradient is wanted.
        torch.testing.assert_close(quick[:, :3], slow[:, :3], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(slow[:, :3], fusion(other, groups)[:, :3], atol=1e-5, rtol=1e-4)
        assert slow.isfinite().all()


def test_the_gate_is_a_share() -> None:
    gate = VisualGate(8)(torch.randn(5, 8) * 10, torch.randn(5, 8) * 10)
    assert gate.shape == (5,) and ((gate > 0) & (gate < 1)).all()
