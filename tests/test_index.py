"""The index finds what scoring all relations finds, and both orders see the same relations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from rukh import index
from rukh.bank import RelationBank
from rukh.errors import InputError, MissingDependency
from rukh.extraction import Extractor
from rukh.index import PrototypeIndex, indexed, shortlist
from rukh.model import RelationModel
from rukh.pair import Encoded
from rukh.records import Post
from rukh.relation import similarity

needs_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")


def clustered(count: int, dim: int, seed: int) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    centres = torch.randn(count // 20 + 1, dim, generator=made)
    which = torch.randint(len(centres), (count,), generator=made)
    vectors = centres[which] + 0.7 * torch.randn(count, dim, generator=made)
    return torch.nn.functional.normalize(vectors, dim=-1)


def bank_of(relations: int, texts: int, dim: int, reverse: Tensor | None = None) -> RelationBank:
    total = relations * texts
    return RelationBank(
        tuple(f"r{i}" for i in range(relations)),
        tuple(f"t{i}" for i in range(total)),
        clustered(total, dim, 1),
        torch.arange(total).view(relations, texts),
        torch.full((relations,), -1) if reverse is None else reverse,
        {},
        indexed=True,
    )


def encoded(count: int, seed: int) -> Encoded:
    hidden = torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))
    return Encoded(torch.nn.functional.normalize(hidden, dim=-1), hidden, torch.zeros(1))


def test_when_an_index_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "find_spec", lambda name: object())
    assert indexed("auto", index.THRESHOLD) and not indexed("auto", index.THRESHOLD - 1)
    assert indexed("faiss", 2) and not indexed("exact", 10**9)
    with pytest.raises(InputError, match="'fiass' is none of"):
        indexed("fiass", 2)
    monkeypatch.setattr(index, "find_spec", lambda name: None)
    assert not indexed("auto", 10**9)
    with pytest.raises(MissingDependency, match=r"faiss-cpu.*rukh\[faiss\]"):
        indexed("faiss", 2)


@needs_faiss
@pytest.mark.parametrize(("relations", "texts"), [(10_000, 1), (4_000, 3)])
def test_recall_at_ten(relations: int, texts: int) -> None:
    bank = bank_of(relations, texts, 64)
    made = torch.Generator().manual_seed(2)
    near = bank.vectors[torch.randint(len(bank.vectors), (100,), generator=made)]
    pairs = near + 0.5 * torch.randn(near.shape, generator=made) / 8
    pairs = torch.nn.functional.normalize(pairs, dim=-1)
    scale = torch.tensor(14.3)
    logits, _ = similarity(pairs, bank.vectors, bank.prototypes, "logsumexp", scale)
    best = logits.topk(10, 1).indices
    found = PrototypeIndex(bank.vectors, bank.owners)
    which, chosen = shortlist(found, pairs, None, bank.reverse)
    hit = torch.zeros(len(pairs), relations, dtype=torch.bool)
    hit[which, chosen] = True
    assert hit.sum(1).max() <= index.NEAREST
    assert hit.gather(1, best).float().mean() > 0.95


@needs_faiss
def test_scores_of_the_shortlist_are_exact(tiny_model: Callable[..., RelationModel]) -> None:
    head, bank, pairs = tiny_model().head, bank_of(3000, 2, 32), encoded(20, 3)
    with torch.inference_mode():
        all_of_them = head(pairs, replace(bank, indexed=False))
        some = head(pairs, bank)
    there = some.logits.isfinite()
    assert there[:, 0].all() and there[:, 1:].sum(1).min() > 1 and not there.all()
    torch.testing.assert_close(some.logits[there], all_of_them.logits[there])
    assert torch.equal(some.match[there[:, 1:]], all_of_them.match[there[:, 1:]])
    assert some.match.amin() == 0 and some.match.amax() == 1
    with_gradient = head(pairs, bank).logits
    assert with_gradient.isfinite().all() and with_gradient.requires_grad
    assert head(encoded(0, 1), bank).logits.shape == (0, 3001)


@needs_faiss
def test_both_orders_score_the_same_relations_and_their_reverses(
    tiny_model: Callable[..., RelationModel],
) -> None:
    reverse = torch.arange(3000) ^ 1
    reverse[1000:] = -1
    bank, head = bank_of(3000, 1, 32, reverse), tiny_model().head
    one, other = encoded(20, 3), encoded(20, 4)
    with torch.inference_mode():
        there = head(one._replace(back=other), bank).logits[:, 1:].isfinite()
        back = head(other._replace(back=one), bank).logits[:, 1:].isfinite()
        alone = head(one, bank).logits[:, 1:].isfinite()
    assert torch.equal(there, back) and bool((alone <= there).all())
    assert torch.equal(there[:, :1000], there[:, reverse[:1000]])


@needs_faiss
@pytest.mark.parametrize("order", ["both", "joint"])
def test_an_extractor_with_an_index_says_what_one_without_says(
    tiny_model: Callable[..., RelationModel], posts: list[Post], order: str
) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update={"order": order})
    want = Extractor(model, search="exact").extract(posts, top_k=3)
    got = Extractor(model, search="faiss").extract(posts, top_k=3)
    # So few relations all stand on the shortlist.
    assert [t.relation for t in got] == [t.relation for t in want]
    for a, b in zip(got, want, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-5)
