"""What a step shows of the relations, and when it is embedded anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from conftest import schema_of
from rukh.schema.schema import RelationSchema
from rukh.training.training_banks import TrainingBanks, contrast_schema


def with_contrasts() -> RelationSchema:
    data = schema_of().model_dump(mode="json")
    data["relations"][1]["contrasts"] = ["the head is far from the tail"]
    return RelationSchema.parse(data)


def test_contrasts_are_relations_that_no_pair_has(tiny_model: Any) -> None:
    assert contrast_schema(schema_of()) is None
    found = contrast_schema(with_contrasts())
    assert found is not None and found.names == ("near: not 0",)
    banks = TrainingBanks(tiny_model(schema=with_contrasts()))
    bank, contrasts = banks.step()
    assert contrasts is not None and contrasts.descriptions == ("the head is far from the tail",)
    assert not {*bank.descriptions} & {*contrasts.descriptions}


@pytest.mark.parametrize("encoder", ["frozen", "shared", "separate"])
def test_a_moving_bank_is_refreshed_and_a_separate_one_learns(
    tiny_model: Any, encoder: str
) -> None:
    model = tiny_model(relation={"encoder": encoder, "refresh_steps": 3}, schema=with_contrasts())
    banks = TrainingBanks(model.train())
    learns = []
    for _ in range(7):
        bank, contrasts = banks.step()
        assert contrasts is not None
        assert contrasts.vectors.requires_grad == bank.vectors.requires_grad
        learns.append(bank.vectors.requires_grad)
        assert model.training
    due = [True, False, False, True, False, False, True]
    assert learns == (due if encoder == "separate" else [False] * 7)
    banks.restart()
    assert banks.step()[0].vectors.requires_grad == (encoder == "separate")


def test_what_is_asked_follows_the_weights_once_it_is_settled(tiny_model: Any) -> None:
    model = tiny_model(relation={"encoder": "separate"})
    banks = TrainingBanks(model)
    before = banks.asked.vectors.clone()
    with torch.no_grad():
        for parameter in model.relation_text.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    torch.testing.assert_close(banks.asked.vectors, before)
    banks.settle()
    assert (banks.asked.vectors - before).norm() > 1e-3
