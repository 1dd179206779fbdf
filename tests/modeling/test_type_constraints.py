"""What types that a relation does not allow cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rukh.extractor import Extractor
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.type_constraints import EXCLUDED, type_penalties
from rukh.records import Post
from rukh.schema.schema import RelationSchema


def make_post(head: str | None, tail: str | None, confidence: float | None = None) -> Post:
    return Post(
        id="p",
        text="Ann Rome",
        entities=(
            {"id": "h", "start": 0, "end": 3, "type": head},
            {"id": "t", "start": 4, "end": 8, "type": tail, "type_confidence": confidence},
        ),
    )


@pytest.mark.parametrize(
    ("types", "options", "costs"),
    [
        (("PER", "LOC"), {}, [0, 0, 1, 2, 0, 2]),
        (("PER", "LOC"), {"penalty": 3.0}, [0, 0, 3, 6, 0, 6]),
        (("LOC", "PER"), {}, [0, 0, 2, 1, 2, 0]),
        (("PER", "LOC", 0.25), {}, [0, 0, 0.25, 1.25, 0, 1.25]),
        (("PER", None), {}, [0, 0, 0, 1, 0, 1]),
        (("PER", "LOC"), {"hard": True}, [0, 0, EXCLUDED, 2 * EXCLUDED, 0, 2 * EXCLUDED]),
        # A type that a tagger assigned never excludes a relation.
        (("PER", "LOC", 0.5), {"hard": True}, [0, 0, 0.5, EXCLUDED + 0.5, 0, EXCLUDED + 0.5]),
    ],
)
def test_costs(
    tiny_schema: RelationSchema, types: Any, options: dict[str, Any], costs: list[float]
) -> None:
    """Columns: none, near, works_at, employs, lives_in, and lives_in backward."""
    bank = RelationBank.build(tiny_schema, lambda texts: torch.zeros(len(texts), 2))
    arguments = [make_post(*types)], [[("h", "t")]], bank, tiny_schema
    (joint,) = type_penalties(*arguments, "joint", **options)
    assert joint.tolist() == [costs]
    (separate,) = type_penalties(*arguments, "both", **options)
    assert separate.tolist() == [costs[:5]]


def test_the_extractor_applies_them(tiny_model: Any) -> None:
    model = tiny_model()
    post = make_post("LOC", "LOC")

    def probability(constraints: Any, penalty: float) -> float:
        model.config = model.config.model_copy(update={"type_penalty": penalty})
        extractor = Extractor(model, type_constraints=constraints)
        (scores,) = extractor.scores([post], [[("h", "t")]])
        column = 1 + extractor.bank.names.index("works_at")
        return float(model.probabilities(scores.logits, extractor.bank)[0, column])

    ignored = probability("off", 3)
    assert probability("soft", 0) == ignored
    assert 0 < probability("soft", 1) < ignored
    assert probability("hard", 0) == probability("hard", 1) == 0
