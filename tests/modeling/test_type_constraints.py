"""Types that relations do not allow."""

from __future__ import annotations

import pytest
import torch

from conftest import schema_of
from rukh.extractor import Extractor
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.type_constraints import SHUT, violations
from rukh.records import Pair, Post, TextEntity
from rukh.schema.schema import RelationSchema
from rukh.training.calibration import fit_penalty


@pytest.fixture
def schema() -> RelationSchema:
    return schema_of()


def bank_of(schema: RelationSchema) -> RelationBank:
    return RelationBank.build(schema, lambda texts: torch.zeros(len(texts), 2))


def post_of(head: str | None, tail: str | None, sure: float | None = None) -> Post:
    return Post(
        id="p",
        text="Ann Rome",
        entities=(
            TextEntity(id="h", start=0, end=3, type=head),
            TextEntity(id="t", start=4, end=8, type=tail, type_confidence=sure),
        ),
        pairs=(Pair(head="h", tail="t"),),
    )


def told(schema: RelationSchema, post: Post, order: str = "joint", hard: bool = False) -> dict:
    bank = bank_of(schema)
    (found,) = violations([post], [[("h", "t")]], bank, schema, order, hard=hard)  # type: ignore[arg-type]
    names = ["none", *bank.names, "lives_in, back"][: found.shape[1]]
    return dict(zip(names, found[0].tolist(), strict=True))


def test_each_disallowed_argument_counts_as_far_as_it_is_sure(schema: RelationSchema) -> None:
    assert told(schema, post_of("PER", "LOC")) == {
        "none": 0, "near": 0, "works_at": 1, "employs": 2, "lives_in": 0, "lives_in, back": 2,
    }  # fmt: skip
    assert told(schema, post_of("LOC", "PER"))["lives_in, back"] == 0
    assert told(schema, post_of("PER", "LOC", 0.25))["employs"] == 1.25
    assert told(schema, post_of("PER", None))["works_at"] == 0
    assert "lives_in, back" not in told(schema, post_of("PER", "LOC"), "both")


def test_given_types_may_be_hard_but_those_of_a_tagger_are_not(schema: RelationSchema) -> None:
    assert told(schema, post_of("PER", "LOC"), hard=True)["works_at"] == SHUT
    assert told(schema, post_of("PER", "LOC", 0.5), hard=True)["works_at"] == 0.5


def test_the_penalty_is_as_high_as_the_types_are_right() -> None:
    logits = torch.zeros(100, 3)
    violated = torch.zeros(100, 3)
    violated[:, 2] = 1
    always = torch.ones(100, dtype=torch.long)
    assert fit_penalty(logits, violated, always) == 5
    mixed = torch.tensor([1] * 75 + [2] * 25)
    # a third of the third column's share of two: exp(-p) = 2 * 0.25 / 0.75
    assert fit_penalty(logits, violated, mixed) == pytest.approx(0.41, abs=0.2)
    assert fit_penalty(logits, violated, torch.full((100,), 2)) == 0


def test_the_extractor_counts_types_as_it_is_told(tiny_model) -> None:  # type: ignore[no-untyped-def]
    schema = schema_of()
    model = tiny_model(schema=schema)
    post = post_of("LOC", "LOC")

    def score(constraints: str, penalty: float) -> float:
        model.config = model.config.model_copy(update={"type_penalty": penalty})
        asking = Extractor(model, constraints=constraints)  # type: ignore[arg-type]
        (answer,) = asking.answer([post], [[("h", "t")]])
        return float(answer.probabilities[0, 1 + asking.bank.names.index("works_at")])

    free = score("off", 3)
    assert score("soft", 0) == free
    assert 0 < score("soft", 1) < free
    assert score("hard", 0) == score("hard", 1) == 0
