"""Type penalty, temperature and threshold."""

from __future__ import annotations

import pytest
import torch

from rukh.modeling.relation_bank import RelationBank
from rukh.schema.schema import RelationSchema
from rukh.training.calibration import calibrate, fit_penalty, fit_temperature


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    return torch.randn(20_000, 5, generator=torch.Generator().manual_seed(0)) * 2


def sample(logits: torch.Tensor) -> torch.Tensor:
    """Labels drawn from the probabilities of the logits."""
    generator = torch.Generator().manual_seed(1)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_generated_the_labels_is_found(
    logits: torch.Tensor, temperature: float
) -> None:
    target = sample(logits / temperature)
    assert fit_temperature(logits, target) == pytest.approx(temperature, rel=0.07)


def test_the_penalty_that_generated_the_labels_is_found(logits: torch.Tensor) -> None:
    violations = (torch.arange(5) > 2).float().expand(len(logits), 5)
    target = sample(logits - 1.5 * violations)
    assert fit_penalty(logits, violations, target) == pytest.approx(1.5, abs=0.26)


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
    pairs = [  # in the annotated order, in the reverse order
        (in_, nota),  # in: correct
        (nota, in_),  # in, but in the wrong direction: wrong in both scores
        (nota, near),  # near: predicted in the reverse order only
        (nota, nota),  # none
        ([9.0, 0, 0], nota),  # none; a relation only at a low threshold
    ]
    logits = torch.tensor([row for pair in pairs for row in pair])
    gold = ["in", "in", "near", "none", "none"]
    result = calibrate(logits, gold, bank, schema, "both", torch.zeros_like(logits))
    # Predicted: three; correct: two of three in both orders, one in the annotated order.
    assert result.order_free == pytest.approx(2 * 2 / (3 + 3))
    assert result.given_order == pytest.approx(2 * 1 / (1 + 3))
    assert 0.4 < result.threshold < 1
