"""Who sees whom, and a fusion that begins as the identity."""

from __future__ import annotations

import pytest
import torch

from rukh.encoders.fusion import Fusion, Look, VisualGate, visibility


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
    full = torch.zeros(groups.shape)
    torch.testing.assert_close(fusion(states, groups, full), states)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert not torch.allclose(fusion(states, groups, full), states, atol=1e-2)
    assert Fusion(16, 0, 4, 0.1)(states, groups, full) is states


def test_what_is_hidden_changes_nothing_with_and_without_gradient() -> None:
    torch.manual_seed(0)
    fusion = Fusion(16, 2, 4, 0.1).eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    states, full = torch.randn(1, 6, 16), torch.zeros(1, 6)
    for groups in (torch.tensor([[0, 0, 0, -1, -1, -1]]), torch.tensor([[0, 0, 0, 1, 2, -1]])):
        other = states.clone()
        other[:, 4:] = torch.randn(1, 2, 16)
        with torch.inference_mode():
            quick = fusion(states, groups, full)
        slow = fusion(states, groups, full)
        # PyTorch takes another path through the layer where no gradient is wanted.
        torch.testing.assert_close(quick[:, :3], slow[:, :3], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            slow[:, :3], fusion(other, groups, full)[:, :3], atol=1e-5, rtol=1e-4
        )
        assert slow.isfinite().all()


@pytest.mark.parametrize("last", [0, 1])
def test_trust_weighs_attention_and_none_hides(last: int) -> None:
    torch.manual_seed(0)
    fusion = Fusion(16, 1, 4, 0.0).eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    states = torch.randn(1, 4, 16)
    groups = torch.tensor([[0, 0, 0, last]])  # with a marker the layer takes a mask of its own
    trusts = (0.0, 0.5, 1.0)
    logs = [torch.tensor([[1, 1, trust, 1]]).log() for trust in trusts]
    none, half, full = (fusion(states, groups, log)[:, :2] for log in logs)
    hidden = torch.tensor([[0, 0, -1, last]])
    torch.testing.assert_close(none, fusion(states, hidden, torch.zeros(1, 4))[:, :2])
    assert not torch.allclose(half, full, atol=1e-4) and not torch.allclose(half, none, atol=1e-4)


def test_the_gate_is_one_number_a_post() -> None:
    assert VisualGate(8)(torch.randn(5, 8), torch.randn(5, 8)).shape == (5,)


def test_a_look_begins_as_the_mean_of_what_is_trusted() -> None:
    torch.manual_seed(0)
    look, states = Look(16, 4, 20).eval(), torch.randn(2, 5, 16)
    values = look.value(torch.randn(2, 4, 20))
    trust = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).log()
    row, ends = torch.tensor([0, 1, 1]), torch.randn(3, 32)
    # The first state is the absent picture's, which shows nothing.
    wanted = torch.stack([values[0].sum(0) / 5, values[1, 0] / 2, values[1, 0] / 2])
    torch.testing.assert_close(look(ends, states, values, trust, row), wanted)


def test_a_look_depends_on_the_pair_and_on_nothing_that_is_not_trusted() -> None:
    torch.manual_seed(0)
    look, states = Look(16, 4, 20).eval(), torch.randn(1, 5, 16)
    for parameter in look.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    row, ends, patches = torch.tensor([0, 0]), torch.randn(2, 32), torch.randn(1, 4, 20)
    trust = torch.tensor([[1, 1, 1, 0.5, 0]]).log()
    found = look(ends, states, look.value(patches), trust, row)
    assert (found[0] - found[1]).norm() > 1e-2
    for place, seen in ((3, True), (4, False)):
        key, shown = states.clone(), patches.clone()
        key[:, place] += 1 + torch.randn(16)
        shown[:, place - 1] += 1 + torch.randn(20)
        for states_, patches_ in ((key, patches), (states, shown)):
            other = look(ends, states_, look.value(patches_), trust, row)
            assert torch.allclose(other, found, atol=1e-6) != seen


def test_under_a_box_lies_what_it_shows_as_far_as_that_is_trusted() -> None:
    look = Look(16, 4, 20)
    values = look.value(torch.randn(2, 2, 20))
    halves = torch.tensor([[0.0, 0, 0.5, 1], [0.5, 0, 1, 1]]).expand(2, 2, 4)
    trust = torch.tensor([[1, 0.5, 0.5], [1, 0, 0]]).log()  # the second has no picture
    boxes = torch.tensor([[0.5, 0, 1, 1], [0.0, 0, 0, 0]]).expand(2, 2, 4)
    shown = look.under(boxes, values, halves, trust, torch.tensor([0, 1]))
    torch.testing.assert_close(shown[0, 0], values[0, 1] / 2)
    assert not shown[0, 1].any() and not shown[1].any()
    none = look.under(boxes, values[:, :0], halves[:, :0], trust[:, :1], torch.tensor([0, 1]))
    assert none.shape == (2, 2, 16) and not none.any()
