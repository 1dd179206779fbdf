"""The stored unrelated pairs of a model: what they say of relations, and how they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import schema_of
from helpers_modeling import swapped
from rukh.errors import WeightsError
from rukh.modeling.background import (
    MIN_PAIRS,
    EncodedPairs,
    background_to_bytes,
    compute_background,
    read_background,
)
from rukh.modeling.directions import DirectionMode, num_columns
from rukh.modeling.inference import encode_both_directions
from rukh.modeling.model import RelationModel
from rukh.modeling.model_files import BACKGROUND
from rukh.modeling.pair_encoder import PairEncoding
from rukh.modeling.relation_bank import RelationBank
from rukh.modeling.scorers import PairScores
from rukh.records import Pair, Post


def make_pairs(count: int, dim: int = 8) -> EncodedPairs:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, count, dim, generator=generator)
    forward, backward = torch.nn.functional.normalize(vectors, dim=-1)
    return EncodedPairs(forward, backward, torch.randn(count, 2, generator=generator))


class FirstNumbers:
    """A scorer whose logits are the first numbers of an embedding."""

    def __call__(self, pairs: PairEncoding, bank: RelationBank) -> PairScores[torch.Tensor]:
        logits = pairs.embedding[:, : 1 + len(bank.names)]
        return PairScores(logits, logits[:, 1:], pairs.gate)

    def check_bank(self, bank: RelationBank) -> None: ...


@pytest.mark.parametrize("mode", ["joint", "both"])
def test_the_background_is_what_few_unrelated_pairs_reach(mode: DirectionMode) -> None:
    bank = RelationBank.build(schema_of(), lambda texts: torch.zeros(len(texts), 2))
    pairs = make_pairs(400, dim=1 + len(bank.names))

    def compute(pairs: EncodedPairs) -> torch.Tensor:
        return compute_background(pairs, FirstNumbers(), bank, mode)

    values = compute(pairs)
    assert values.shape == (num_columns(bank, mode),) and values[0] == 0
    # The order of head and tail says nothing.
    other = EncodedPairs(pairs.backward, pairs.forward, pairs.nota.flip(1))
    torch.testing.assert_close(compute(other), values)
    higher = pairs.forward.clone()
    higher[:, 1 + bank.one_way[0]] += 2
    raised = compute(pairs._replace(forward=higher)) - values
    assert raised[1 + bank.one_way[0]] > 0.2 and (raised > 0.01).sum() == 1 + (mode == "joint")


def test_new_relations_lose_their_background(tiny_model: Any) -> None:
    model = tiny_model()
    near, works_at = model.schema.relation("near"), model.schema.relation("works_at")
    other = works_at.model_copy(update={"descriptions": ("the head is a boat",), "inverse": None})
    schema = model.schema.model_copy(update={"relations": (near, other), "nota": None})
    pairs = make_pairs(MIN_PAIRS, model.config.pair.dim)
    model.background = EncodedPairs(*(one[1:] for one in pairs))  # one too few
    background = model.bank(schema).background
    assert background is not None and not background.any()
    model.background = pairs
    bank = model.bank(schema)
    assert bank.background is not None and model.bank().background is None
    assert bank.background.tolist()[:2] == [0, 0] and bank.background[2] != 0
    torch.testing.assert_close(model.calibrate(torch.zeros(1, 3), bank)[0], -bank.background)


def test_stored_pairs_are_the_same_up_to_rounding(tmp_path: Path) -> None:
    pairs = make_pairs(4)
    (tmp_path / "b").write_bytes(background_to_bytes(pairs))
    again = read_background(tmp_path / "b", 8)
    torch.testing.assert_close(again.forward, pairs.forward, atol=0.5 / 127, rtol=0)
    torch.testing.assert_close(again.backward, pairs.backward, atol=0.5 / 127, rtol=0)
    torch.testing.assert_close(again.nota, pairs.nota, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("damage", ["width", "count", "truncated", "missing"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    file, pairs = tmp_path / "b", make_pairs(2)
    if damage == "count":
        pairs = pairs._replace(nota=pairs.nota[1:])
    data = background_to_bytes(pairs)
    if damage == "truncated":
        data = data[: len(data) // 2]
    if damage != "missing":
        file.write_bytes(data)
    with pytest.raises(WeightsError):
        read_background(file, 9 if damage == "width" else 8)


def test_a_model_stores_encoded_pairs(tiny_model: Any, posts: list[Post], tmp_path: Path) -> None:
    model = tiny_model()
    listed = [
        posts[i].model_copy(update={"pairs": (Pair(head=head, tail=tail),)})
        for i, head, tail in ((0, "a", "r"), (1, "b", "hat"))
    ]
    pairs = encode_both_directions(model, model.bank(), listed, [None, None])
    reverse = [swapped(post) for post in listed]
    other = encode_both_directions(model, model.bank(), reverse, [None, None])
    torch.testing.assert_close(other.forward, pairs.backward)
    torch.testing.assert_close(other.nota, pairs.nota.flip(1))
    model.background = pairs
    model.save(tmp_path / "model")
    loaded = RelationModel.from_pretrained(tmp_path / "model")
    assert loaded.config.background_pairs == 2 and loaded.background is not None
    torch.testing.assert_close(loaded.background.forward, pairs.forward, atol=0.01, rtol=0)
    (tmp_path / "model" / BACKGROUND).unlink()
    with pytest.raises(WeightsError):
        RelationModel.from_pretrained(tmp_path / "model")
