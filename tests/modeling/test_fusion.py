"""Who sees whom, and a fusion that begins as the identity."""

from __future__ import annotations

import pytest
import torch

from rukh.modeling.fusion import Fusion, RegionPooling, VisualGate, mean, visibility


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


HALVES = torch.tensor([[0.0, 0, 0.5, 1], [0.5, 0, 1, 1]]).expand(2, 2, 4)


def test_a_look_finds_what_the_whole_and_each_box_show() -> None:
    look, patches = RegionPooling(16, 20), torch.randn(2, 2, 20)
    there = torch.tensor([[True, True], [False, False]])  # the second has no picture
    boxes = torch.tensor([[0.5, 0, 1, 1], [0.0, 0, 0.1, 0.1]]).expand(2, 2, 4)
    found = look(patches, HALVES, there, boxes)
    assert found.shape == (2, 3, 16) and not found[1].any()
    root = patches[0].square().mean(0).sqrt()
    torch.testing.assert_close(found[0, 0], look.whole(look.narrow(root)), atol=1e-4, rtol=1e-4)
    sides = look.narrow(patches[0].abs())
    for place, patch in ((1, 1), (2, 0)):
        shown = look.quarters(sides[patch].repeat(4))
        torch.testing.assert_close(found[0, place], shown, atol=1e-4, rtol=1e-4)
    all_of_it = torch.tensor([[[0.0, 0, 1, 1]]]).expand(2, 1, 4)
    left, right = sides
    quarters = look.quarters(torch.cat([left, right, left, right]))  # row by row
    shown = look(patches, HALVES, there, all_of_it)[0, 1]
    torch.testing.assert_close(shown, quarters, atol=1e-4, rtol=1e-4)
    assert look(patches, HALVES, there, boxes[:, :0]).shape == (2, 1, 16)
    none = look(patches[:, :0], HALVES[:, :0], there[:, :0], boxes)
    assert none.shape == (2, 3, 16) and not none.any()


def test_a_look_depends_on_nothing_that_is_not_there() -> None:
    torch.manual_seed(0)
    look, patches = RegionPooling(16, 20), torch.randn(1, 2, 20)
    there, box = torch.tensor([[True, False]]), torch.tensor([[[0.0, 0, 1, 1]]])
    found = look(patches, HALVES[:1], there, box)
    for place, seen in ((0, True), (1, False)):
        other = patches.clone()
        other[:, place] += 1
        assert torch.allclose(look(other, HALVES[:1], there, box), found) != seen


def test_a_look_at_an_empty_picture_has_a_gradient() -> None:
    patches = torch.zeros(1, 2, 20, requires_grad=True)
    look, there = RegionPooling(16, 20), torch.ones(1, 2, dtype=torch.bool)
    look(patches, HALVES[:1], there, torch.zeros(1, 0, 4)).sum().backward()
    assert patches.grad is not None and patches.grad.isfinite().all()


def test_a_mean_of_nothing_is_zero() -> None:
    states, there = torch.randn(2, 3, 4), torch.tensor([[True, False, True], [False] * 3])
    torch.testing.assert_close(mean(states, there)[0], states[0, [0, 2]].mean(0))
    assert not mean(states, there)[1].any()
