"""Both directions of a pair in one decision, checked relation by relation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rukh.modeling.directions import (
    column_mask,
    merge_directions,
    num_columns,
    target_columns,
    to_probabilities,
)
from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema


@pytest.fixture
def bank(tiny_schema: RelationSchema) -> RelationBank:
    return RelationBank.build(tiny_schema, lambda texts: torch.zeros(len(texts), 2))


@pytest.fixture
def logits(bank: RelationBank) -> tuple[Tensor, Tensor]:
    """Forward and backward logits of seven pairs."""
    forward, backward = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(5)).unbind()
    return forward, backward


def test_joint_probabilities(bank: RelationBank, logits: tuple[Tensor, Tensor]) -> None:
    assert bank.names == ("near", "works_at", "employs", "lives_in")
    joint = merge_directions(*logits, bank)
    undirected, directed = (to_probabilities(joint, 4, flag) for flag in (False, True))
    near, works, employs, lives = 1, 2, 3, 4
    for i, (a, b) in enumerate(zip(logits[0].exp(), logits[1].exp(), strict=True)):
        forward = [
            torch.sqrt(a[0] * b[0]),
            a[near] + b[near],
            a[works] + b[employs],
            a[employs] + b[works],
            a[lives],
        ]
        total = sum(forward) + b[lives]
        expected = [float(weight / total) for weight in forward]
        expected[0] += float(b[lives] / total)
        assert undirected[i].tolist() == pytest.approx(expected, rel=1e-5)
        expected = [float(weight / sum(forward)) for weight in forward]
        assert directed[i].tolist() == pytest.approx(expected, rel=1e-5)


def test_swapping_head_and_tail_permutes_the_columns(
    bank: RelationBank, logits: tuple[Tensor, Tensor]
) -> None:
    forward, backward = logits
    joint, swapped = (
        merge_directions(forward, backward, bank),
        merge_directions(backward, forward, bank),
    )
    torch.testing.assert_close(joint[:, [1, 2, 3, 4, 5]], swapped[:, [1, 3, 2, 5, 4]])


@pytest.mark.parametrize(
    ("label", "joint", "separate"),
    [
        ("none", [0, 0], [0, 0]),
        ("near", [1, 1], [1, 1]),
        ("works_at", [2, 3], [2, 3]),
        ("employs", [3, 2], [3, 2]),
        ("lives_in", [4, 5], [4, 0]),
    ],
)
def test_target_columns(
    bank: RelationBank,
    logits: tuple[Tensor, Tensor],
    label: str,
    joint: list[int],
    separate: list[int],
) -> None:
    assert target_columns(label, bank, "none", "joint") == joint
    assert target_columns(label, bank, "none", "both") == separate
    forward, backward = logits
    first, second = (torch.full((7,), column) for column in joint)
    losses = (
        cross_entropy(merge_directions(forward, backward, bank), first),
        cross_entropy(merge_directions(backward, forward, bank), second),
    )
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(("mode", "count"), [("joint", 6), ("both", 5), ("given", 5)])
def test_number_and_mask_of_columns(bank: RelationBank, mode: str, count: int) -> None:
    assert num_columns(bank, mode) == count  # type: ignore[arg-type]
    for index, name in enumerate(bank.names, 1):
        mask = column_mask([name], bank, mode)  # type: ignore[arg-type]
        expected = {0, index, 5} if name == "lives_in" and mode == "joint" else {0, index}
        assert len(mask) == count and {*mask.nonzero().flatten().tolist()} == expected
