"""Answers are found again for the pair they are of, in either order, and for no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from conftest import schema_of
from rukh.answers import Answers, pair_key
from rukh.bank import RelationBank
from rukh.errors import InputError
from rukh.orders import turned, width
from rukh.records import Post

BANK = RelationBank.unembedded(schema_of())
WIDTH = width(BANK, "joint")


def post(text: str = "Ann met Bob", **more: object) -> Post:
    entities = [{"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 8, "end": 11}]
    return Post.model_validate({"id": "1", "text": text, "entities": entities} | more)


def answers(told: torch.Tensor) -> Answers:
    return Answers({pair_key(post(), "a", "b"): told}, BANK, "joint")


def test_a_pair_is_answered_in_both_orders() -> None:
    told = torch.rand(WIDTH)
    known = answers(told)
    there, back = known.of(post(), "a", "b"), known.of(post(), "b", "a")
    assert there is not None and back is not None
    assert torch.equal(there, told) and torch.equal(back, turned(told, BANK))
    # One-way relations change sides; NOTA and the symmetric one stay; employs is works_at's turn.
    near, works, employs = (1 + BANK.names.index(n) for n in ("near", "works_at", "employs"))
    assert back[0] == told[0] and back[near] == told[near] and back[works] == told[employs]
    assert torch.equal(turned(back, BANK), told)


def test_a_pair_is_known_by_its_text_and_places_alone() -> None:
    known = answers(torch.rand(WIDTH))
    moved = post(entities=[{"id": "a", "start": 0, "end": 3}, {"id": "b", "start": 4, "end": 7}])
    renamed = post(
        id="2", entities=[{"id": "x", "start": 0, "end": 3}, {"id": "y", "start": 8, "end": 11}]
    )
    assert known.of(renamed, "x", "y") is not None
    assert known.of(moved, "a", "b") is None
    assert known.of(post("Ann saw Bob"), "a", "b") is None
    assert known.of(post(), "a", "nobody") is None


def test_all_of_a_post_or_none() -> None:
    known = answers(torch.rand(WIDTH))
    both = known.of_all(post(), [("a", "b"), ("b", "a")])
    assert both is not None and both.shape == (2, WIDTH)
    assert known.of_all(post(), [("a", "b"), ("a", "a")]) is None
    assert known.of_all(post(), []) is None


def test_the_file_holds_no_text(tmp_path: Path) -> None:
    told = torch.rand(WIDTH)
    answers(told).save(tmp_path / "a.safetensors")
    again = Answers.load(tmp_path / "a.safetensors", BANK, "joint").of(post(), "a", "b")
    assert again is not None
    torch.testing.assert_close(again, told, atol=1e-3, rtol=1e-3)
    assert b"Ann" not in (tmp_path / "a.safetensors").read_bytes()


def test_answers_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    answers(torch.rand(WIDTH)).save(path)
    with pytest.raises(InputError, match="another order"):
        Answers.load(path, BANK, "both")
    other = schema_of(relations=[{"name": "none"}, {"name": "x", "descriptions": ["a boat"]}])
    bank = RelationBank.unembedded(other)
    with pytest.raises(InputError, match="other relations"):
        Answers.load(path, bank, "joint")
    keys = torch.tensor([1])
    about = {"relations": json.dumps(list(BANK.names)), "order": "joint"}
    for broken in (
        save({"keys": keys, "probabilities": torch.zeros(WIDTH)}, about),
        save({"keys": keys, "probabilities": torch.zeros(2, WIDTH)}, about),
        save({"keys": keys, "probabilities": torch.zeros(1, WIDTH)}, {"relations": "{"}),
        save({"keys": keys, "probabilities": torch.zeros(1, WIDTH)}),
        save({"keys": keys}, about),
    ):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"a\.safetensors: cannot read answers"):
            Answers.load(path, BANK, "joint")
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a\.safetensors: cannot read answers"):
        Answers.load(path, BANK, "joint")
