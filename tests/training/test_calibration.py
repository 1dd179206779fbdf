"""Temperature and threshold."""

from __future__ import annotations

import pytest
import torch

from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema
from rukh.training.calibration import calibrate, fit_temperature


def test_the_temperature_that_made_the_labels_is_found() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 5) * 2
    for temperature in (0.5, 1.0, 2.5):
        target = torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]
        assert fit_temperature(logits, target) == pytest.approx(temperature, rel=0.07)


def test_calibrate_on_pairs_that_can_be_counted_by_hand() -> None:
    schema = RelationSchema.parse(
        {
            "name": "s",
            "nota": "none",
            "relations": [
                {"name": "none"},
                {"name": "in", "descriptions": ["The head is in the tail."]},
                {"name": "near", "descriptions": ["The head is near the tail."], "symmetric": True},
            ],
        }
    )
    bank = RelationBank.build(schema, lambda texts: torch.zeros(len(texts), 2))
    nota, in_, near = ([4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0])
    asked = [  # given order, other order
        (in_, nota),  # in: right
        (nota, in_),  # in, but told the other way round: wrong in both figures
        (nota, near),  # near: only the other order tells it
        (nota, nota),  # none
        ([9.0, 0, 0], nota),  # none; a relation only at a low threshold
    ]
    logits = torch.tensor([row for pair in asked for row in pair])
    found = calibrate(logits, ["in", "in", "near", "none", "none"], bank, schema)
    # Told: three; right: two of three where both orders are asked, one where only the given is.
    assert found.order_free == pytest.approx(2 * 2 / (3 + 3))
    assert found.given_order == pytest.approx(2 * 1 / (1 + 3))
    assert 0.4 < found.threshold < 1
