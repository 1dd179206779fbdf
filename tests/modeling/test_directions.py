"""Both orders of a pair in one decision: checked against sums written out relation by relation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conftest import schema_of
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


def logits(bank: RelationBank) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    there, back = torch.randn(2, 7, 1 + len(bank.names)).unbind()
    return there, back


def test_a_bank_knows_reverses(bank: RelationBank) -> None:
    assert bank.names == ("near", "works_at", "employs", "lives_in")
    assert bank.reverse.tolist() == [0, 2, 1, -1]


def test_the_joint_decision_is_that_of_the_sums_written_out(bank: RelationBank) -> None:
    there, back = logits(bank)
    found = to_probabilities(merge_directions(there, back, bank), len(bank.names))
    near, works, employs, lives = 1, 2, 3, 4
    for a, b, row in zip(there.exp(), back.exp(), found, strict=True):
        weights = [
            torch.sqrt(a[0] * b[0]),
            a[near] + b[near],
            a[works] + b[employs],
            a[employs] + b[works],
            a[lives],
            b[lives],
        ]
        total = sum(weights)
        told = [float(w / total) for w in weights]
        assert row.tolist() == pytest.approx([told[0] + told[5], *told[1:5]], rel=1e-5)


def test_the_other_order_is_the_same_decision(bank: RelationBank) -> None:
    there, back = logits(bank)
    asked = to_probabilities(merge_directions(there, back, bank), len(bank.names))
    turned = to_probabilities(merge_directions(back, there, bank), len(bank.names))
    torch.testing.assert_close(asked[:, [1, 2, 3]], turned[:, [1, 3, 2]])
    # One-way relations: what one order tells is none-of-the-above in the other.
    assert bool((asked[:, 4] + turned[:, 4] < 1).all())


@pytest.mark.parametrize(
    ("label", "joint", "apart"),
    [
        ("none", [0, 0], [0, 0]),
        ("near", [1, 1], [1, 1]),
        ("works_at", [2, 3], [2, 3]),
        ("employs", [3, 2], [3, 2]),
        ("lives_in", [4, 5], [4, 0]),
    ],
)
def test_columns(bank: RelationBank, label: str, joint: list[int], apart: list[int]) -> None:
    assert target_columns(label, bank, "none", "joint") == joint
    assert target_columns(label, bank, "none", "both") == apart
    there, back = logits(bank)
    # The loss is the same whichever order is asked.
    loss = torch.nn.functional.cross_entropy
    first, second = (torch.full((len(there),), column) for column in joint)
    asked, turned = merge_directions(there, back, bank), merge_directions(back, there, bank)
    torch.testing.assert_close(loss(asked, first), loss(turned, second))


def test_width(bank: RelationBank) -> None:
    there, back = logits(bank)
    assert num_columns(bank, "joint") == merge_directions(there, back, bank).shape[1] == 6
    assert num_columns(bank, "both") == num_columns(bank, "given") == there.shape[1] == 5


def test_columns_within_a_few_relations() -> None:
    schema = schema_of()
    bank = RelationBank.build(schema, lambda texts: torch.zeros(len(texts), 2))
    for order in ("joint", "both", "given"):
        for name in bank.names:
            told = column_mask([name], bank, order)
            right = {0, *target_columns(name, bank, schema.nota, order)}
            assert len(told) == num_columns(bank, order)
            # An inverse is a relation of its own, so only what this name tells is open.
            assert {0, target_columns(name, bank, schema.nota, order)[0]} <= set(
                told.nonzero().flatten().tolist()
            )
            assert set(told.nonzero().flatten().tolist()) <= right


def test_a_given_direction_leaves_the_reverse_out_of_the_question(bank: RelationBank) -> None:
    there, back = logits(bank)
    joint = merge_directions(there, back, bank)
    either, given = (to_probabilities(joint, len(bank.names), d) for d in ("either", "given"))
    share = either[:, 1:] / given[:, 1:]
    # NOTA and all that holds from head to tail keep their proportions.
    torch.testing.assert_close(share, share[:, :1].expand_as(share))
    assert bool((share < 1).all())
    torch.testing.assert_close(given.sum(1), torch.ones(len(given)))
