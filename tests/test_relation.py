"""Scoring against a bank: each reduction against a slow loop, and what every head promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from conftest import schema_of
from rukh.errors import InputError
from rukh.model import RelationModel
from rukh.pair import Encoded
from rukh.registry import names
from rukh.relation import RelationConfig, similarity, worded
from rukh.schema import RelationSchema

REDUCE: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda cosines: sum(cosines) / len(cosines),
    "max": max,
    "logsumexp": lambda cosines: math.log(sum(map(math.exp, cosines)) / len(cosines)),
}


def encoded(count: int, dim: int = 32) -> Encoded:
    hidden = torch.randn(count, dim, generator=torch.Generator().manual_seed(count))
    return Encoded(torch.nn.functional.normalize(hidden, dim=-1), hidden, torch.zeros(1))


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_similarity_is_what_a_loop_makes_of_it(reduction: str, scale: float) -> None:
    torch.manual_seed(0)
    pairs, prototypes = torch.randn(3, 8), torch.randn(6, 8)
    table = torch.tensor([[0, 1, 2], [3, -1, -1], [5, 4, -1]])
    logits, match = similarity(pairs, prototypes, table, reduction, torch.tensor(scale))
    for q in range(3):
        for r in range(3):
            own = [k for k in table[r].tolist() if k >= 0]
            scaled = {k: scale * float(pairs[q] @ prototypes[k]) for k in own}
            wanted = REDUCE[reduction](list(scaled.values()))
            assert logits[q, r].item() == pytest.approx(wanted, abs=1e-4)
            assert match[q, r] == max(own, key=lambda k: scaled[k])


@pytest.mark.parametrize("reduction", REDUCE)
def test_a_description_said_twice_counts_once(reduction: str) -> None:
    pairs, one = torch.randn(4, 8), torch.randn(1, 8)
    scale = torch.tensor(3.0)
    single, _ = similarity(pairs, one, torch.tensor([[0]]), reduction, scale)
    twice, _ = similarity(pairs, one.repeat(3, 1), torch.tensor([[0, 1, 2]]), reduction, scale)
    torch.testing.assert_close(single, twice)


@pytest.mark.parametrize("head", names("heads"))
def test_head_contract(
    head: str, tiny_model: Callable[..., RelationModel], tiny_schema: RelationSchema
) -> None:
    model = tiny_model(relation={"head": head})
    bank = model.bank()
    for count in (0, 1, 5):
        scores = model.head(encoded(count), bank)
        assert scores.logits.shape == (count, 5) and scores.logits.isfinite().all()
        assert scores.match.shape == (count, 4)
        for q in range(count):
            for r, name in enumerate(tiny_schema.names):
                text = bank.descriptions[int(scores.match[q, r])]
                assert text in tiny_schema.relation(name).descriptions
    model.head(encoded(5), bank).logits.square().sum().backward()
    assert isinstance(model.head, torch.nn.Module)
    assert all(p.grad is not None and p.grad.any() for p in model.head.parameters())


def test_nota_is_the_first_column_and_asks_the_pair_alone(
    tiny_model: Callable[..., RelationModel],
) -> None:
    model = tiny_model()
    other = model.bank(schema_of(relations=[{"name": "x", "descriptions": ["a boat"]}], nota=None))
    pairs = encoded(4)
    known, unseen = model.head(pairs, model.bank()).logits, model.head(pairs, other).logits
    assert unseen.shape == (4, 2)
    torch.testing.assert_close(known[:, 0], unseen[:, 0])
    with torch.no_grad():
        model.head.nota.bias += 7  # type: ignore[attr-defined]
    moved = model.head(pairs, model.bank()).logits - known
    torch.testing.assert_close(moved[:, 0], torch.full((4,), 7.0))
    assert not moved[:, 1:].any()


def test_the_temperature_is_bounded(tiny_model: Callable[..., RelationModel]) -> None:
    model = tiny_model(relation={"reduction": "max"})
    with torch.no_grad():
        model.head.log_scale.fill_(50)  # type: ignore[attr-defined]
    assert model.head(encoded(9), model.bank()).logits[:, 1:].abs().max() <= 100.01


def test_a_classifier_refuses_another_bank(tiny_model: Callable[..., RelationModel]) -> None:
    model = tiny_model(relation={"head": "classifier"})
    bank = model.bank()
    fewer = replace(bank, names=bank.names[:-1], prototypes=bank.prototypes[:-1])
    with pytest.raises(InputError, match="cannot take relations.*use a model whose head is"):
        model.head(encoded(1), fewer)


def test_worded(tiny_schema: RelationSchema) -> None:
    assert worded(tiny_schema, RelationConfig()) is tiny_schema
    short = worded(tiny_schema, RelationConfig(descriptions=1))
    assert [len(r.descriptions) for r in short.relations] == [0, 1, 1, 1, 1]
    assert short.names == tiny_schema.names
    named = worded(tiny_schema, RelationConfig(names=True))
    assert named.names == tiny_schema.names
    assert named.relation("works_at").descriptions == ("works at",)
