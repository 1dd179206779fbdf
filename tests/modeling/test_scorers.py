"""Scoring against a bank: each reduction against a slow loop, and what every head promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import schema_of
from rukh.errors import InputError
from rukh.modeling import scorers as relation
from rukh.modeling.model import RelationModel
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import RelationConfig, RetrievalScorer, similarity, worded
from rukh.registry import names
from rukh.schema.schema import RelationSchema

REDUCE: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda cosines: sum(cosines) / len(cosines),
    "max": max,
    "logsumexp": lambda cosines: math.log(sum(map(math.exp, cosines)) / len(cosines)),
}


def encoded(count: int, dim: int = 32) -> PairEncoding:
    hidden = torch.randn(count, dim, generator=torch.Generator().manual_seed(count))
    return PairEncoding(torch.nn.functional.normalize(hidden, dim=-1), hidden, torch.zeros(1))


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
            assert table[r, match[q, r]] == max(own, key=lambda k: scaled[k])


@settings(deadline=None)
@given(st.data())
def test_blocks_change_nothing(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    count = data.draw(st.integers(0, 5))
    reduction = data.draw(st.sampled_from(sorted(REDUCE)))
    made = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    # Prototypes may lie anywhere, also further apart than a block.
    places = torch.randperm(sum(counts) + 3, generator=made).tolist()
    width = max(counts)
    table = torch.tensor([[*(places.pop() for _ in range(n)), *[-1] * (width - n)] for n in counts])
    vectors = torch.randn(sum(counts) + 3, 8, generator=made)
    asked = torch.randn(count, 8, generator=made)
    got = []
    for cells in (1, data.draw(st.integers(2, 60)), 1 << 20):
        pairs, prototypes = asked.clone().requires_grad_(), vectors.clone().requires_grad_()
        scale = torch.tensor(2.0, requires_grad=True)
        with mock.patch.object(relation, "CELLS", cells):
            logits, match = similarity(pairs, prototypes, table, reduction, scale)
            assert logits.shape == match.shape == (count, len(counts))
            (logits * torch.arange(1.0, len(counts) + 1)).sum().backward()
            with torch.no_grad():
                again, _ = similarity(pairs, prototypes, table, reduction, scale)
        torch.testing.assert_close(again, logits.detach())
        got.append((logits.detach(), match, pairs.grad, prototypes.grad, scale.grad))
    for one in got[:-1]:
        for a, b in zip(one, got[-1], strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gradient", [False, True])
def test_memory_does_not_grow_with_the_relations(
    monkeypatch: pytest.MonkeyPatch, gradient: bool
) -> None:
    """No tensor of all pairs, relations and descriptions is ever made, nor kept for a gradient."""
    largest, kept = 0, 0
    reduce = relation._reduced

    def seen(each: Tensor, table: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        nonlocal largest
        largest = max(largest, each.numel())
        return reduce(each, table, reduction)

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() if tensor.dim() == 3 else 0
        return tensor

    monkeypatch.setattr(relation, "_reduced", seen)
    monkeypatch.setattr(relation, "CELLS", 10_000)
    pairs, vectors = torch.randn(50, 4, requires_grad=gradient), torch.randn(6000, 4)
    table = torch.arange(6000).view(2000, 3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        similarity(pairs, vectors, table, "logsumexp", torch.tensor(3.0))
    assert 0 < largest <= 10_000 and kept == 0


def test_prototypes_are_kept_until_weights_or_bank_change(
    tiny_model: Callable[..., RelationModel],
) -> None:
    model = tiny_model()
    head, bank, pairs = model.scorer, model.bank(), encoded(4)
    assert isinstance(head, RetrievalScorer)
    made = mock.Mock(wraps=head.prototypes)

    def ask(of: RelationBank, fresh: bool) -> Tensor:
        made.reset_mock()
        with mock.patch.object(head, "prototypes", made), torch.inference_mode():
            logits = head(pairs, of).logits
        assert made.called is fresh
        torch.testing.assert_close(logits, head(pairs, of).logits.detach())
        return logits

    first = ask(bank, True)
    assert torch.equal(ask(bank, False), first)
    weight, bias = head.projection.weight, head.projection.bias
    changes: list[Callable[[], object]] = [
        lambda: weight.data.mul_(1.5),  # which no version counter sees
        lambda: bias.data.add_(0.3),
        lambda: head.load_state_dict({k: v * 0.9 for k, v in head.state_dict().items()}),
    ]
    for change in changes:
        before = ask(bank, False)
        change()
        assert not torch.equal(ask(bank, True), before)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1)
    head(pairs, bank).logits.square().sum().backward()
    before = ask(bank, False)
    optimizer.step()
    assert not torch.equal(ask(bank, True), before)
    anchors = torch.randn(len(bank.names), 33, generator=torch.Generator().manual_seed(1))
    moved = replace(bank, anchors=anchors)
    assert not torch.equal(ask(moved, True), ask(bank, True))
    with torch.no_grad():
        head.log_scale.add_(0.5)  # no part of the prototypes
    ask(bank, False)
    assert set(head.state_dict()) == {"log_scale", "project.weight", "project.bias"} | {
        "nota.weight",
        "nota.bias",
    }


def test_with_gradients_prototypes_are_made_anew(tiny_model: Callable[..., RelationModel]) -> None:
    model = tiny_model()
    bank, pairs = model.bank(), encoded(3)
    with torch.inference_mode():
        model.scorer(pairs, bank)
    model.scorer(pairs, bank).logits.sum().backward()
    assert isinstance(model.scorer, RetrievalScorer) and model.scorer.projection.weight.grad is not None


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
        scores = model.scorer(encoded(count), bank)
        assert scores.logits.shape == (count, 5) and scores.logits.isfinite().all()
        assert scores.match.shape == (count, 4)
        for q in range(count):
            for r, name in enumerate(tiny_schema.names):
                text = bank.description(r, int(scores.match[q, r]))
                assert text in tiny_schema.relation(name).descriptions
    model.scorer(encoded(5), bank).logits.square().sum().backward()
    assert isinstance(model.scorer, torch.nn.Module)
    assert all(p.grad is not None and p.grad.any() for p in model.scorer.parameters())


def test_nota_is_the_first_column_and_asks_the_pair_alone(
    tiny_model: Callable[..., RelationModel],
) -> None:
    model = tiny_model()
    other = model.bank(schema_of(relations=[{"name": "x", "descriptions": ["a boat"]}], nota=None))
    pairs = encoded(4)
    known, unseen = model.scorer(pairs, model.bank()).logits, model.scorer(pairs, other).logits
    assert unseen.shape == (4, 2)
    torch.testing.assert_close(known[:, 0], unseen[:, 0])
    with torch.no_grad():
        model.scorer.nota.bias += 7  # type: ignore[attr-defined]
    moved = model.scorer(pairs, model.bank()).logits - known
    torch.testing.assert_close(moved[:, 0], torch.full((4,), 7.0))
    assert not moved[:, 1:].any()


def test_the_temperature_is_bounded(tiny_model: Callable[..., RelationModel]) -> None:
    model = tiny_model(relation={"reduction": "max"})
    with torch.no_grad():
        model.scorer.log_scale.fill_(50)  # type: ignore[attr-defined]
    assert model.scorer(encoded(9), model.bank()).logits[:, 1:].abs().max() <= 100.01


def test_a_classifier_refuses_another_bank(tiny_model: Callable[..., RelationModel]) -> None:
    model = tiny_model(relation={"head": "classifier"})
    bank = model.bank()
    fewer = replace(bank, names=bank.names[:-1], prototypes=bank.prototypes[:-1])
    with pytest.raises(InputError, match="cannot take relations.*use a model whose head is"):
        model.scorer(encoded(1), fewer)


def test_worded(tiny_schema: RelationSchema) -> None:
    assert worded(tiny_schema, RelationConfig()) is tiny_schema
    short = worded(tiny_schema, RelationConfig(descriptions=1))
    assert [len(r.descriptions) for r in short.relations] == [0, 1, 1, 1, 1]
    assert short.names == tiny_schema.names
    named = worded(tiny_schema, RelationConfig(names=True))
    assert named.names == tiny_schema.names
    assert named.relation("works_at").descriptions == ("works at",)
