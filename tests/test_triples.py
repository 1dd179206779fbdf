"""What is told of the answers to a post's pairs."""

from __future__ import annotations

import torch

from rukh.modeling.relation_bank import RelationBank
from rukh.records import Post
from rukh.triples import Answers, best_direction_only, triples_of

BANK = RelationBank(
    names=("likes", "near"),
    descriptions=("one likes the other", "one is fond of the other", "one stands by the other"),
    vectors=torch.zeros(3, 2),
    prototypes=torch.tensor([[0, 1], [2, -1]]),
    reverse=torch.tensor([-1, 1]),
    types={},
)
POST = Post(
    id="p",
    text="Ann Bob",
    entities=[{"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 4, "end": 7}],
)
ANSWERS = Answers(
    [("a", "b"), ("b", "a")],
    torch.tensor([[0.2, 0.7, 0.1], [0.2, 0.05, 0.75]]),
    torch.tensor([[1, 0], [0, 0]]),
    0.25,
)


def test_a_pair_has_the_best_relation_and_the_text_that_matched() -> None:
    first, second = triples_of(POST, POST, ANSWERS, BANK, "none", 0.5)
    assert (first.relation, first.score, first.gate) == ("likes", 0.7, 0.25)
    assert first.description == "one is fond of the other"
    assert (second.relation, second.description) == ("near", "one stands by the other")
    assert first.head_entity is None and first.ranking is None


def test_below_the_threshold_stands_nota_with_its_own_probability() -> None:
    first, second = triples_of(POST, POST, ANSWERS, BANK, "none", 0.72)
    assert (first.relation, first.score, first.description) == ("none", 0.2, None)
    assert second.relation == "near"


def test_the_ranking_holds_nota_too() -> None:
    first, _ = triples_of(POST, POST, ANSWERS, BANK, "none", 0.5, top_k=2)
    assert first.ranking is not None
    assert [one.relation for one in first.ranking] == ["likes", "none"]


def test_what_was_found_is_told() -> None:
    bare = POST.model_copy(update={"entities": ()})
    first, _ = triples_of(bare, POST, ANSWERS, BANK, "none", 0.5)
    assert first.head_entity is not None and first.head_entity.text == "Ann"


def test_of_two_orders_the_better_is_accepted() -> None:
    told = triples_of(POST, POST, ANSWERS, BANK, "none", 0.5)
    assert best_direction_only(told, "none") == [told[1]]
    assert best_direction_only(triples_of(POST, POST, ANSWERS, BANK, None, 0.9), None) == []
