"""Similarity against a slow loop, and what every scorer guarantees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import schema_of
from rukh.errors import InputError
from rukh.modeling import scorers
from rukh.modeling.model import RelationModel
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import RelationConfig, RetrievalScorer, select_descriptions, similarity
from rukh.registry import names
from rukh.schema.schema import RelationSchema

Make = Callable[..., RelationModel]
REDUCE: dict[Any, Callable[[list[float]], float]] = {
    "mean": lambda cosines: sum(cosines) / len(cosines),
    "max": max,
    "logsumexp": lambda cosines: math.log(sum(map(math.exp, cosines)) / len(cosines)),
}


def make_pairs(count: int, dim: int = 32) -> PairEncoding:
    hidden = torch.randn(count, dim, generator=torch.Generator().manual_seed(count))
    return PairEncoding(torch.nn.functional.normalize(hidden, dim=-1), hidden, torch.zeros(1))


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_similarity_agrees_with_a_loop(reduction: Any, scale: float) -> None:
    torch.manual_seed(0)
    pairs, vectors = torch.randn(3, 8), torch.randn(6, 8)
    prototypes = torch.tensor([[0, 1, 2], [3, -1, -1], [5, 4, -1], [3, 3, -1]])
    logits, best = similarity(pairs, vectors, prototypes, reduction, torch.tensor(scale))
    for q in range(3):
        for r, row in enumerate(prototypes.tolist()):
            cosines = [scale * float(pairs[q] @ vectors[k]) for k in row if k >= 0]
            assert logits[q, r].item() == pytest.approx(REDUCE[reduction](cosines), abs=1e-4)
            assert cosines[best[q, r]] == max(cosines)
    # A duplicate description changes nothing.
    torch.testing.assert_close(logits[:, 1], logits[:, 3])


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_the_size_of_blocks_does_not_matter(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    num_pairs = data.draw(st.integers(0, 5))
    reduction = data.draw(st.sampled_from(sorted(REDUCE)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    # The vectors of a relation need not be next to each other.
    order = torch.randperm(sum(counts) + 3, generator=generator).tolist()
    prototypes = torch.tensor(
        [[*(order.pop() for _ in range(n)), *[-1] * (max(counts) - n)] for n in counts]
    )
    all_vectors = torch.randn(sum(counts) + 3, 8, generator=generator)
    all_pairs = torch.randn(num_pairs, 8, generator=generator)
    results = []
    for size in (1, data.draw(st.integers(2, 60)), 1 << 20):
        pairs, vectors = all_pairs.clone().requires_grad_(), all_vectors.clone().requires_grad_()
        scale = torch.tensor(2.0, requires_grad=True)
        with mock.patch.object(scorers, "MAX_COSINES", size):
            logits, best = similarity(pairs, vectors, prototypes, reduction, scale)
            (logits * torch.arange(1.0, len(counts) + 1)).sum().backward()
        assert logits.shape == best.shape == (num_pairs, len(counts))
        results.append((logits.detach(), best, pairs.grad, vectors.grad, scale.grad))
    for result in results[:-1]:
        for one, other in zip(result, results[-1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gradient", [False, True])
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, gradient: bool) -> None:
    """No tensor of all pairs and descriptions is computed, or kept for the backward pass."""
    sizes, kept = [], []
    block_similarity = scorers._block_similarity

    def record(pairs: Tensor, vectors: Tensor, prototypes: Tensor, *rest: Any) -> Any:
        sizes.append(len(pairs) * prototypes.numel())
        return block_similarity(pairs, vectors, prototypes, *rest)

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.dim())
        return tensor

    monkeypatch.setattr(scorers, "_block_similarity", record)
    monkeypatch.setattr(scorers, "MAX_COSINES", 10_000)
    pairs, vectors = torch.randn(50, 4, requires_grad=gradient), torch.randn(6000, 4)
    prototypes = torch.arange(6000).view(2000, 3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        similarity(pairs, vectors, prototypes, "logsumexp", torch.tensor(3.0))
    assert 0 < max(sizes) <= 10_000 and 3 not in kept


def test_prototypes_are_cached_until_weights_or_bank_change(tiny_model: Make) -> None:
    model = tiny_model()
    scorer, bank, pairs = model.scorer, model.bank(), make_pairs(4)
    assert isinstance(scorer, RetrievalScorer)
    project = mock.Mock(wraps=scorer.project)

    def check(bank: RelationBank, is_new: bool) -> None:
        project.reset_mock()
        with mock.patch.object(scorer, "project", project), torch.inference_mode():
            logits = scorer(pairs, bank).logits
        assert project.called is is_new
        torch.testing.assert_close(logits, scorer(pairs, bank).logits.detach())

    weight, bias = scorer.projection.weight, scorer.projection.bias
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=0.1)
    scorer(pairs, bank).logits.square().sum().backward()
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: weight.data.mul_(1.5),  # not seen by version counters
        lambda: bias.data.add_(0.3),
        lambda: scorer.load_state_dict({k: v * 0.9 for k, v in scorer.state_dict().items()}),
        optimizer.step,
    ]
    for change in changes:
        change()
        check(bank, True)
        check(bank, False)
    check(replace(bank, anchors=torch.randn(4, 33)), True)
    with torch.no_grad():
        scorer.log_scale.add_(0.5)  # does not affect the prototypes
    check(bank, True)
    check(bank, False)


@pytest.mark.parametrize("name", names("scorers"))
def test_scorer_contract(name: str, tiny_model: Make, tiny_schema: RelationSchema) -> None:
    model = tiny_model(relation={"scorer": name})
    bank = model.bank()
    model.scorer.check_bank(bank)
    for count in (0, 1, 5):
        scores = model.scorer(make_pairs(count), bank)
        assert scores.logits.shape == (count, 5) and scores.logits.isfinite().all()
        assert scores.best_description.shape == (count, 4)
        for row in scores.best_description:
            for r, relation in enumerate(tiny_schema.names):
                assert bank.description(r, row[r]) in tiny_schema.relation(relation).descriptions
    model.scorer(make_pairs(5), bank).logits.square().sum().backward()
    assert isinstance(model.scorer, torch.nn.Module)
    assert all(p.grad is not None and p.grad.any() for p in model.scorer.parameters())


def test_nota_depends_on_the_pair_alone(tiny_model: Make) -> None:
    model, pairs = tiny_model(), make_pairs(4)
    other = model.bank(schema_of(relations=[{"name": "x", "descriptions": ["a boat"]}], nota=None))
    own, unseen = model.scorer(pairs, model.bank()).logits, model.scorer(pairs, other).logits
    assert unseen.shape == (4, 2)
    torch.testing.assert_close(own[:, 0], unseen[:, 0])
    with torch.no_grad():
        model.scorer.nota.bias += 7  # type: ignore[attr-defined]
    difference = model.scorer(pairs, model.bank()).logits - own
    torch.testing.assert_close(difference[:, 0], torch.full((4,), 7.0))
    assert not difference[:, 1:].any()


def test_the_temperature_is_bounded(tiny_model: Make) -> None:
    model = tiny_model(relation={"reduction": "max"})
    with torch.no_grad():
        model.scorer.log_scale.fill_(50)  # type: ignore[attr-defined]
    assert model.scorer(make_pairs(9), model.bank()).logits[:, 1:].abs().max() <= 100.01


def test_classification_refuses_other_relations(tiny_model: Make) -> None:
    model = tiny_model(relation={"scorer": "classification"})
    bank = model.bank()
    with pytest.raises(InputError):
        model.scorer.check_bank(replace(bank, names=bank.names[:-1]))


def test_select_descriptions(tiny_schema: RelationSchema) -> None:
    assert select_descriptions(tiny_schema, RelationConfig()) is tiny_schema
    one = select_descriptions(tiny_schema, RelationConfig(max_descriptions=1))
    assert [len(relation.descriptions) for relation in one.relations] == [0, 1, 1, 1, 1]
    named = select_descriptions(tiny_schema, RelationConfig(label_names=True))
    assert named.relation("works_at").descriptions == ("works at",)
    config = RelationConfig(label_names="trained")
    assert select_descriptions(tiny_schema, config) is tiny_schema
    trained = select_descriptions(tiny_schema, config, training=True)
    assert trained.relation("works_at").descriptions == ("works at", "the head works at the tail")
